"""Lineage: what a version was made with, as far as it concerns those who get it.

Settings say more than that: where servers are, which variable holds a key, where files lie on a machine. What is told
is chosen by name, so that a setting that comes later is not told by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from tasks.ledger import Row
from tasks.manifests import Manifest

MADE_BY = {"writer": "pairs and instructions", "judge": "quadruplets, judged", "edit": "edits"}
MODEL_OF = {"vllm": "vlm", "diffusers": "diffusers", "images-api": "images_api"}  # engine -> its section
MODEL = ("model", "revision", "licence", "outputs", "dtype", "steps", "guidance", "image_side", "max_tokens",
         "temperature", "tries")  # fmt: skip
CHOICES = {
    "intake": ("size", "min_side", "max_aspect"),
    "splits": ("train", "validation", "benchmark"),
    "pair": ("neighbours", "siblings"),
    "instruct": ("edits_per_pair",),
    "edit": ("engine", "strength", "paste_back", "feather", "most_shift"),
    "writer": ("engine",),
    "judge": ("engine", "rewrite"),
    "shards": ("jpeg_quality",),
}
CUTS = {  # what a sample had to pass
    "pair": ("min_same_product", "min_style", "min_viewpoint"),
    "edit": ("min_filled", "max_area", "max_outside"),
    "judge": ("min_score",),
}


def lineage(manifest: Manifest) -> Row:
    """Return a version's lineage: settings, models with their terms, cuts, fingerprints, code, run and parent."""
    settings = manifest["settings"]
    cuts = {**CUTS, "judge": CUTS["judge"] if _engine(settings, "judge") in MODEL_OF else ()}
    return {
        "parent": manifest["parent"],
        "run_id": manifest["run_id"],
        "code": manifest["code"],
        "prompts": "schemas/prompts of that code" if models(manifest) else None,
        "settings": {"seed": settings.get("seed"), **_chosen(settings, CHOICES)},
        "models": models(manifest),
        "cuts": _chosen(settings, cuts),
        "fingerprints": manifest["fingerprints"],
    }


def models(manifest: Manifest) -> list[Row]:
    """Return the models that were asked, with their licences and what these allow of what the models make."""
    found = []
    for section, made in MADE_BY.items():
        engine = _engine(manifest["settings"], section)
        if engine in MODEL_OF:
            said = manifest["settings"][section].get(MODEL_OF[engine], {})
            told = {key: said[key] for key in MODEL if key in said}
            found.append({"made": made, "engine": engine, **told, "model": _name(told.get("model", ""))})
    return found


def _engine(settings: Mapping[str, Any], section: str) -> Any:
    return settings.get(section, {}).get("engine")


def _chosen(settings: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Row:
    chosen = {section: {key: settings.get(section, {}).get(key) for key in keys} for section, keys in names.items()}
    return {section: values for section, values in chosen.items() if values}


def _name(model: str) -> str:
    """Return a model's name; of a folder on somebody's machine its own name only."""
    return PurePath(model).name if PurePath(model).is_absolute() else model
