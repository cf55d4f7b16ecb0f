import cv2
import numpy as np
import pytest

from schemas.records import Photo
from tasks.engines.ocr import read_text, text_once
from tests.tasks.engines.rendered import NUMBERS, photographed, rendered
from tests.tasks.engines.scenes import placed, product_photo, texture, turned


def test_it_reads_what_is_written_where_it_is_written() -> None:
    pixels = np.full((300, 400, 3), 230, dtype=np.uint8)
    cv2.putText(pixels, "HARBOUR 75", (60, 100), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (20, 20, 60), 3)
    (line,) = read_text(pixels)
    assert line.text.replace(" ", "") == "HARBOUR75"
    assert line.confidence > 0.8
    x, y = np.mean(line.polygon, axis=0)
    assert 0.3 < x < 0.6
    assert 0.2 < y < 0.4


def test_nothing_written_is_nothing_read() -> None:
    pixels = np.full((300, 300, 3), 120, dtype=np.uint8)
    cv2.circle(pixels, (150, 150), 70, (250, 240, 230), 12)
    pixels[220:260:8] = 30
    assert read_text(pixels) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_it_reads_the_brand_on_a_product(number: int) -> None:
    brand = rendered(number, 0).product.brand
    lines = text_once(photographed(number, 0))
    assert any(brand.upper() in line.text.upper() for line in lines), [line.text for line in lines]
    assert all(0 <= coordinate <= 1 for line in lines for corner in line.polygon for coordinate in corner)


def test_of_a_small_product_only_its_own_print_is_read() -> None:
    surface = texture(1)
    surface[130:270, 20:380] = 235
    cv2.putText(surface, "HARBOUR", (50, 225), cv2.FONT_HERSHEY_SIMPLEX, 2.2, (20, 20, 60), 7)
    pixels = placed(surface, turned(0, 0.3))
    cv2.putText(pixels, "ELSEWHERE", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 60), 3)
    assert "ELSEWHERE" in [line.text for line in read_text(pixels)]
    (line,) = text_once(Photo("small", pixels))
    assert line.text == "HARBOUR"
    low, high = np.min(line.polygon, axis=0), np.max(line.polygon, axis=0)
    on_surface = [(256 + 0.3 * (np.array(place) - 200)) / 512 for place in ((50, 175), (350, 235))]
    np.testing.assert_allclose([low, high], on_surface, atol=0.03)


def test_the_same_photo_reads_the_same() -> None:
    photo = photographed(0, 0)
    assert text_once(Photo("the same text again", photo.pixels.copy())) == text_once(photo)


def test_it_reads_small_print_on_a_real_photo() -> None:
    said = " ".join(line.text for line in text_once(product_photo("bear_plushie/04.jpg")))
    assert "Get" in said
