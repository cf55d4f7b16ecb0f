import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.refiners import GROSS, between, by_product, compared, in_parts, interval, pasted, write_comparison
from training.dataset import Batch, State

PRODUCTS = {"a1": "a", "a2": "a", "b1": "b"}


def lines(*values: float) -> list[dict[str, object]]:
    return [
        {"key": key, "psnr": value, "psnr_input": 10.0, "reward": value / 10, "reward_input": 1.0}
        for key, value in zip(PRODUCTS, values, strict=True)
    ]


def test_a_product_counts_once_however_many_samples_and_seeds_it_has() -> None:
    values = by_product([*lines(10, 20, 30), *lines(20, 30, 40)], PRODUCTS)
    assert values["a"]["psnr"] == 20
    assert values["b"]["psnr"] == 35
    found = interval(values, "psnr")
    assert found is not None
    assert found.mean == 27.5
    assert (found.low, found.high) == (20, 35)  # of two products


def test_what_is_better_is_told_product_by_product() -> None:
    found = compared({"sft": lines(12, 12, 13), "grpo": lines(13, 13, 14), "blind": lines(11, 11, 11)}, PRODUCTS)
    assert found.products == 2
    assert found.each["input"]["psnr"].mean == 10
    assert found.better["sft - input"]["psnr"].mean == 2.5
    gain = found.better["grpo - sft"]["psnr"]
    assert (gain.low, gain.mean, gain.high) == pytest.approx((1, 1, 1))  # however far products lie apart
    assert "sft - paste" not in found.better
    assert "background" not in found.each["sft"]


def test_gross_and_slight_damage_are_compared_apart() -> None:
    inputs = dict(zip(PRODUCTS, (GROSS - 5, GROSS, GROSS - 0.1), strict=True))
    sft = [{"key": key, "psnr": psnr + 1, "psnr_input": psnr} for key, psnr in inputs.items()]
    sft[1]["psnr"] = GROSS - 7  # what is nearly right is made worse
    parts = in_parts({"sft": [*sft, {"key": "b1", "background": 40.0}]})  # of an empty mask there is no masked PSNR
    found = {part: compared(some, PRODUCTS) for part, some in parts.items()}
    assert (found["all"].samples, found["all"].products) == (3, 2)
    assert found["all"].better["sft - input"]["psnr"].mean == pytest.approx(((1 - 7) / 2 + 1) / 2)
    assert (found["gross"].samples, found["gross"].products) == (2, 2)
    assert found["gross"].better["sft - input"]["psnr"].mean == pytest.approx(1)
    assert (found["slight"].samples, found["slight"].products) == (1, 1)
    assert found["slight"].better["sft - input"]["psnr"].mean == pytest.approx(-7)
    assert "background" in found["all"].each["sft"]
    assert "background" not in found["gross"].each["sft"]


def test_every_sample_with_a_mask_lies_between_two_bounds() -> None:
    some = {"sft": [{"key": key, "psnr_input": value} for key, value in zip(PRODUCTS, (0.0, 14.0, 60.0), strict=True)]}
    parts = [between(some, low, high)["sft"] for low, high in ((0, 14), (14, 22), (22, float("inf")))]
    assert [[line["psnr_input"] for line in part] for part in parts] == [[0.0], [14.0], [60.0]]


def test_a_paste_is_the_reference_within_the_mask_in_the_drafts_light() -> None:
    target = torch.randint(60, 180, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 20:40, 20:40] = True
    draft = torch.where(mask, 0, target)
    batch = Batch(("one",), ("x",), draft, target, mask, target + 20, State(), 0)
    found = (pasted(batch) * 255).round()
    assert (found - target).abs()[..., 20:40, 20:40].mean() < 3
    far = torch.from_numpy(np.ones((64, 64), bool))
    far[16:44, 16:44] = False
    assert torch.equal(found[..., far], draft.float()[..., far])


def test_a_comparison_is_written_for_people_and_for_machines(tmp_path: Path) -> None:
    found = write_comparison(tmp_path, {"sft": lines(12, 12, 13), "<b>": lines(1, 1, 1)}, PRODUCTS, "A & B")
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told["all"]["each"]["sft"]["psnr"]["mean"] == 12.5
    assert told["gross"]["samples"] == found["gross"].samples == 3
    page = (tmp_path / "comparison.html").read_text()
    assert "A &amp; B" in page
    assert "<b>" not in page
    assert "12.50 (12.00 to 13.00)" in page
    assert page.count("data:image/png") == 4  # figures of each part, and gains by damage


def test_a_comparison_without_gross_damage_is_written_too(tmp_path: Path) -> None:
    slight = [line | {"psnr_input": 40.0} for line in lines(41, 41, 41)]
    found = write_comparison(tmp_path, {"sft": slight}, PRODUCTS, "slight")
    assert found["all"].samples == 3
    assert found["gross"].samples == found["gross"].products == 0
    assert "0 samples of 0 products" in (tmp_path / "comparison.html").read_text()
