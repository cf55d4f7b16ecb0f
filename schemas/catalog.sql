-- The catalogue's views over the ledger: the same text makes the plan of a build (ledger_* read from Parquet in place)
-- and the snapshot (ledger_* copied into tables). Given: ledger_<stage>, ledger_listed, ledger_clusters, ledger_takedowns,
-- settings_now(stage, fingerprint), cuts(same_product, style, viewpoint, judged, overlap, alike, exact, unlike).
-- all_* show every fingerprint; unqualified names show the answers of the newest run's settings.

-- Photos ---------------------------------------------------------------------------------------------------------

-- A product keeps the split group it was first given, whatever the shares are set to later.
CREATE VIEW product_groups AS
SELECT product, arg_min(split_group, run_id) AS split_group
FROM ledger_ingest WHERE status = 'answered' AND product IS NOT NULL GROUP BY product;

CREATE VIEW taken AS
SELECT l.path, l.image_id, l.product, l.licence, coalesce(g.split_group, l.split_group) AS split_group,
       l.root, l.extra, l.item_id AS source_id, l.format, l.source_width, l.source_height, l.width, l.height,
       l.photo_sha256, l.phash, l.hashes, l.fingerprint, l.run_id, l."at"
FROM ledger_ingest l LEFT JOIN product_groups g USING (product) WHERE l.status = 'answered';

-- What was last recorded of clusters of near-duplicates and of the families of clusters that products join. A family
-- falls into the strictest split group of its photos: where a photo bridges training and the benchmark reserve, the
-- training side yields, each of its products with all its photos.
CREATE VIEW clustered AS
SELECT image_id, product, cluster_id, keeper, family_id, split_group FROM (
    SELECT * FROM ledger_clusters
    SEMI JOIN settings_now ON stage = 'clusters' AND settings_now.fingerprint = ledger_clusters.fingerprint
    QUALIFY row_number() OVER (PARTITION BY image_id, product ORDER BY run_id DESC) = 1
) WHERE family_id IS NOT NULL;

CREATE VIEW all_sources AS
SELECT t.* REPLACE (
    CASE WHEN 'benchmark' IN (t.split_group, c.split_group, p.split_group) THEN 'benchmark'
         WHEN 'validation' IN (t.split_group, c.split_group, p.split_group) THEN 'validation' ELSE 'train' END
    AS split_group)
FROM taken t LEFT JOIN clustered c ON c.image_id = t.image_id LEFT JOIN clustered p ON p.product = t.product;

-- Photos that must no longer be used: those that takedowns name, and those that show the same.
CREATE VIEW taken_down AS
WITH named AS (
    SELECT image_id, min("at") AS "at", arg_min(reason, "at") AS reason FROM ledger_takedowns GROUP BY image_id
)
SELECT image_id, "at", reason FROM named
UNION ALL BY NAME
SELECT c.image_id, min(n."at") AS "at", arg_min(n.reason, n."at") AS reason
FROM named n JOIN clustered nc ON nc.image_id = n.image_id JOIN clustered c ON c.cluster_id = nc.cluster_id
WHERE c.image_id NOT IN (SELECT image_id FROM named) GROUP BY c.image_id;

-- What folders and manifests say now, whenever it was answered: a file that went back to what it was shows just that.
CREATE VIEW listed AS
SELECT listing, path, product, item_id, run_id FROM (
    SELECT * FROM ledger_listed
    QUALIFY row_number() OVER (PARTITION BY listing, path, product ORDER BY run_id DESC) = 1
) WHERE item_id IS NOT NULL;

-- One row a listed file that was taken in, and was not taken down since.
CREATE VIEW sources AS
SELECT s.* EXCLUDE (run_id), l.run_id FROM all_sources s
JOIN (SELECT item_id, max(run_id) AS run_id FROM listed GROUP BY item_id) l ON l.item_id = s.source_id
SEMI JOIN settings_now ON stage = 'ingest' AND settings_now.fingerprint = s.fingerprint
ANTI JOIN taken_down ON taken_down.image_id = s.image_id;

-- One row a file's content. What was last said of its product holds, and of its split groups the strictest.
CREATE MACRO strictest(split_group) AS
    CASE WHEN bool_or(split_group = 'benchmark') THEN 'benchmark'
         WHEN bool_or(split_group = 'validation') THEN 'validation' ELSE 'train' END;

CREATE VIEW images AS
SELECT image_id, any_value(width) AS width, any_value(height) AS height, any_value(phash) AS phash,
       any_value(source_width) AS source_width, any_value(source_height) AS source_height,
       first(product ORDER BY run_id DESC, product) AS product, first(licence ORDER BY run_id DESC, licence) AS licence,
       any_value(photo_sha256) AS photo_sha256, strictest(split_group) AS split_group
FROM sources GROUP BY image_id;

-- Near-duplicates -------------------------------------------------------------------------------------------------

