"""Load a folder as the Hugging Face loader does; print what it finds. Runs in the readers' own environment."""

import hashlib
import json
import sys
from typing import Any

import datasets  # type: ignore[import-not-found, unused-ignore]

found: dict[str, Any] = {}
for split, samples in datasets.load_dataset(sys.argv[1]).items():
    found[split] = [
        {
            "key": sample["__key__"],
            "json": sample["json"],
            "sizes": [sample[part].size for part in ("input.webp", "target.webp", "mask.png")],
            "input": hashlib.sha256(sample["input.webp"].tobytes()).hexdigest(),
        }
        for sample in samples
    ]
first = next(iter(datasets.load_dataset(sys.argv[1], split="train", streaming=True)))
print(json.dumps({"splits": found, "streamed": first["__key__"]}))
