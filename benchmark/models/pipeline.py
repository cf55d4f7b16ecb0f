"""Editing pipelines of diffusers as refiners: they are shown the draft and the reference, and told the instruction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from benchmark.cases import Problem
from benchmark.models import Answer
from benchmark.models.manner import put_back, said, sentence, shown
from schemas.assignments import validated
from schemas.benchmark import PipelineRun
from schemas.ids import stream
from schemas.records import EngineFailure, Pixels
from tasks.engines.diffusion import load_pipeline

ONE_PICTURE = ("FluxKontextPipeline",)  # which are shown draft and reference side by side


class Pipeline:
    """A `Model` around a pipeline that `edit.diffusers` takes too. Noise is keyed by a problem's key and the seed."""

    at_once = 1

    def __init__(self, model: str, assignments: Sequence[str], seed: int) -> None:
        """Load the pipeline. Raises SettingsError where a setting is wrong, or it does not load."""
        self.run = validated(PipelineRun, {"diffusers": {"model": model}}, assignments, None)
        self.pipeline: Any = load_pipeline(self.run.diffusers)
        self.seed = seed
        kind = type(self.pipeline).__name__
        self.about: dict[str, Any] = {
            "model": f"pipeline {model}",
            "how": said(self.run.manner) + (", draft and reference side by side" if kind in ONE_PICTURE else ""),
            "class": kind,
            "seed": seed,
            "settings": self.run.model_dump(mode="json"),
        }

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return the drafts as the pipeline edits them, one at a time."""
        return [self._one(problem) for problem in problems]

    def _one(self, problem: Problem) -> Answer:
        try:
            return put_back(self.run.manner, problem, self._painted(problem))
        except Exception as error:  # whatever a pipeline raises must not lose the other answers
            self.pipeline.maybe_free_model_hooks()
            return EngineFailure(f"{self.run.diffusers.model}: {type(error).__name__}: {error}")

    def _painted(self, problem: Problem) -> Pixels:
        import torch

        draft, reference = shown(self.run.manner, problem)
        height, width = draft.shape[:2]
        settings, kind = self.run.diffusers, type(self.pipeline).__name__
        noise = int(stream(self.seed, problem.key, "benchmark").integers(2**63))
        asked: dict[str, Any] = {
            "image": [Image.fromarray(draft), Image.fromarray(reference)],
            "prompt": sentence(self.run.manner, problem),
            "height": height,
            "width": width,
            "num_inference_steps": settings.steps,
            "generator": torch.Generator("cpu").manual_seed(noise),  # on the CPU: the same whatever the device
            "output_type": "np",
        }
        if kind in ONE_PICTURE:
            asked |= {"image": Image.fromarray(np.hstack([draft, reference])), "_auto_resize": False}
            asked |= {"max_area": height * width, "guidance_scale": settings.guidance}
        elif kind == "QwenImageEditPlusPipeline":
            asked |= {
                "true_cfg_scale": settings.guidance,
                "negative_prompt": " ",
            }  # it guides only where both are given
        else:
            asked |= {"guidance_scale": settings.guidance}
        painted = self.pipeline(**asked).images[0]  # (H, W, 3) 0..1
        return np.asarray(np.rint(np.clip(np.nan_to_num(painted, nan=0.0), 0, 1) * 255), np.uint8)