CREATE VIEW embeddings AS
SELECT item_id AS image_id, vector FROM ledger_embed
SEMI JOIN settings_now ON stage = 'embed' AND settings_now.fingerprint = ledger_embed.fingerprint
WHERE status = 'answered';

-- Every photo that was ever taken in under these settings, also one that is not listed now: it may come back.
CREATE VIEW known AS
SELECT image_id, any_value(photo_sha256) AS photo_sha256, any_value(hashes) AS hashes FROM taken
SEMI JOIN settings_now ON stage = 'ingest' AND settings_now.fingerprint = taken.fingerprint
GROUP BY image_id;

CREATE VIEW likely AS
SELECT DISTINCT ON (pair_id) * FROM (
    SELECT unnest(pairs, recursive := true) FROM ledger_resemble
    SEMI JOIN settings_now ON stage = 'resemble' AND settings_now.fingerprint = ledger_resemble.fingerprint
    WHERE status = 'answered'
);

CREATE VIEW compared AS
SELECT d.item_id AS pair_id, d.one_id, d.other_id, d.form, d.distance, d.similarity, d.overlap, d.alike, d.exact, d.unlike,
       d.run_id
FROM ledger_dedup d SEMI JOIN settings_now ON stage = 'dedup' AND settings_now.fingerprint = d.fingerprint
SEMI JOIN likely ON likely.pair_id = d.item_id WHERE d.status = 'answered';

-- Two photos that are one picture: the links that clusters are made of.
CREATE VIEW duplicates AS
SELECT compared.* FROM compared CROSS JOIN cuts c
WHERE compared.overlap >= c.overlap AND (compared.alike >= c.alike OR compared.exact >= c.exact)
  AND compared.unlike <= c.unlike;

-- The clusters, as far as their photos are listed now; pairs are made of keepers and of photos in no cluster.
CREATE VIEW clusters AS
SELECT c.cluster_id, c.image_id, c.keeper, count(*) OVER (PARTITION BY c.cluster_id) AS size, c.family_id
FROM clustered c SEMI JOIN (SELECT image_id FROM sources) s ON s.image_id = c.image_id;

CREATE VIEW keepers AS SELECT images.* FROM images ANTI JOIN (FROM clustered WHERE NOT keeper) c USING (image_id);

-- Stage 1: pairs -------------------------------------------------------------------------------------------------

-- Both photos of one split group, and the pair proposed for the products that they are now said to have. (The first side
-- is materialised, or else the planner may join every photo with every other of its split group first.)
CREATE VIEW candidates AS
WITH proposed AS (
    SELECT unnest(pairs, recursive := true) FROM ledger_block
    SEMI JOIN settings_now ON stage = 'block' AND settings_now.fingerprint = ledger_block.fingerprint
    WHERE status = 'answered'
), targets AS MATERIALIZED (
    SELECT p.pair_id, p.target_id, p.reference_id, p.known_same, max(p.similarity) AS similarity,
           any_value(t.photo_sha256) AS target_sha256, any_value(t.product) AS product,
           any_value(t.split_group) AS split_group
    FROM proposed p JOIN keepers t ON t.image_id = p.target_id
    GROUP BY p.pair_id, p.target_id, p.reference_id, p.known_same
)
SELECT t.pair_id, t.target_id, t.reference_id, t.known_same, t.similarity, t.target_sha256,
       r.photo_sha256 AS reference_sha256
FROM targets t JOIN keepers r ON r.image_id = t.reference_id
WHERE t.split_group = r.split_group AND t.product IS NOT DISTINCT FROM r.product
  AND t.known_same = (t.product IS NOT NULL);

CREATE VIEW all_pairs AS
SELECT p.item_id AS pair_id, p.target_id, p.reference_id,
       p.status = 'answered' AND p.same_product >= c.same_product AND p.style >= c.style
           AND p.viewpoint >= c.viewpoint AS accepted,
       p.same_product, p.style, p.viewpoint,
       CASE WHEN p.status = 'refused' THEN p.reason WHEN p.same_product < c.same_product THEN 'another-product'
            WHEN p.style < c.style THEN 'style' WHEN p.viewpoint < c.viewpoint THEN 'viewpoint' END AS refused_for,
       p.detail AS reason, p.status, p.evidence, p.seconds, p.fingerprint, p.run_id, p."at"
FROM ledger_pair p CROSS JOIN cuts c WHERE p.status IN ('answered', 'refused');

CREATE VIEW pairs AS
SELECT all_pairs.* FROM all_pairs
SEMI JOIN settings_now ON stage = 'pair' AND settings_now.fingerprint = all_pairs.fingerprint
SEMI JOIN candidates ON candidates.pair_id = all_pairs.pair_id;

-- Stage 2: instructions ------------------------------------------------------------------------------------------

CREATE VIEW all_instructions AS
SELECT instruction_id, item_id AS pair_id, ordinal, target_id, reference_id, task, category, operation, sentence,
       instruction, evidence, edit_id, fingerprint, run_id, "at"
