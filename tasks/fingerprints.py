"""How each stage answers, as one digest: its version, its engine and every setting that can change an answer.

A stage also bears the fingerprint of intake, or of the stage before, where it reads what the ids do not tell apart.
"""

from collections.abc import Mapping

from schemas.ids import digest
from schemas.records import Operation
from schemas.settings import Settings
from tasks import block, edit, ingest, instruct, pair, restore
from tasks.engines.load import editor_identity, editor_operations, embedder_identity, writer_identity


def fingerprints(settings: Settings) -> Mapping[str, str]:
    """Return the fingerprint of every stage under these settings."""
    writer, editor = writer_identity(settings), editor_identity(settings)
    intake = digest("ingest", ingest.VERSION, settings.intake.model_dump())
    embedding = digest("embed", block.EMBED_VERSION, embedder_identity(), intake)
    neighbours = (settings.pair.neighbours, settings.pair.siblings)
    autoencodes = Operation.AUTOENCODE in editor_operations(settings)
    asked = (settings.instruct.model_dump(), autoencodes, settings.seed)
    edited = settings.edit.model_dump(mode="json", exclude={"engine", "autoencoder", "diffusers", "images_api"})
    return {
        "ingest": intake,
        "embed": embedding,
        "block": digest("block", block.BLOCK_VERSION, neighbours, embedding),
        "pair": digest("pair", pair.VERSION, writer, intake),  # the cuts only read its scores
        "instruct": digest("instruct", instruct.VERSION, writer, asked, intake),
        "edit": digest("edit", edit.VERSION, editor, edited, settings.seed, intake),
        "restore": digest("restore", restore.VERSION, writer, settings.seed),
    }
