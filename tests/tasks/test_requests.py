"""The request ledger: what was answered is there for every process after, however this one ends."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from schemas.errors import LakeError
from schemas.ids import stream
from tasks.engines.chat import Usage
from tasks.lake import create_lake
from tasks.requests import Requests

KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.lake import open_lake
from tasks.requests import Requests
for number in range(100):
    Requests(open_lake(Path(sys.argv[1]))).keep(str(number), b"%d" % number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reply_is_recalled_as_it_was_first_kept(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    assert Requests(lake).recall("a") is None
    Requests(lake).keep("a", b'{"x": 1}\n')
    Requests(lake).keep("a", b'{"x": 2}')
    assert Requests(lake).recall("a") == b'{"x": 1}'


def test_a_picture_is_recalled_while_its_artifact_is_there_and_told_if_damaged(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    pixels = stream(1, "picture").integers(0, 256, (32, 48, 3), dtype=np.uint8)
    assert Requests(lake).recall_picture("a") is None
    for _ in range(2):
        Requests(lake).keep_picture("a", pixels)
        (artifact,) = (path for path in (lake.root / "artifacts").rglob("*") if path.is_file())
        assert np.array_equal(Requests(lake).recall_picture("a"), pixels)  # type: ignore[arg-type]
        good = artifact.read_bytes()
        artifact.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(LakeError, match="damaged"):
            Requests(lake).recall_picture("a")
        artifact.unlink()  # as `gc` may
        assert Requests(lake).recall_picture("a") is None


def test_nothing_is_lost_to_a_kill(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(lake.root)], check=False, env=os.environ)
    assert killed.returncode == -9
    assert [Requests(lake).recall(str(number)) for number in range(100)] == [b"%d" % number for number in range(100)]


def test_many_threads_keep_at_once(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")

    def keep(own: int) -> None:
        for number in range(50):
            Requests(lake).keep(f"{own} {number}", b"{}")

    threads = [Thread(target=keep, args=[own]) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(Requests(lake).recall(f"{own} {n}") == b"{}" for own in range(4) for n in range(50))


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    lake.requests.write_bytes(b"no database" * 100)
    with pytest.raises(LakeError, match=r"requests\.sqlite: file is not a database.*deleted"):
        Requests(lake).recall("a")


def test_what_an_item_cost_becomes_columns(tmp_path: Path) -> None:
    requests = Requests(create_lake(tmp_path / "lake"))
    requests.spent("a", Usage(1, 0, 100, 20))
    requests.spent("a", Usage(1, 1, 100, 30))
    assert requests.columns("a") == {"requests": 2, "retries": 1, "tokens_in": 200, "tokens_out": 50}
    assert requests.columns("b") == {}
