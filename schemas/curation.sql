-- What became of quadruplets: what people say of them, scores, what a filter set is asked about, what did not get through,
-- versions, and what no version may hold. Laid over schemas/catalog.sql. Given besides: ledger_reviews, ledger_runs, of the
-- filter set in force filter_rules and dropped(quadruplet_id, rule), of the published versions ledger_versions,
-- ledger_version_shards, ledger_shard_members and ledger_deletions, and of every benchmark version there ever was
-- ledger_benchmark_members.

-- What people say ------------------------------------------------------------------------------------------------

-- What there is to be looked at now, as it is shown.
CREATE VIEW shown_now AS
SELECT 'pair' AS kind, pair_id AS item_id, NULL::VARCHAR AS shown FROM pairs
UNION ALL SELECT 'edit', edit_id, input_sha256 FROM edits
UNION ALL SELECT 'sample', quadruplet_id, restore_instruction FROM quadruplets;

-- What each reviewer said last of each thing that was shown. What was undone was not said.
CREATE VIEW all_reviews AS
SELECT * FROM (
    FROM ledger_reviews
    QUALIFY row_number() OVER (PARTITION BY kind, item_id, shown, reviewer ORDER BY sequence DESC, "at" DESC, verdict) = 1
) WHERE verdict <> 'undone';

CREATE VIEW reviews AS
SELECT r.* FROM all_reviews r
SEMI JOIN shown_now s ON s.kind = r.kind AND s.item_id = r.item_id AND s.shown IS NOT DISTINCT FROM r.shown;

-- One row an item that somebody judged; the reason is the one that most of its drops give.
CREATE VIEW reviewed AS
SELECT kind, item_id, coalesce(sum(people) FILTER (verdict = 'keep'), 0)::BIGINT AS keeps,
       coalesce(sum(people) FILTER (verdict = 'drop'), 0)::BIGINT AS drops,
       first(reason ORDER BY people DESC, reason) FILTER (verdict = 'drop') AS reason
FROM (SELECT kind, item_id, verdict, reason, count(*) AS people FROM reviews GROUP BY ALL) GROUP BY kind, item_id;

-- Curation: scores and filters -----------------------------------------------------------------------------------

CREATE VIEW all_scores AS
SELECT item_id AS quadruplet_id, sharpness, reference_sharpness, exposure, clipped, resolution, reference_resolution,
       compactness, ssim, likeness, lpips, clip, dino, reference_overlap, shift, drift, residue, text_before, text_after,
       text_distance, unsafe, fingerprint, run_id, "at"
FROM ledger_score WHERE status = 'answered';

-- Those of the newest curation.
CREATE VIEW scores AS
SELECT all_scores.* FROM all_scores
SEMI JOIN settings_now ON stage = 'score' AND settings_now.fingerprint = all_scores.fingerprint;

-- What a filter set is asked about: every accepted quadruplet with its scores, null where it has none yet, with how many
-- people would keep or drop it, and with its target's cluster and family, null where nothing is like it.
CREATE VIEW samples AS
SELECT q.*, s.* EXCLUDE (quadruplet_id, fingerprint, run_id, "at"), coalesce(p.keeps, 0) AS keeps,
       coalesce(p.drops, 0) AS drops, c.cluster_id, c.family_id
FROM quadruplets q LEFT JOIN scores s USING (quadruplet_id)
LEFT JOIN (SELECT image_id, any_value(cluster_id) AS cluster_id, any_value(family_id) AS family_id FROM clustered
           GROUP BY image_id) c ON c.image_id = q.target_id
LEFT JOIN reviewed p ON p.kind = 'sample' AND p.item_id = q.quadruplet_id WHERE q.accepted;

-- What is published, less the benchmark reserve.
CREATE VIEW curated AS
SELECT samples.* FROM samples ANTI JOIN dropped USING (quadruplet_id);

-- What did not get through ---------------------------------------------------------------------------------------

CREATE VIEW outcomes AS
SELECT item_id, 'ingest' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_ingest
UNION ALL BY NAME SELECT item_id, 'embed' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_embed
UNION ALL BY NAME SELECT item_id, 'resemble' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_resemble
UNION ALL BY NAME SELECT item_id, 'dedup' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_dedup
UNION ALL BY NAME SELECT item_id, 'block' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_block
UNION ALL BY NAME SELECT item_id, 'pair' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_pair
UNION ALL BY NAME SELECT item_id, 'instruct' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_instruct
UNION ALL BY NAME SELECT item_id, 'edit' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_edit
UNION ALL BY NAME SELECT item_id, 'restore' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_restore
UNION ALL BY NAME SELECT item_id, 'judge' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_judge
UNION ALL BY NAME SELECT item_id, 'score' AS stage, status, reason, detail, evidence, fingerprint, run_id, "at" FROM ledger_score;

