"""A benchmark's samples as a model is asked them, and as its answers are measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import DataError, VersionError
from schemas.records import Category, Mask, Pixels, Task
from tasks.codecs import decode_mask
from tasks.lake import open_lake
from tasks.ledger import Row
from tasks.manifests import Manifest, read_manifest
from training.dataset import Split, open_split, sample_at
from training.decode import Damaged, decode, read
from training.stored import Store


@dataclass(frozen=True)
class Problem:
    """What a model is asked: never the target.

    `input` (H, W, 3) is the draft, `reference` (h, w, 3) another photo of the product, `mask` (H, W) where the draft is
    wrong, `instruction` the words that lead back.
    """

    key: str
    input: Pixels
    reference: Pixels
    mask: Mask
    instruction: str
    task: Task
    category: Category


@dataclass(frozen=True)
class Case:
    """A problem with its ground truth (H, W, 3)."""

    problem: Problem
    target: Pixels


@dataclass(frozen=True)
class Frozen:
    """A benchmark version, opened: its manifest, where its samples lie, and what is known of each by key."""

    manifest: Manifest
    split: Split
    store: Store
    facts: Mapping[str, Row]  # category, task, group, and the figures that it was chosen by
    numbers: Mapping[str, int]  # of samples, by key

    @property
    def name(self) -> str:
        """Return the version's name."""
        return str(self.manifest["name"])

    @property
    def keys(self) -> list[str]:
        """Return the keys of all samples, in the order in which they are asked."""
        return sorted(self.facts)

    def case(self, key: str) -> Case:
        """Read a sample, each part held against its digest. Raises DataError where it is damaged or missing."""
        try:
            parts = read(self.store, sample_at(self.split, self.numbers[key]), digests=True)
            told = json.loads(parts["about"])
            problem = Problem(
                key=key,
                input=decode(parts["input"]),
                reference=decode(parts["reference"]),
                mask=decode_mask(parts["mask"]),
                instruction=told["restore_instruction"],
                task=Task(told["task"]),
                category=Category(told["category"]),
            )
            return Case(problem, decode(parts["target"]))
        except (Damaged, ValueError, KeyError) as error:
            raise DataError(f"benchmark '{self.name}': {error}; restore what `omnirefiner verify` names") from None

    def size(self, key: str) -> tuple[int, int]:
        """Return the (width, height) of a sample."""
        row = self.split.index.slice(self.numbers[key], 1).to_pylist()[0]
        return row["width"], row["height"]


def open_frozen(root: Path, name: str) -> Frozen:
    """Open a benchmark of a lake. Raises VersionError where there is none of that name, or it is for training."""
    manifest = read_manifest(open_lake(root), name)
    if manifest["kind"] != "benchmark":
        raise VersionError(
            f"version '{name}': it is for training, not a benchmark; `omnirefiner benchmark build` makes one"
        )
    split = open_split(root, name, "benchmark")
    members: Mapping[str, list[Any]] = manifest["benchmark"]["members"]
    names = [column for column in members if column != "key"]
    facts = {
        key: dict(zip(names, row, strict=True))
        for key, *row in zip(members["key"], *(members[column] for column in names), strict=True)
    }
    numbers = {key: number for number, key in enumerate(split.index["key"].to_pylist())}
    if facts.keys() != numbers.keys():
        raise VersionError(f"benchmark '{name}': its shards hold other samples than its manifest lists; restore it")
    return Frozen(manifest, split, Store(split.root), facts, numbers)
