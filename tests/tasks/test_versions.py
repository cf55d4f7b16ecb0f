"""What a version shares with its parent: every wanted sample once, nothing else, and nothing that must be gone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import VersionError
from schemas.settings import Settings, Shards
from tasks.compact import compaction, repack
from tasks.deletions import deleted_keys
from tasks.lake import Lake, create_lake
from tasks.pack import pack_shard
from tasks.versions import kept_shards, keys_of, licensed, write_manifest
from tests.tasks.test_pack import quadruplet

Row = dict[str, Any]

SAMPLES, SIZE = 12, 4
NUMBERS = st.sets(st.integers(0, SAMPLES - 1))
RUN = {"run_id": "000001", "fingerprints": "{}"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[Row], Row]:
    """A lake, twelve samples, and a version that holds them in three shards."""
    lake = create_lake(tmp_path_factory.mktemp("versions") / "lake")
    rows = [quadruplet(lake, number) for number in range(SAMPLES)]
    shards = [pack_shard(lake, rows[start : start + SIZE], 95) for start in range(0, SAMPLES, SIZE)]
    return lake, rows, write_manifest(lake, "v1", shards, rows, None, RUN, Settings())


@given(wanted=NUMBERS, gone=NUMBERS, changed=NUMBERS, moved=NUMBERS, least=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(deadline=None)
def test_every_wanted_sample_is_kept_as_it_is_or_packed(
    made: tuple[Lake, list[Row], Row],
    wanted: set[int],
    gone: set[int],
    changed: set[int],
    moved: set[int],
    least: float,
) -> None:
    lake, rows, parent = made
    now = [
        rows[number]
        | ({"restore_instruction": "other words"} if number in changed else {})
        | ({"split_group": "validation"} if number in moved else {})
        for number in sorted(wanted - gone)
    ]
    barred = {rows[number]["quadruplet_id"] for number in gone}
    kept, unpacked = kept_shards(lake, parent, now, barred, Shards(min_live=least))
    entries = [vars(shard) for shard in kept]
    live = [key for entry in entries for key in keys_of(lake, entry) - deleted_keys(lake, entry)]
    assert sorted(live + [row["quadruplet_id"] for row in unpacked]) == sorted(row["quadruplet_id"] for row in now)
    assert not {rows[number]["quadruplet_id"] for number in changed | moved} & set(live)
    assert not any(barred & keys_of(lake, entry) for entry in entries)
    assert all(0 < entry["live"] >= least * entry["samples"] for entry in entries)
    assert len(live) == sum(entry["live"] for entry in entries)


@given(wanted=st.sets(st.integers(0, SAMPLES - 1), min_size=1), below=st.floats(0, 1), size=st.integers(1, SAMPLES))
@settings(deadline=None, max_examples=50)
def test_compaction_keeps_every_sample_once(
    made: tuple[Lake, list[Row], Row], wanted: set[int], below: float, size: int
) -> None:
    lake, rows, parent = made
    kept, unpacked = kept_shards(lake, parent, [rows[number] for number in wanted], set(), Shards(min_live=0))
    manifest = {"shards": [vars(shard) for shard in kept]}
    stay, chunks = compaction(lake, manifest, below, size, frozenset())
    entries = [vars(shard) for shard in [*stay, *(repack(lake, chunk) for chunk in chunks)]]
    live = [key for entry in entries for key in keys_of(lake, entry) - deleted_keys(lake, entry)]
    assert unpacked == []
    assert sorted(live) == sorted(rows[number]["quadruplet_id"] for number in wanted)
    assert all(len(chunk.samples) == size for chunk in chunks[:-1])


def test_a_licence_must_be_known_and_named_for_both_photos() -> None:
    def row(target: str | None, reference: str | None) -> Row:
        return {"target_licence": target, "reference_licence": reference}

    rows = [row("CC0", "CC0"), row("CC0", None), row("CC0", "CC-BY-4.0"), row(None, None)]
    assert licensed(rows, []) == rows
    assert licensed(rows, ["CC0"]) == rows[:1]
    assert licensed(rows, ["CC0", "CC-BY-4.0"]) == [rows[0], rows[2]]
    with pytest.raises(VersionError, match="licence 'cc0': no photo bears it"):
        licensed(rows, ["cc0"])
