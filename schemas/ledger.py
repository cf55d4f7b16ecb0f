"""The Arrow schemas of the ledger: one a stage, all with the same leading columns."""

import pyarrow as pa

ANSWER = [
    ("item_id", pa.string()),  # what was asked about: the digest of its inputs' ids
    ("fingerprint", pa.string()),  # how it was answered
    ("status", pa.string()),  # answered | refused | failed
    ("reason", pa.string()),  # of a refusal or failure: a slug to count by
    ("detail", pa.string()),  # one line for a person
    ("evidence", pa.string()),  # JSON: the figures behind it
    ("seconds", pa.float32()),  # of work
    ("requests", pa.int32()),  # to servers; null where none was asked
    ("retries", pa.int32()),
    ("tokens_in", pa.int64()),
    ("tokens_out", pa.int64()),
    ("run_id", pa.string()),
    ("at", pa.timestamp("us", tz="UTC")),
]

CANDIDATE = [
    ("pair_id", pa.string()),
    ("target_id", pa.string()),
    ("reference_id", pa.string()),
    ("known_same", pa.bool_()),  # by folder or manifest
    ("similarity", pa.float32()),  # cosine of the embeddings
]

LIKELY = [
    ("pair_id", pa.string()),
    ("one_id", pa.string()),  # the lesser of the two image ids
    ("other_id", pa.string()),
    ("form", pa.int8()),  # of `one` whose hash is the nearest to the other's: an index of tasks.engines.phash.FORMS
    ("distance", pa.int8()),  # bits between those two hashes
    ("similarity", pa.float32()),  # cosine of the embeddings
]

OWN = {
    "ingest": [  # item: one listed file with its facts
        ("root", pa.string()),
        ("path", pa.string()),  # relative to root
        ("product", pa.string()),
        ("licence", pa.string()),
        ("extra", pa.string()),  # JSON: the manifest's other columns
        ("split_group", pa.string()),
        ("image_id", pa.string()),  # SHA-256 of the file's bytes
        ("format", pa.string()),
        ("source_width", pa.int32()),
        ("source_height", pa.int32()),
        ("width", pa.int32()),  # of the bucket
        ("height", pa.int32()),
        ("photo_sha256", pa.string()),  # the upright sRGB photo in its bucket, lossless WebP
        ("phash", pa.uint64()),  # of the whole photo
        ("hashes", pa.list_(pa.uint64())),  # the same of its eight mirrored and turned forms, its own first
    ],
    "embed": [("vector", pa.binary())],  # item: an image; float16, little-endian, unit length
    "resemble": [  # item: an image; the pairs of images that may be one picture
        ("pairs", pa.list_(pa.struct(LIKELY))),
    ],
    "dedup": [  # item: such a pair, laid over each other
        ("one_id", pa.string()),
        ("other_id", pa.string()),
        ("form", pa.int8()),
        ("distance", pa.int8()),
        ("similarity", pa.float32()),
        ("overlap", pa.float32()),  # share of the smaller picture that lies over the other
        ("alike", pa.float32()),  # share of what both show there that fits
        ("exact", pa.float32()),  # that fits as only one picture does
        ("unlike", pa.float32()),  # that contradicts
    ],
    "block": [  # item: an image; the pairs it proposes
        ("pairs", pa.list_(pa.struct(CANDIDATE))),
    ],
    "pair": [  # item: a pair
        ("target_id", pa.string()),
        ("reference_id", pa.string()),
        ("same_product", pa.float32()),
        ("style", pa.float32()),
        ("viewpoint", pa.float32()),
    ],
    "instruct": [  # item: a pair; one row an instruction
        ("ordinal", pa.int32()),
        ("instruction_id", pa.string()),
        ("edit_id", pa.string()),
        ("target_id", pa.string()),
        ("reference_id", pa.string()),
        ("task", pa.string()),
        ("category", pa.string()),
        ("operation", pa.string()),
        ("instruction", pa.string()),  # JSON: EditInstruction.content()
        ("sentence", pa.string()),
    ],
    "edit": [  # item: an instruction's content on a target
        ("target_id", pa.string()),
        ("target_sha256", pa.string()),
        ("raw_sha256", pa.string()),  # what the editor answered; of a refusal as well
        ("shift_x", pa.float32()),  # px to the right by which the raw edit lay off its target; undone
        ("shift_y", pa.float32()),  # px down
        ("drift", pa.float32()),  # mean levels (0..255) by which its colours were off as a whole; undone
        ("input_sha256", pa.string()),  # pasted back: differs from the target only within the mask
        ("mask_sha256", pa.string()),
        ("mask_area", pa.float32()),  # share of the image
        ("strength", pa.float32()),
        ("filled", pa.float32()),  # share of the region that changed
        ("outside", pa.float32()),  # share of the raw change that lay outside the region
        ("psnr", pa.float32()),  # dB, within the mask
    ],
    "restore": [  # item: a quadruplet
        ("pair_id", pa.string()),
        ("instruction_id", pa.string()),
        ("edit_id", pa.string()),
        ("target_id", pa.string()),
        ("reference_id", pa.string()),
        ("input_sha256", pa.string()),
        ("target_sha256", pa.string()),
        ("reference_sha256", pa.string()),
        ("mask_sha256", pa.string()),
        ("raw_sha256", pa.string()),
        ("task", pa.string()),
        ("category", pa.string()),
        ("operation", pa.string()),
        ("edit_instruction", pa.string()),
        ("instruction", pa.string()),
        ("mask_area", pa.float32()),
        ("strength", pa.float32()),
        ("filled", pa.float32()),
        ("outside", pa.float32()),
        ("psnr", pa.float32()),
        ("sentence", pa.string()),
    ],
    "judge": [  # item: a quadruplet with its restoration
        ("quadruplet_id", pa.string()),
        ("restoration", pa.string()),  # as it was judged first
        ("rewritten", pa.string()),  # what took its place, if the judge wrote it anew
        ("score", pa.float32()),  # the least mark, 0..1
        ("worst", pa.string()),  # the criterion that has it
    ],
    "score": [  # item: a quadruplet; null where there is nothing to measure, or no weights to measure it with
        ("sharpness", pa.float32()),  # of the target's product: 0 blurred .. 1
        ("reference_sharpness", pa.float32()),
        ("exposure", pa.float32()),  # of the target's product: 0 black .. 1 white
        ("clipped", pa.float32()),  # share of the target's product that is black or white and nothing else
        ("resolution", pa.int32()),  # px: the shorter side of the photo that became the target
        ("reference_resolution", pa.int32()),
        ("compactness", pa.float32()),  # of the mask: 1 a disc, less the more ragged or scattered
        ("ssim", pa.float32()),  # of input and target, within the mask
        ("likeness", pa.float32()),  # cosine of what a network sees there, 0..1
        ("lpips", pa.float32()),  # what LPIPS sees there, 0 upward
        ("clip", pa.float32()),  # CLIP-I about the mask
        ("dino", pa.float32()),  # DINO-I about the mask
        ("reference_overlap", pa.float32()),  # share of the mask that the reference shows
        ("shift", pa.float32()),  # px by which the raw edit lay off its target; undone
        ("drift", pa.float32()),  # mean levels (0..255) by which its colours were off as a whole; undone
        ("residue", pa.float32()),  # mean levels by which it still differs outside the mask; undone by the paste-back
        ("text_before", pa.string()),  # what is read at the mask, in the target; "" is nothing, null was not looked at
        ("text_after", pa.string()),  # and in the input
        ("text_distance", pa.float32()),  # share of signs that differ
        ("unsafe", pa.float32()),  # the largest probability of the three photos
    ],
}  # fmt: skip

