import numpy as np
import pytest
from PIL import Image, ImageOps

from schemas.ids import stream
from schemas.records import Category, Operation
from tasks.calibrate.truth import Shot, check, in_source, says_the_place, shots_of
from tasks.catalog import read
from tasks.engines import words
from tests.conftest import Built

POINTS = [(x, y) for x in (0.1, 0.5, 0.9) for y in (0.1, 0.5, 0.9)]


@pytest.mark.parametrize(
    ("rendered", "bucket"), [((640, 640), (512, 512)), ((512, 640), (448, 576)), ((640, 480), (576, 448))]
)
def test_a_place_in_the_bucket_is_that_place_in_the_photo_as_rendered(
    rendered: tuple[int, int], bucket: tuple[int, int]
) -> None:
    across, down = np.meshgrid(*(np.linspace(0, 1, side, dtype=np.float32) for side in rendered))
    shot = Shot(0, 0, False, 0, rendered, bucket)
    for plane, axis in ((across, 0), (down, 1)):
        fitted = np.asarray(ImageOps.fit(Image.fromarray(plane), bucket, Image.Resampling.BILINEAR))
        for x, y in [(0.2, 0.3), (0.5, 0.5), (0.85, 0.7)]:
            seen = fitted[round(y * bucket[1] - 0.5), round(x * bucket[0] - 0.5)]
            assert in_source(((x, y),), shot)[0][axis] == pytest.approx(seen, abs=0.005)


@pytest.mark.parametrize("point", POINTS)
def test_the_grammars_words_for_a_place_are_right_there_and_wrong_across(point: tuple[float, float]) -> None:
    rng = stream(0, "places", *point)
    across = (1 - point[0], 1 - point[1])
    for place in words.places(point):
        for operation in (Operation.SMEAR, Operation.REPATTERN, Operation.RETYPE, Operation.RESAMPLE):
            edits = [words.edit_sentence(rng, operation, "the word 'LEFT'", place, "RIGHT") for _ in range(8)]
            restore = words.restore_sentence(rng, Category.TEXT, operation, place)
            for sentence in (*edits, restore):
                assert says_the_place(sentence, point, ("LEFT", "RIGHT")), sentence
                assert point == across or not says_the_place(sentence, across, ("LEFT", "RIGHT")), sentence


def test_the_instructions_of_a_rendered_lake_are_held_against_the_truth(built: Built) -> None:
    done: list[int] = []
    with read(built.lake) as connection:
        shots = shots_of(connection)
        found, parts = check(connection, built.lake, shots, done.append)
    assert len(shots) == 18
    assert len(found) == sum(done) == built.summary.funnel.quadruplets
    assert np.mean([one.on_product for one in found]) > 0.9
    assert np.mean([one.visible >= 0.5 for one in found]) > 0.8
    assert {one.category for one in found if one.right} >= {Category.TEXT, Category.OBJECT_DETAIL}
    assert not any("place" in one.says for one in found)
    assert np.mean([not one.says for one in found]) > 0.9
    assert 0.6 < np.mean([was for _, was in parts]) < 1
