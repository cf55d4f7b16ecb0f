"""Read a folder with Megatron-Energon, as its card says; print what is found. Runs in the readers' own environment."""

import json
import sys
from typing import Any

from megatron.energon import (  # type: ignore[import-not-found, unused-ignore]
    Cooker,
    DefaultTaskEncoder,
    WorkerConfig,
    get_loader,
    get_val_dataset,
    stateless,
)


@stateless  # type: ignore[untyped-decorator, unused-ignore]
def cook(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in ("__key__", "__restore_key__", "input.webp", "reference.jpg", "json")}


class Encoder(DefaultTaskEncoder):  # type: ignore[misc, unused-ignore]
    cookers = [Cooker(cook, has_subflavors={"omnirefiner": "quadruplet"})]  # noqa: RUF012


workers = WorkerConfig(rank=0, world_size=1, num_workers=0)
found = {}
for part in sys.argv[2:]:
    dataset = get_val_dataset(sys.argv[1], split_part=part, worker_config=workers, batch_size=1, task_encoder=Encoder())
    found[part] = [
        {"key": batch["__key__"][0], "task": batch["json"]["task"][0], "shape": list(batch["input.webp"].shape)}
        for batch in get_loader(dataset)
    ]
print(json.dumps(found))