FROM ledger_instruct WHERE status = 'answered';

CREATE VIEW instructions AS
SELECT all_instructions.* FROM all_instructions
SEMI JOIN settings_now ON stage = 'instruct' AND settings_now.fingerprint = all_instructions.fingerprint
SEMI JOIN pairs ON pairs.pair_id = all_instructions.pair_id AND pairs.accepted;

-- Stage 3: edits -------------------------------------------------------------------------------------------------

CREATE VIEW all_edits AS
SELECT item_id AS edit_id, target_id, target_sha256, raw_sha256, input_sha256, mask_sha256, mask_area, strength, filled,
       outside, psnr, shift_x, shift_y, drift, evidence, fingerprint, run_id, "at"
FROM ledger_edit WHERE status = 'answered';

CREATE VIEW edits AS
SELECT all_edits.* FROM all_edits
SEMI JOIN settings_now ON stage = 'edit' AND settings_now.fingerprint = all_edits.fingerprint
SEMI JOIN instructions ON instructions.edit_id = all_edits.edit_id;

-- Stage 4: quadruplets -------------------------------------------------------------------------------------------

-- What stage 4 is asked: an edit of an instruction, with the reference of its pair.
CREATE VIEW triplets AS
SELECT i.pair_id, i.instruction_id, i.edit_id, i.target_id, i.reference_id, e.input_sha256, e.target_sha256,
       r.photo_sha256 AS reference_sha256, e.mask_sha256, e.raw_sha256, i.task, i.category, i.operation,
       i.sentence AS edit_instruction, i.instruction, e.mask_area, e.strength, e.filled, e.outside, e.psnr
FROM instructions i JOIN edits e USING (edit_id) JOIN images r ON r.image_id = i.reference_id;

-- What is known of a photo's content whatever the settings, so that old quadruplets keep their facts.
CREATE VIEW all_images AS
SELECT image_id, first(product ORDER BY seen DESC, run_id DESC, product) AS product,
       first(licence ORDER BY seen DESC, run_id DESC, licence) AS licence,
       strictest(split_group) AS split_group
FROM (SELECT s.*, coalesce(l.seen, '') AS seen FROM all_sources s
      LEFT JOIN (SELECT item_id, max(run_id) AS seen FROM listed GROUP BY item_id) l ON l.item_id = s.source_id)
GROUP BY image_id;

CREATE VIEW all_quadruplets AS
SELECT q.item_id AS quadruplet_id, q.pair_id, q.target_id, q.reference_id, q.input_sha256, q.target_sha256,
       q.mask_sha256, q.task, q.category, q.edit_instruction, q.sentence AS restore_instruction, q.mask_area,
       q.status = 'answered' AS accepted, t.split_group, q.fingerprint, q.operation, q.instruction, q.instruction_id,
       q.edit_id, q.raw_sha256, q.reference_sha256, q.strength, q.filled, q.outside, q.psnr, t.product,
       t.licence AS target_licence, r.licence AS reference_licence, p.width, p.height, q.run_id, q."at"
FROM ledger_restore q
JOIN all_images t ON t.image_id = q.target_id
JOIN all_images r ON r.image_id = q.reference_id
JOIN (SELECT photo_sha256, any_value(width) AS width, any_value(height) AS height FROM all_sources GROUP BY 1) p
     ON p.photo_sha256 = q.target_sha256
WHERE q.status IN ('answered', 'refused');

-- What stage 4 answers now, and what the judge is asked.
CREATE VIEW restored AS
SELECT all_quadruplets.* FROM all_quadruplets
SEMI JOIN settings_now ON stage = 'restore' AND settings_now.fingerprint = all_quadruplets.fingerprint
SEMI JOIN triplets ON triplets.instruction_id = all_quadruplets.instruction_id
    AND triplets.input_sha256 = all_quadruplets.input_sha256 AND triplets.mask_sha256 = all_quadruplets.mask_sha256;

CREATE VIEW all_verdicts AS
SELECT item_id, quadruplet_id, restoration, rewritten, status, score, worst, detail AS reason, evidence AS marks,
       fingerprint, run_id, "at"
FROM ledger_judge WHERE status IN ('answered', 'refused');

CREATE VIEW verdicts AS
SELECT all_verdicts.* FROM all_verdicts
SEMI JOIN settings_now ON stage = 'judge' AND settings_now.fingerprint = all_verdicts.fingerprint;

-- Where the settings name a judge (its cut is not null), a quadruplet must pass it.
CREATE VIEW quadruplets AS
SELECT r.* REPLACE (
           coalesce(v.rewritten, r.restore_instruction) AS restore_instruction,
           r.accepted AND (c.judged IS NULL OR coalesce(v.score >= c.judged, false)) AS accepted
       ), v.score AS judged, v.marks
FROM restored r LEFT JOIN verdicts v ON v.quadruplet_id = r.quadruplet_id AND v.restoration = r.restore_instruction
CROSS JOIN cuts c;
