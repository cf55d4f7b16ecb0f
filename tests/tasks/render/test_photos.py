import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.render.photos import jpeg, render_set, render_view
from tasks.render.products import TYPES, product


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
def test_the_same_arguments_give_the_same_bytes(number: int) -> None:
    item = product(3, number)
    one, other = render_view(item, 1, 3, 160), render_view(item, 1, 3, 160)
    assert one.pixels.dtype == np.uint8
    assert jpeg(one.pixels, one.view.quality) == jpeg(other.pixels, other.view.quality)
    assert np.array_equal(one.surface, other.surface)
    assert one.parts == other.parts
    assert not np.array_equal(
        one.pixels, render_view(item, 1, 4, 160).pixels[: one.pixels.shape[0], : one.pixels.shape[1]]
    )


def test_a_view_depends_on_no_other(tmp_path: Path) -> None:
    truth = render_set(tmp_path, products=2, views=2, seed=6, size=128)
    render = render_view(product(6, 1), 1, 6, 128)
    assert (tmp_path / "can-set6-00001" / "01.jpg").read_bytes() == jpeg(render.pixels, render.view.quality)
    assert truth == tmp_path / "truth.jsonl"


def test_a_set_lies_with_its_truth(tmp_path: Path) -> None:
    lines = render_set(tmp_path, products=3, views=2, seed=6, size=128, hard_negatives=True).read_text().splitlines()
    photos = [json.loads(line) for line in lines]
    assert [photo["path"] for photo in photos] == [f"box-hard6-{k:05d}/{v:02d}.jpg" for k in range(3) for v in range(2)]
    assert [photo["twin_of"] for photo in photos] == [None, None, None, None, "box-hard6-00000", "box-hard6-00000"]
    for photo in photos:
        image = Image.open(io.BytesIO((tmp_path / photo["path"]).read_bytes()))
        assert image.size == (photo["view"]["width"], photo["view"]["height"])
        assert max(image.size) == 128
        assert photo["type"] == "box"
        assert {"id", "category", "subject", "text", "colour", "polygon", "visible_share", "area_share"} == set(
            photo["parts"][0]
        )


def test_a_set_that_is_broken_off_has_no_truth_yet(tmp_path: Path) -> None:
    def stopped(products: int) -> None:
        raise KeyboardInterrupt

    render_set(tmp_path, products=1, views=1, seed=5, size=128)
    with pytest.raises(KeyboardInterrupt):
        render_set(tmp_path, products=2, views=1, seed=6, size=128, advance=stopped)
    assert list(tmp_path.glob("*/*.jpg"))
    assert not (tmp_path / "truth.jsonl").exists()


def test_photos_fill_their_range_and_frame() -> None:
    for number in range(len(TYPES)):
        render = render_view(product(9, number), 0, 9, 160)
        assert render.pixels.max() > 150
        assert render.pixels.std() > 12
        covered = render.surface >= 0
        assert 0.1 < covered.mean() < 0.85
        border = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
        assert not border.any()


def test_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="64 or more"):
        render_view(product(0, 0), 0, 0, 32)
