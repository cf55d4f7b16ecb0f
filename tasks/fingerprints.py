"""How each stage answers, as one digest: its version, its engine and every setting that can change an answer.

A stage also bears the fingerprint of intake, or of the stage before, where it reads what the ids do not tell apart.
"""

from collections.abc import Mapping

from schemas.ids import digest
from schemas.settings import Settings
from tasks import block, clusters, dedup, edit, ingest, instruct, judge, pair, restore, score
from tasks.engines.load import (
    editor_identity,
    embedder_identity,
    judge_identity,
    operations_of,
    scorer_identity,
    writer_identity,
)


def fingerprints(settings: Settings) -> Mapping[str, str]:
    """Return the fingerprint of every stage of a build, and of the clusters, under these settings."""
    editor = editor_identity(settings)
    writer = {job: writer_identity(settings, job) for job in ("pair", "instruct", "restore")}
    intake = digest("ingest", ingest.VERSION, settings.intake.model_dump())
    embedding = digest("embed", block.EMBED_VERSION, embedder_identity(), intake)
    near = settings.dedup
    proposed = (near.distance, near.neighbours, near.min_neighbour, near.min_similarity)
    overlaid = digest("dedup", dedup.DEDUP_VERSION, intake)
    resembling = digest("resemble", dedup.RESEMBLE_VERSION, proposed, embedding)
    linked = (near.min_overlap, near.min_alike, near.min_exact, near.max_unlike, near.cap)
    neighbours = (settings.pair.neighbours, settings.pair.siblings)
    asked = (settings.instruct.model_dump(), sorted(operations_of(settings)), settings.seed)
    edited = settings.edit.model_dump(mode="json", exclude={"engine", "autoencoder", "diffusers", "images_api"})
    drawn = [settings.seed] if settings.writer.engine == "vllm" else []  # a model's answers to pairs are drawn
    judged = {}
    if settings.judge.engine != "none":
        judged["judge"] = digest("judge", judge.VERSION, judge_identity(settings), settings.seed)
    return {
        "ingest": intake,
        "embed": embedding,
        "resemble": resembling,
        "dedup": overlaid,  # the cuts only read its scores
        "clusters": digest("clusters", clusters.VERSION, linked, resembling, overlaid),
        "block": digest("block", block.BLOCK_VERSION, neighbours, embedding),
        "pair": digest("pair", pair.VERSION, writer["pair"], intake, *drawn),  # the cuts only read its scores
        "instruct": digest("instruct", instruct.VERSION, writer["instruct"], asked, intake),
        "edit": digest("edit", edit.VERSION, editor, edited, settings.seed, intake),
        "restore": digest("restore", restore.VERSION, writer["restore"], settings.seed),
    } | judged


def score_fingerprint(settings: Settings) -> str:
    """Return the fingerprint of the scores. They are no stage of a build: what they say changes none of its answers."""
    return digest("score", score.VERSION, scorer_identity(settings.score))
