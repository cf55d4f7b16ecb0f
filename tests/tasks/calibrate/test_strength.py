import numpy as np

from schemas.records import Operation
from schemas.settings import load_settings
from tasks.calibrate.strength import STRENGTHS, Graded, drawn, graded, strength_table
from tasks.catalog import read, rows
from tests.conftest import SMALL, Built


def test_a_stronger_edit_is_a_larger_damage(built: Built) -> None:
    with read(built.lake) as connection:
        images = [row["image_id"] for row in rows(connection, "SELECT image_id FROM images")]
        edits = drawn(connection, 3, images)
        assert drawn(connection, 3, []) == []
    told: list[int] = []
    found = graded(built.lake, load_settings(assignments=SMALL), edits, told.append)
    assert sum(told) == len(edits) > 10
    assert len(found) > 0.8 * len(edits)
    psnr = np.array([one.psnr for one in found])
    likeness = np.array([one.likeness for one in found])
    assert (np.diff(np.median(psnr, axis=0)) < 0).all()
    assert np.median(likeness, axis=0)[-1] < np.median(likeness, axis=0)[0]


def test_the_table_tells_each_operation_and_all() -> None:
    falling = Graded(Operation.SMEAR, tuple(40 - 10 * s for s in STRENGTHS), tuple(1 - 0.1 * s for s in STRENGTHS))
    rising = Graded(Operation.WARP, falling.psnr[::-1], falling.likeness)
    halting = Graded(Operation.GARBLE, (30, 20, 21, 10), (0.9, 0.8, 0.7, 0.6))
    garble, *_ = strength_table([halting])
    assert (garble["dB falls"], garble["likeness falls"]) == ("67%", "100%")
    smear, warp, everything = strength_table([falling, rising])
    assert (smear["operation"], smear["dB at 0.5"], smear["dB falls"]) == ("smear", 35, "100%")
    assert (warp["dB falls"], warp["likeness falls"]) == ("0%", "100%")
    assert (everything["operation"], everything["n"], everything["dB falls"]) == ("all", 2, "50%")
