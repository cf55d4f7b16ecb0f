"""Lineage: which models and prompts answered, as a version's manifest tells it."""

from collections.abc import Mapping
from typing import Any

from schemas.ids import sha256
from schemas.settings import Model, Settings
from tasks.engines.vllm import ANSWERS, prompt
from tasks.fingerprints import fingerprints


def models(settings: Settings) -> list[dict[str, Any]]:
    """Return what wrote, judged and edited: the engine, and where that is a model its name, revision and licences."""
    edit = settings.edit
    editors: dict[str, Model | None] = {"diffusers": edit.diffusers, "images-api": edit.images_api}
    made_with = [
        ("writer", settings.writer.engine, settings.writer.vlm if settings.writer.engine == "vllm" else None),
        ("judge", settings.judge.engine, settings.judge.vlm if settings.judge.engine == "vllm" else None),
        ("editor", edit.engine, editors.get(edit.engine)),
    ]
    return [
        {"role": role, "engine": engine, **(_told(model) if model else {})}
        for role, engine, model in made_with
        if engine != "none"
    ]


def prompts(settings: Settings, recorded: Mapping[str, str]) -> dict[str, str] | None:
    """Return the digests of the prompts by job; None where this code answers otherwise than was `recorded`."""
    if "vllm" not in (settings.writer.engine, settings.judge.engine):
        return {}
    if dict(fingerprints(settings)) != dict(recorded):
        return None
    return {job: sha256(prompt(job).encode()) for job in ANSWERS}


def _told(model: Model) -> dict[str, Any]:
    return {key: getattr(model, key) for key in Model.model_fields}
