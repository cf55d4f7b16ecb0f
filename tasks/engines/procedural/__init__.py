"""The procedural editor: executes edit instructions the way image generators go wrong, with no model at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.ids import stream
from schemas.records import EngineFailure, Operation, Pixels, Refusal
from tasks.engines.editor import EditRequest
from tasks.engines.procedural.blend import blend
from tasks.engines.procedural.colour import recolour
from tasks.engines.procedural.detail import autoencode, resample, smear
from tasks.engines.procedural.emblem import rebrand
from tasks.engines.procedural.geometry import warp
from tasks.engines.procedural.glyphs import garble
from tasks.engines.procedural.lettering import retype
from tasks.engines.procedural.pattern import repattern
from tasks.engines.procedural.region import cut
from tasks.engines.procedural.texture import resynthesise
from tasks.engines.vlm import one_by_one


@dataclass(frozen=True)
class ProceduralEditor:
    """An `Editor` that damages or replaces what lies within the instructed polygon, and nothing else.

    Without `autoencoder_weights` (taef2.safetensors) it refuses the operation "autoencode" as "no-weights".
    An operation that cannot work on its region is refused: "no-ink", "no-text", "flat-region", "region-too-small",
    "region-too-thin". The same request gives the same pixels, whatever else is asked.
    """

    autoencoder_weights: Path | None = None

    def edit(self, requests: Sequence[EditRequest]) -> "list[Pixels | Refusal | EngineFailure]":
        """Return for each request the whole edited photo, uint8 (H, W, 3), as large as its target."""
        return one_by_one(self._execute, requests)

    def _execute(self, request: EditRequest) -> Pixels:
        instruction, strength, target = request.instruction, request.strength, request.target.pixels
        rng = stream(request.seed, request.edit_id, "edit")
        region = cut(target, instruction.region)
        match instruction.operation:
            case Operation.GARBLE:
                painted = garble(region, strength, rng)
            case Operation.SMEAR:
                painted = smear(region, strength, rng)
            case Operation.RESYNTHESISE:
                painted = resynthesise(region, strength, rng)
            case Operation.WARP:
                painted = warp(region, strength, rng)
            case Operation.RECOLOUR:
                painted = recolour(region, strength, rng)
            case Operation.RESAMPLE:
                painted = resample(region, strength, rng)
            case Operation.AUTOENCODE:
                painted = autoencode(region, strength, rng, self.autoencoder_weights)
            case Operation.RETYPE:
                painted = retype(region, instruction.text_after or "", strength, rng)
            case Operation.REBRAND:
                painted = rebrand(region, strength, rng)
            case Operation.REPATTERN:
                painted = repattern(region, strength, rng)
        return blend(target, region, painted, _softness(instruction.operation), strength, rng)


def _softness(operation: Operation) -> float:
    """Return how wide the edit's border is, as a share of the region's reach.

    A print ends by itself and needs next to none; a new tone or pattern amid a surface would else look pasted on.
    """
    match operation:
        case Operation.GARBLE | Operation.RETYPE | Operation.REBRAND:
            return 0.1
        case Operation.RECOLOUR | Operation.REPATTERN:
            return 0.6
        case _:
            return 0.3
