"""Somebody's own outputs: a folder with one picture a sample, named by its key, and what is wrong with one.

FOLDER/<key>.png          as large as the sample's input; also .webp (any kind) or .jpg
FOLDER/submission.json    if you like: {"model": "...", "how": "..."}, words for the leaderboard
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.cases import Frozen, Problem
from benchmark.models import Answer
from schemas.errors import SettingsError
from schemas.records import Pixels, Refusal
from tasks.codecs import MOST_PIXELS

ABOUT = "submission.json"
ENDINGS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
LARGEST = 2**26  # bytes of a picture
WORDS = 200  # signs of what a model is called


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file of a submission, or with the lack of it."""

    file: str
    what: str


class NoPicture(Exception):
    """A file that is no picture of a sample; its text says why."""


def check(frozen: Frozen, folder: Path) -> list[Fault]:
    """Return all that is wrong with a folder of outputs; none: `omnirefiner benchmark run` takes it."""
    try:
        _about(folder)
        faults = []
    except SettingsError as error:
        faults = [Fault(ABOUT, str(error))]
    files = _files(folder)
    for key in frozen.keys:
        found = files.pop(key, [])
        if not found:
            faults.append(Fault(f"{key}.png", "it is missing"))
        for one in found[1:]:
            faults.append(Fault(one.name, f"{found[0].name} is of the same sample; leave one of them"))
        if found:
            try:
                read_picture(found[0], frozen.size(key))
            except NoPicture as trouble:
                faults.append(Fault(found[0].name, str(trouble)))
    faults += [Fault(one.name, "no sample has this key") for found in files.values() for one in found]
    return faults + [Fault(name, "it is no picture that is read: .png, .webp or .jpg") for name in _others(folder)]


def read_picture(path: Path, size: tuple[int, int]) -> Pixels:
    """Return a picture of (width, height) as (H, W, 3) RGB. Raises NoPicture, which says why it is none."""
    try:
        if path.is_symlink() or not path.is_file():
            raise NoPicture("it is no regular file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise NoPicture(f"it is over {LARGEST >> 20} MB")
        with Image.open(io.BytesIO(data), formats=[ENDINGS[path.suffix.lower()]]) as image:
            if image.width * image.height > MOST_PIXELS or image.size != size:
                raise NoPicture(f"it has {image.width} x {image.height} px, the sample {size[0]} x {size[1]} px")
            if getattr(image, "n_frames", 1) > 1:
                raise NoPicture("it is an animation")
            if image.mode not in ("RGB", "RGBA", "L", "P"):
                raise NoPicture(f"its pixels are {image.mode}; write 8-bit RGB")
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise NoPicture("it is transparent in places; lay it on something")
            return np.asarray(image.convert("RGB"))
    except NoPicture:
        raise
    except Exception as error:  # decoders raise anything at all on broken files
        raise NoPicture(f"it cannot be read: {' '.join(str(error).split())[:200]}") from None


class Folder:
    """A `Model` whose answers lie in a folder."""

    at_once = 8

    def __init__(self, folder: Path) -> None:
        """Raise SettingsError where there is no such folder, or what it says of itself is not right."""
        if not folder.is_dir():
            raise SettingsError(f"--model folder:{folder}: there is no such folder")
        self.about: dict[str, Any] = {"model": f"folder {folder.name}", "how": "as it was handed in", **_about(folder)}
        self.files = _files(folder)

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return what was handed in; what is missing or wrong is refused."""
        return [self._one(problem) for problem in problems]

    def _one(self, problem: Problem) -> Answer:
        height, width = problem.mask.shape
        found = self.files.get(problem.key)
        if not found:
            return Refusal("missing", "there is no picture of this sample")
        try:
            return read_picture(found[0], (width, height))
        except NoPicture as trouble:
            return Refusal("unfit", f"{found[0].name}: {trouble}")


def _files(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures by key, in the order of their names."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in ENDINGS:
            found.setdefault(path.stem, []).append(path)
    return found


def _others(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS and path.name != ABOUT:
            yield path.name


def _about(folder: Path) -> dict[str, str]:
    path = folder / ABOUT
    try:
        told = json.loads(path.read_bytes()[: 2**16])
        wrong = not isinstance(told, dict) or set(told) - {"model", "how"}
        if wrong or not all(isinstance(text, str) and len(text) <= WORDS for text in told.values()):
            raise ValueError('it is {"model": "...", "how": "..."}, words of at most 200 signs')
        return {str(name): text for name, text in told.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"submission {path}: {error}; mend it, or leave it out") from None
