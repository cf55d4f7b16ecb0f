"""What an exported folder is made of: its splits, as loaders call them, and its shards, plainly named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from tasks.manifests import Manifest

SPLITS = {"train": "train", "validation": "validation", "benchmark": "test"}  # split group -> split


@dataclass(frozen=True)
class ExportedShard:
    """A tar of the folder."""

    name: str
    split: str
    samples: int
    bytes: int
    sha256: str


def shard_names(split: str, samples: int, size: int) -> Sequence[str]:
    """Return the names of a split's shards of `size` samples each, the last of what is left.

    >>> shard_names("train", 5, 2)
    ['train-00000-of-00003.tar', 'train-00001-of-00003.tar', 'train-00002-of-00003.tar']
    """
    count = ceil(samples / size)
    return [f"{split}-{number:05}-of-{count:05}.tar" for number in range(count)]


@dataclass(frozen=True)
class Exported:
    """What was laid out: the version's manifest, the shards, and what their samples are, by count."""

    manifest: Manifest
    shards: list[ExportedShard]
    counts: Counter[tuple[str, str]]  # of samples, by task and category
    licences: Counter[tuple[str, ...]]  # of samples, by their photos' licences

    @property
    def samples(self) -> int:
        """Return how many samples there are."""
        return sum(shard.samples for shard in self.shards)

    @property
    def splits(self) -> Mapping[str, Sequence[ExportedShard]]:
        """Return the shards by split, in the order that they were laid in."""
        names = dict.fromkeys(shard.split for shard in self.shards)
        return {name: [shard for shard in self.shards if shard.split == name] for name in names}
