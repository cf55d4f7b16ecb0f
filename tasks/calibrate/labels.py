"""Labels: which product a photo shows, and of what kind that is, told by people and kept from the judge."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from schemas.errors import ProjectError
from tasks.catalog import rows
from tasks.listing import LABEL


class LabelsError(ProjectError):
    """Labels that cannot be read, or that say nothing of the lake's photos."""


@dataclass(frozen=True)
class Labels:
    """The product of each image (by image_id), and the kind of each product (by its name), where it has one."""

    products: Mapping[str, str]
    kinds: Mapping[str, str]

    def true_pairs(self, kind: str | None = None) -> int:
        """Return how many pairs of images show one product, of a kind if one is named."""
        counts: dict[str, int] = {}
        for product in self.products.values():
            counts[product] = counts.get(product, 0) + 1
        return sum(n * (n - 1) // 2 for product, n in counts.items() if kind in (None, self.kinds.get(product)))


def labels_of(connection: duckdb.DuckDBPyConnection, file: Path | None) -> Labels:
    """Return the labels of a lake's photos: those that a blind build put aside, and those of a CSV file.

    The file has a column `product`, and `path` (of a photo, as it was listed) or `kind` (of a product) or both.
    Raises LabelsError where the file cannot be used.
    """
    sql = f"SELECT path, image_id, json_extract_string(extra, '$.{LABEL}') AS product FROM sources ORDER BY path"
    sources = rows(connection, sql)
    products = {row["image_id"]: row["product"] for row in sources if row["product"] is not None}
    images: dict[str, list[str]] = {}
    for row in sources:
        images.setdefault(row["path"], []).append(row["image_id"])
    kinds: dict[str, str] = {}
    for number, line in enumerate(_lines(file) if file else [], start=2):
        if "path" in line:
            if line["path"] not in images:
                raise LabelsError(f"labels {file}: line {number}: no photo {line['path']!r} in the lake; mend the path")
            products |= dict.fromkeys(images[line["path"]], line["product"])
        if line.get("kind"):
            kinds[line["product"]] = line["kind"]
    return Labels(products, kinds)


def _lines(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, skipinitialspace=True, strict=True)
            lines = [{str(name): (cell or "").strip() for name, cell in line.items()} for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise LabelsError(f"labels {file}: cannot be read ({error}); give a CSV file in UTF-8") from None
    names = set(reader.fieldnames or ())
    if "product" not in names or not names & {"path", "kind"}:
        raise LabelsError(f"labels {file}: it needs a column product, and path or kind; it has {', '.join(names)}")
    return lines
