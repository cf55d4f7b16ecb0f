"""README.md: a dataset card whose front matter tells the Hugging Face loader all that it would otherwise guess.

The loader guesses columns from the first five samples of one split: a licence that the first five lack is then a column
of nothing, and the sixth sample an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tasks.export import licences
from tasks.export.layout import Exported, ExportedShard
from tasks.export.lineage import lineage, models

TEMPLATE = Path(__file__).with_name("card.md")

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip

TOPICS = ("language:", "- en", "task_categories:", "- image-to-image",
          "tags:", "- webdataset", "- image-editing", "- reference-guided")  # fmt: skip

FEATURES = """\
dataset_info:
  features:
  - name: input.webp
    dtype: image
  - name: json
    struct:
    - name: category
      dtype: string
    - name: edit_instruction
      dtype: string
    - name: key
      dtype: string
    - name: reference_image
      dtype: string
    - name: reference_licence
      dtype: string
    - name: region
      list:
        list: float64
    - name: restore_instruction
      dtype: string
    - name: target_image
      dtype: string
    - name: target_licence
      dtype: string
    - name: task
      dtype: string
  - name: mask.png
    dtype: image
  - name: reference.jpg
    dtype: image
  - name: target.webp
    dtype: image
  - name: __key__
    dtype: string
  - name: __url__
    dtype: string
"""


def card(exported: Exported) -> str:
    """Return the card of an exported version."""
    manifest = exported.manifest
    tasks = sorted({task for task, _ in exported.counts})
    splits = list(exported.splits)
    return Template(TEMPLATE.read_text()).substitute(
        front=_front(exported),
        title=title(exported),
        samples=f"{exported.samples:,}",
        splits=_table(
            (split, sum(s.samples for s in shards), len(shards), f"{sum(s.bytes for s in shards) / 1e6:.1f}")
            for split, shards in exported.splits.items()
        ),
        pasted="Outside the mask, input and target are equal pixel by pixel."
        if manifest["settings"].get("edit", {}).get("paste_back", True)
        else "Input and target may differ a little outside the mask too: edits were not pasted back.",
        tasks=" | ".join(tasks),
        dashes="---:|" * len(tasks),
        categories=_table(
            (category, *counts, sum(counts))
            for category in sorted({category for _, category in exported.counts})
            for counts in [[exported.counts[task, category] for task in tasks]]
        ),
        first=splits[0],
        pattern=_pattern(exported.splits[splits[0]]),
        licences=_table(
            (", ".join(map(_linked, names)), count) for names, count in sorted(exported.licences.items())
        ),
        terms=_terms(exported),
        version=manifest["name"],
        published=manifest["published_at"],
        code=manifest["code"],
        parent=f"after version `{manifest['parent']}`" if manifest["parent"] else "the first of its lake",
        content=manifest["content"],
        seal=manifest["seal"],
        makers=_makers(exported),
        cuts=_table(
            (f"`{section}.{name}`", value)
            for section, values in lineage(manifest)["cuts"].items()
            for name, value in values.items()
        ),
    )  # fmt: skip


def title(exported: Exported) -> str:
    """Return what the dataset is called."""
    return f"OmniRefiner quadruplets, version {exported.manifest['name']}"


def _front(exported: Exported) -> str:
    """Return the YAML front matter."""
    licence = licences.of_all(exported.licences, models(exported.manifest))
    lines = [f"{key}: {json.dumps(value)}" for key, value in licence.items()]
    size = next((name for limit, name in SIZES if exported.samples < limit), "n>1T")
    lines += [f"pretty_name: {json.dumps(title(exported))}", *TOPICS, "size_categories:", f"- {size}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split in exported.splits:
        lines += [f"  - split: {split}", f"    path: {split}-*.tar"]
    infos = []
    for split, shards in exported.splits.items():
        infos += [f"  - name: {split}", f"    num_bytes: {sum(shard.bytes for shard in shards)}",
                  f"    num_examples: {sum(shard.samples for shard in shards)}"]  # fmt: skip
    total = sum(shard.bytes for shard in exported.shards)
    sizes = [f"  download_size: {total}", f"  dataset_size: {total}"]
    return "\n".join([*lines, FEATURES.rstrip(), "  splits:", *infos, *sizes, ""])


def _terms(exported: Exported) -> str:
    asked = models(exported.manifest)
    if not asked:
        return "No model's terms come on top: words and edits were made by the project's own embedded engines."
    lines = _table(
        (model["made"], *(_plain(model[key] or licences.UNSTATED) for key in ("model", "licence", "outputs")))
        for model in asked
    )
    head = "| made | model | licence | what it allows of what the model makes |\n|---|---|---|---|"
    return f"On top of them come the terms of the models:\n\n{head}\n{lines}"


def _makers(exported: Exported) -> str:
    told = lineage(exported.manifest)
    asked = {model["made"]: model for model in told["models"]}
    rows = []
    for section, made in (("writer", "pairs and instructions"), ("edit", "edits"), ("judge", "quadruplets, judged")):
        settings = {**told["settings"][section]}
        engine = settings.pop("engine")
        if engine == "none":
            continue
        model = {k: v for k, v in asked.get(made, {}).items() if k not in ("made", "engine", "licence", "outputs")}
        name = model.pop("model", None)
        if revision := model.pop("revision", None):
            name = f"{name} at {revision}"
        said = ", ".join(f"{key} {value}" for key, value in (settings | model).items() if value is not None)
        rows.append((made, f"`{engine}`" + (f": {_plain(str(name))}" if name else ""), said))
    return _table(rows)


def _pattern(shards: Sequence[ExportedShard]) -> str:
    """Return the brace pattern of a split's shards."""
    first, last = shards[0].name, shards[-1].name
    if first == last:
        return first
    number = re.compile(r"-(\d{5})-of")
    begin, end = number.search(first), number.search(last)
    assert begin and end
    return number.sub(f"-{{{begin[1]}..{end[1]}}}-of", first)


def _linked(licence: str) -> str:
    url = licences.url(licence)
    return f"[{_plain(licence)}]({url})" if url else _plain(licence)


def _table(rows: Iterable[Iterable[Any]]) -> str:
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _plain(text: str) -> str:
    """Return a text that somebody else wrote, without what Markdown or HTML would make of it."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!~&])", r"\\\1", " ".join(text.split()))
