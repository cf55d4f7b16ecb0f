-- More views of the catalogue, in the snapshot: what people ask of it, and no build does. Laid over schemas/curation.sql.

-- What did not get through, as far as it is asked now ------------------------------------------------------------

-- The items that the stages are asked now, as far as one can tell without their tasks.
CREATE VIEW asked_now AS
SELECT DISTINCT item_id, 'ingest' AS stage FROM listed
UNION ALL SELECT image_id, 'embed' FROM images
UNION ALL SELECT image_id, 'resemble' FROM known
UNION ALL SELECT pair_id, 'dedup' FROM likely
UNION ALL SELECT pair_id, 'pair' FROM candidates
UNION ALL SELECT pair_id, 'instruct' FROM pairs WHERE accepted
UNION ALL SELECT DISTINCT edit_id, 'edit' FROM instructions
UNION ALL SELECT DISTINCT item_id, 'restore' FROM ledger_restore SEMI JOIN triplets USING (instruction_id, input_sha256)
UNION ALL SELECT DISTINCT v.item_id, 'judge' FROM ledger_judge v
JOIN restored r ON r.quadruplet_id = v.quadruplet_id AND r.restore_instruction = v.restoration
UNION ALL SELECT quadruplet_id, 'score' FROM samples;

CREATE VIEW rejections AS
SELECT r.*, l.path FROM (
    SELECT * FROM all_rejections r
    SEMI JOIN settings_now n ON n.stage = r.stage AND n.fingerprint = r.fingerprint
    SEMI JOIN asked_now a ON a.stage = r.stage AND a.item_id = r.item_id
    UNION ALL FROM all_rejections WHERE stage = 'curate'
) r LEFT JOIN (SELECT item_id, any_value(path) AS path FROM listed GROUP BY item_id) l ON l.item_id = r.item_id;

-- Items that an engine could not answer, and that the next run asks again.
CREATE VIEW failures AS
SELECT f.item_id, f.stage, f.reason, f.detail, f.run_id, f."at" FROM outcomes f
SEMI JOIN asked_now ON asked_now.stage = f.stage AND asked_now.item_id = f.item_id
SEMI JOIN settings_now ON settings_now.stage = f.stage AND settings_now.fingerprint = f.fingerprint
ANTI JOIN outcomes a ON a.stage = f.stage AND a.item_id = f.item_id AND a.fingerprint = f.fingerprint
    AND a.status <> 'failed'
WHERE f.status = 'failed'
QUALIFY row_number() OVER (PARTITION BY f.stage, f.item_id ORDER BY f.run_id DESC, f."at" DESC) = 1;

-- What is asked most ---------------------------------------------------------------------------------------------

-- From photos to what is published, step by step.
CREATE VIEW funnel AS
FROM (
    SELECT 1 AS step, 'photos' AS name, count(*) AS items FROM images
    UNION ALL SELECT 2, 'pairs compared', count(*) FROM pairs
    UNION ALL SELECT 3, 'pairs accepted', count(*) FROM pairs WHERE accepted
    UNION ALL SELECT 4, 'instructions', count(*) FROM instructions
    UNION ALL SELECT 5, 'edits', count(DISTINCT edit_id) FROM edits
    UNION ALL SELECT 6, 'quadruplets', count(*) FROM samples
    UNION ALL SELECT 7, 'curated', count(*) FROM curated
) ORDER BY step;

CREATE VIEW by_rule AS
SELECT r.rule, r.reason, r."drop", count(d.quadruplet_id) AS dropped
FROM filter_rules r LEFT JOIN dropped d USING (rule) GROUP BY ALL ORDER BY r.rule;

CREATE VIEW by_category AS
SELECT s.category, s.task, count(*) AS quadruplets, count(*) - count(d.rule) AS curated,
       median(s.mask_area) AS mask_area, median(s.psnr) AS psnr, median(s.likeness) AS likeness,
       median(s.reference_overlap) AS reference_overlap
FROM samples s LEFT JOIN dropped d USING (quadruplet_id) GROUP BY ALL ORDER BY quadruplets DESC, s.category, s.task;

-- A source is a photo; its quadruplets are those that it is the ground truth of.
CREATE VIEW by_source AS
SELECT p.path, p.product, p.licence, p.split_group, count(s.quadruplet_id) AS quadruplets,
       count(s.quadruplet_id) - count(d.rule) AS curated, any_value(s.sharpness) AS sharpness,
       any_value(s.exposure) AS exposure
FROM sources p LEFT JOIN samples s ON s.target_id = p.image_id LEFT JOIN dropped d USING (quadruplet_id)
GROUP BY ALL ORDER BY quadruplets DESC, p.path;

-- By the run that first made a quadruplet.
CREATE VIEW by_run AS
SELECT s.run_id, r."at" AS started_at, count(*) AS quadruplets, count(*) - count(d.rule) AS curated
FROM samples s LEFT JOIN ledger_runs r ON r.run_id = s.run_id AND r.event = 'started'
LEFT JOIN dropped d USING (quadruplet_id) GROUP BY ALL ORDER BY s.run_id;

-- FROM lowest(sharpness), FROM highest(residue, n := 20): the ends of any score or expression over the samples.
CREATE MACRO lowest(figure, n := 10) AS TABLE
SELECT figure AS score, samples.* FROM samples WHERE figure IS NOT NULL ORDER BY 1, quadruplet_id LIMIT n;
CREATE MACRO highest(figure, n := 10) AS TABLE
SELECT figure AS score, samples.* FROM samples WHERE figure IS NOT NULL ORDER BY 1 DESC, quadruplet_id LIMIT n;
