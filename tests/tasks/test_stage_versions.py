"""A stage's answers are kept under its version: when its source changes, so must the version.

The test fails when a stage's sources differ from those recorded with its version. If answers may differ, bump the
stage's VERSION. Then record what is there: `python -m tests.tasks.test_stage_versions`.
"""

import ast
import hashlib
import json
from pathlib import Path

import pytest

from tasks import block, dedup, edit, ingest, instruct, judge, pair, restore, score

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("stage_versions.json")

LOOK = ["engines/efficientnet.py", "engines/embed.py", "engines/foreground.py", "engines/pointwise.py"]
SIGHT = ["engines/correspond.py", *LOOK]
ASKING = ["engines/vllm.py", "engines/chat.py"]  # prompts and records are part of the fingerprint themselves
WRITER = ["engines/classical.py", "engines/words.py", *ASKING]

STAGES: dict[str, tuple[int, list[str]]] = {
    "ingest": (ingest.VERSION, ["ingest.py", "decoding.py", "photos.py", "engines/phash.py"]),
    "embed": (block.EMBED_VERSION, LOOK),
    "resemble": (dedup.RESEMBLE_VERSION, ["dedup.py", "block.py", "engines/hamming.py"]),
    "dedup": (dedup.DEDUP_VERSION, ["dedup.py", "engines/overlay.py", "engines/phash.py"]),
    "block": (block.BLOCK_VERSION, ["block.py"]),
    "pair": (
        pair.VERSION,
        [
            "pair.py",
            "engines/judge.py",
            "engines/agree.py",
            "engines/reading.py",
            "engines/style.py",
            "engines/ocr.py",
            "engines/addressed.py",
            *ASKING,
            *SIGHT,
        ],
    ),
    "instruct": (
        instruct.VERSION,
        [
            "instruct.py",
            "engines/regions.py",
            "engines/agree.py",
            "engines/parts.py",
            "engines/parts.safetensors",
            "engines/faces.py",
            "engines/ocr.py",
            *WRITER,
            *SIGHT,
        ],
    ),
    "edit": (
        edit.VERSION,
        [
            "edit.py",
            "engines/align.py",
            "engines/change.py",
            "engines/autoencoder.py",
            "engines/procedural",
            "engines/diffusion.py",
            "engines/images_api.py",
        ],
    ),
    "restore": (restore.VERSION, ["restore.py", *WRITER]),
    "score": (
        score.VERSION,
        [
            "score.py",
            "engines/align.py",
            "engines/likeness.py",
            "engines/lpips.py",
            "engines/ocr.py",
            "engines/overlap.py",
            "engines/pretrained.py",
            "engines/quality.py",
            "engines/readable.py",
            "engines/safety.py",
            *SIGHT,
        ],
    ),
    "judge": (judge.VERSION, ["judge.py", "engines/words.py", *ASKING]),
}


def sources(stage: str) -> str:
    """Return the digest of what a stage's sources do: their syntax trees, without comments and docstrings."""
    hasher = hashlib.sha256()
    for name in STAGES[stage][1]:
        path = ROOT / "tasks" / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            if file.suffix != ".py":
                hasher.update(file.read_bytes())
                continue
            tree = ast.parse(file.read_text())
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                    body[0] = ast.Pass()  # a docstring
            hasher.update(ast.unparse(tree).encode())
    return hasher.hexdigest()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_whose_source_changed_has_a_new_version(stage: str) -> None:
    recorded = json.loads(RECORDED.read_text())[stage]
    found = {"version": STAGES[stage][0], "sources": sources(stage)}
    assert found == recorded, (
        f"the sources of stage {stage} changed: bump its VERSION if answers may differ, "
        "then run `python -m tests.tasks.test_stage_versions`"
    )


if __name__ == "__main__":
    recorded = {stage: {"version": version, "sources": sources(stage)} for stage, (version, _) in STAGES.items()}
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
