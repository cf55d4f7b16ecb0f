import numpy as np
import pytest

from tasks.render.photos import render_view
from tasks.render.products import TYPES, product


@pytest.fixture(scope="module")
def ocr() -> object:
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


@pytest.mark.parametrize("kind", ["box", "poster", "can"])
def test_ocr_reads_most_brands(ocr: object, kind: str) -> None:
    numbers = [TYPES.index(kind) + len(TYPES) * step for step in range(5)]
    read = 0
    for number in numbers:
        render = render_view(product(12, number), 0, 12, 512)
        found, _ = ocr(np.ascontiguousarray(render.pixels[..., ::-1]))  # type: ignore[operator]
        words = "".join(text for _, text, _ in found or []).upper().replace(" ", "").replace("0", "O")
        read += render.product.brand in words
    assert read >= 4
