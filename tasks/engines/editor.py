"""The editor: what executes an edit instruction in stage 3, whichever engine does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.records import EditInstruction, EngineFailure, Photo, Pixels, Refusal


@dataclass(frozen=True)
class EditRequest:
    """One edit to execute; `edit_id` keys the random stream, `strength` (0..1) says how far the damage goes."""

    edit_id: str
    target: Photo
    instruction: EditInstruction
    strength: float
    seed: int


class Editor(Protocol):
    """An engine that edits photos, a batch at a time; each answer is the raw edit, as large as its target."""

    def edit(self, requests: Sequence[EditRequest]) -> "list[Pixels | Refusal | EngineFailure]": ...
