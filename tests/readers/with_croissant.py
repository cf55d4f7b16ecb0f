"""Validate a Croissant file and read its records; print what is found. Runs in the readers' own environment."""

import json
import sys
from typing import Any

import mlcroissant  # type: ignore[import-not-found, unused-ignore]

dataset = mlcroissant.Dataset(sys.argv[1])
issues = dataset.metadata.ctx.issues


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


samples = [{name: plain(value) for name, value in record.items()} for record in dataset.records("samples")]
pictures = {
    name: {plain(record[f"{name}/key"]): record[f"{name}/image"].size for record in dataset.records(name)}
    for name in ("input", "reference", "target", "mask")
}
said = {"errors": list(issues.errors), "warnings": list(issues.warnings), "samples": samples, "pictures": pictures}
print(json.dumps(said, default=str))
