"""The settings of training, beside those of building data: what learns, and of what size."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.records import Record


class Tiny(Record):
    """The backbone that is trained from scratch, on a CPU."""

    autoencoder: Path | None = None  # weights of FLUX.2's tiny autoencoder (taef2.safetensors); without them: pixels
    patch: Annotated[int, Field(ge=2, le=64)] = 8  # px a token's side spans; with an autoencoder a multiple of 8
    width: Annotated[int, Field(ge=16, le=2048)] = 192
    depth: Annotated[int, Field(ge=1, le=64)] = 6
    heads: Annotated[int, Field(ge=1, le=64)] = 6
    words: Annotated[int, Field(ge=16)] = 4096  # rows of the table that words are hashed into
    length: Annotated[int, Field(ge=1, le=512)] = 24  # words of an instruction that are read

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads or self.width // self.heads % 8:
            raise ValueError("width must be heads times a multiple of 8")
        if self.autoencoder and self.patch % 8:
            raise ValueError("with an autoencoder, whose cells span 8 px, patch must be a multiple of 8")
        return self