STAGES = tuple(OWN)

LISTED = pa.schema([  # one row whenever what a listing says of a path changes; no item_id: it is no longer listed
    ("listing", pa.string()),  # the folder or manifest
    ("path", pa.string()),
    ("product", pa.string()),
    ("item_id", pa.string()),
    ("run_id", pa.string()),
])  # fmt: skip

TAKEDOWNS = pa.schema([  # one row a photo that must no longer be used
    ("image_id", pa.string()),  # SHA-256 of the file's bytes
    ("asked", pa.string()),  # the path, product or id that was named
    ("reason", pa.string()),
    ("run_id", pa.string()),  # the newest run then
    ("at", pa.timestamp("us", tz="UTC")),
])  # fmt: skip

CURATIONS = pa.schema([  # one row whenever curation changed: the newest is in force
    ("sequence", pa.int64()),
    ("score_fingerprint", pa.string()),  # of the scores that count
    ("name", pa.string()),  # of the filter set; null: no filter is in force
    ("digest", pa.string()),
    ("rules", pa.string()),  # JSON
    ("run_id", pa.string()),  # the newest run then
    ("at", pa.timestamp("us", tz="UTC")),
])  # fmt: skip

REVIEWS = pa.schema([  # one row whenever a person says something; the newest of a reviewer on an item holds
    ("kind", pa.string()),  # pair | edit | sample
    ("item_id", pa.string()),
    ("shown", pa.string()),  # an edit's input_sha256, a sample's restore_instruction; null for a pair
    ("reviewer", pa.string()),
    ("verdict", pa.string()),  # keep | drop | undone
    ("reason", pa.string()),  # of a drop
    ("note", pa.string()),
    ("sequence", pa.int64()),  # of this reviewer's verdicts: clocks jump
    ("at", pa.timestamp("us", tz="UTC")),
    ("code", pa.string()),  # the project's version and commit
])  # fmt: skip

CLUSTERS = pa.schema([  # one row whenever what is said of an image or of a product changes; no family_id: nothing
    ("image_id", pa.string()),  # or
    ("product", pa.string()),
    ("cluster_id", pa.string()),  # of near-duplicates: the least of their image ids
    ("keeper", pa.bool_()),  # the one photo of the cluster, of those listed, that pairs are made of
    ("family_id", pa.string()),  # of clusters that products join: the least of their cluster ids
    ("split_group", pa.string()),  # the strictest of the family's photos
    ("fingerprint", pa.string()),
    ("run_id", pa.string()),
])  # fmt: skip

SCHEMAS = {stage: pa.schema(ANSWER + own) for stage, own in OWN.items()} | {
    "listed": LISTED,
    "clusters": CLUSTERS,
    "takedowns": TAKEDOWNS,
    "reviews": REVIEWS,
    "curations": CURATIONS,
    "runs": pa.schema([
        ("run_id", pa.string()),
        ("event", pa.string()),  # started | finished
        ("at", pa.timestamp("us", tz="UTC")),
        ("photos", pa.string()),  # the folder or manifest it was given
        ("status", pa.string()),
        ("profile", pa.string()),
        ("settings", pa.string()),  # JSON
        ("fingerprints", pa.string()),  # JSON: stage -> fingerprint
        ("steps", pa.string()),  # JSON: what each stage did
        ("code", pa.string()),  # the project's version and commit
    ]),
}  # fmt: skip
