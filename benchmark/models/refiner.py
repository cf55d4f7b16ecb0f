"""A refiner that training made, asked as `omnirefiner refine` does: a crop round the mask, pasted back."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.cases import Problem
from benchmark.models import Answer
from schemas.ids import sha256
from schemas.records import EngineFailure
from training.checkpoints import ABOUT, WHOLE, load_weights
from training.lora import FILE
from training.refine import device, refine


class Refiner:
    """A `Model` around a checkpoint. A problem's noise is that of the seed alone, as in `omnirefiner refine`."""

    def __init__(self, folder: Path, assignments: Sequence[str], seed: int) -> None:
        """Load a checkpoint, with `key=value`s on top of its settings. Raises WeightsError or SettingsError."""
        self.backbone, self.settings = load_weights(folder, assignments, device())
        self.seed = seed
        files = [path for name in (ABOUT, WHOLE, FILE) if (path := folder / name).is_file()]
        self.about = {
            "model": f"refiner {self.backbone.name}",
            "checkpoint": str(folder),
            "weights": sha256("".join(sha256(path.read_bytes()) for path in files).encode()),
            "how": "crop, edit, paste back",
            "blind": self.settings.blind,
            "size": self.settings.data.size,
            "reference": self.settings.data.reference,
            "seed": seed,
            "settings": self.settings.refine.model_dump(mode="json"),
        }
        self.at_once = 4

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return the refined drafts."""
        return [self._refined(problem) for problem in problems]

    def _refined(self, problem: Problem) -> Answer:
        import torch

        try:
            return refine(
                self.backbone,
                self.settings.refine,
                self.settings.data,
                self.seed,
                problem.input,
                problem.reference,
                problem.instruction,
                problem.mask,
                blind=self.settings.blind,
            )
        except torch.OutOfMemoryError:
            return EngineFailure(f"{self.about['model']}: out of memory on {problem.input.shape[1::-1]} px")