-- Refusals, pairs and quadruplets whose scores lie under the cuts in force, and what the filter set in force drops.
CREATE VIEW all_rejections AS
SELECT item_id, stage, reason, detail, run_id, "at", evidence, fingerprint FROM outcomes WHERE status = 'refused'
UNION ALL BY NAME
SELECT i.item_id, 'ingest' AS stage, 'taken-down' AS reason, t.reason AS detail, i.run_id, t."at", i.evidence, i.fingerprint
FROM ledger_ingest i JOIN taken_down t USING (image_id) WHERE i.status = 'answered'
UNION ALL BY NAME
SELECT pair_id AS item_id, 'pair' AS stage, refused_for AS reason, reason AS detail, run_id, "at", evidence, fingerprint
FROM all_pairs WHERE NOT accepted AND status = 'answered'
UNION ALL BY NAME
SELECT item_id, 'judge' AS stage, worst AS reason, reason AS detail, run_id, "at", marks AS evidence, fingerprint
FROM all_verdicts CROSS JOIN cuts WHERE score < judged
UNION ALL BY NAME
SELECT d.quadruplet_id AS item_id, 'curate' AS stage, r.reason, coalesce(nullif(r.words, ''), r."drop") AS detail,
       r.run_id, c."at", NULL::VARCHAR AS evidence, r.digest AS fingerprint
FROM dropped d JOIN filter_rules r USING (rule) CROSS JOIN (SELECT max("at") AS "at" FROM ledger_curations) c;

-- Runs and versions ----------------------------------------------------------------------------------------------

CREATE VIEW runs AS
SELECT s.run_id, s."at" AS started_at, f."at" AS finished_at, coalesce(f.status, 'unfinished') AS status, s.photos,
       s.profile, f.steps, s.settings, s.fingerprints, s.code
FROM ledger_runs s LEFT JOIN ledger_runs f ON f.run_id = s.run_id AND f.event = 'finished'
WHERE s.event = 'started';

CREATE VIEW versions AS
SELECT name AS version, kind, sequence, parent, samples, bytes, shards, published_at, manifest FROM ledger_versions;

CREATE VIEW shards AS
SELECT shard_sha256, any_value(samples) AS samples, any_value(bytes) AS bytes FROM ledger_version_shards GROUP BY shard_sha256;

-- Less what a version's deletion vectors name. (A shard whose vector cannot be read has no members that one could be
-- sure of: `verify` names the vector.)
CREATE VIEW version_members AS
SELECT v.version, m.quadruplet_id, m.shard_sha256
FROM ledger_version_shards v JOIN ledger_shard_members m USING (shard_sha256)
ANTI JOIN ledger_deletions d ON d.deleted_sha256 = v.deleted_sha256 AND d.quadruplet_id = m.quadruplet_id;

-- Benchmarks -----------------------------------------------------------------------------------------------------

-- The photos that every quadruplet there ever was is made of. (From the ledger itself: views that lie deep cost time.)
CREATE VIEW photos_shown AS
SELECT DISTINCT item_id AS quadruplet_id, unnest([target_id, reference_id]) AS image_id FROM ledger_restore
WHERE status IN ('answered', 'refused');

CREATE VIEW benchmark_photos AS
SELECT b.version, b.quadruplet_id, p.image_id FROM ledger_benchmark_members b JOIN photos_shown p USING (quadruplet_id);

-- Whatever has a photo, a near-duplicate, a product or a cluster in common with a benchmark version, its own samples among them. Of the
-- benchmark's photos every product counts that was ever said of them; of the others the one that is said now.
CREATE VIEW held_by_benchmarks AS
WITH held AS (
    SELECT version, 'source' AS "by", image_id AS what FROM benchmark_photos
    UNION SELECT version, 'product', s.product FROM benchmark_photos JOIN all_sources s USING (image_id)
    UNION SELECT version, 'cluster', c.cluster_id FROM benchmark_photos JOIN clustered c USING (image_id)
    -- also where a cluster was full: its links are left out of it, and are links all the same
    UNION SELECT version, 'duplicate', d.other_id FROM benchmark_photos JOIN duplicates d ON d.one_id = image_id
    UNION SELECT version, 'duplicate', d.one_id FROM benchmark_photos JOIN duplicates d ON d.other_id = image_id
), shown AS (
    SELECT quadruplet_id, 'source' AS "by", image_id AS what FROM photos_shown
    UNION ALL SELECT quadruplet_id, 'duplicate', image_id FROM photos_shown
    UNION SELECT quadruplet_id, 'product', i.product FROM photos_shown JOIN all_images i USING (image_id)
    UNION SELECT quadruplet_id, 'cluster', c.cluster_id FROM photos_shown JOIN clustered c USING (image_id)
)
SELECT shown.quadruplet_id, held.version, "by", what FROM shown JOIN held USING ("by", what);

-- The samples that would leak into training: `publish` refuses them.
CREATE VIEW leaks AS
SELECT h.* FROM held_by_benchmarks h
SEMI JOIN quadruplets q ON q.quadruplet_id = h.quadruplet_id AND q.accepted AND q.split_group <> 'benchmark';

-- What no shard of a next version may hold, and why: a deletion vector is not enough for it.
CREATE VIEW withdrawn AS
SELECT DISTINCT quadruplet_id, 'taken-down' AS reason FROM photos_shown SEMI JOIN taken_down USING (image_id)
UNION ALL SELECT DISTINCT quadruplet_id, 'benchmark-reserve' FROM photos_shown
    JOIN all_images USING (image_id) WHERE split_group = 'benchmark'
UNION ALL SELECT DISTINCT quadruplet_id, 'in-a-benchmark' FROM held_by_benchmarks;
