"""Photos are decoded in a process apart: what it may take, and what becomes of a photo that takes more."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.ids import stream
from schemas.records import EngineFailure, Refusal
from schemas.settings import Intake
from tasks import decoding
from tasks.codecs import decode
from tasks.decoding import decode_apart
from tasks.photos import decode_photo
from tests.tasks.test_photos import chunk, encoded

INTAKE = Intake(size=128, min_side=32)
PHOTO = encoded(Image.effect_noise((300, 256), 60).convert("RGB"), "JPEG")

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="SKIPPED: looks at processes in /proc")


def with_scans(size: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is there many times: little to store, much to decode."""
    data = encoded(Image.new("L", (size, size), "grey"), "JPEG", progressive=True)
    last = data[[found.start() for found in re.finditer(rb"\xff\xda", data)][-1] : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


SLOW = with_scans(8000, 150)  # seconds of work


def decoders(parent: int | str = "self") -> set[int]:
    """The processes that decode for `parent`."""
    own = os.getpid() if parent == "self" else parent
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == own and fields[0] != "Z" and b"tasks.decoding" in command:
            found.add(int(folder.name))
    return found


def seconds_of(pid: int) -> float:
    """The processor time that a process has had."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


def reason(data: bytes, intake: Intake = INTAKE) -> str:
    with pytest.raises(Refusal) as refused:
        decode_apart(data, intake)
    return refused.value.reason


@contextmanager
def while_decoding(data: bytes, intake: Intake = INTAKE) -> Iterator[list[BaseException | None]]:
    """Decode on a thread; what came of it is in the list once the block is left."""
    outcome: list[BaseException | None] = []

    def work() -> None:
        try:
            decode_apart(data, intake)
            outcome.append(None)
        except (Refusal, EngineFailure) as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield outcome
    thread.join(30)
    assert outcome


def test_a_photo_is_the_same_whichever_process_decodes_it() -> None:
    here, apart = decode_photo(PHOTO, INTAKE), decode_apart(PHOTO, INTAKE)
    assert np.array_equal(here.pixels, decode(apart.webp))
    assert here.pixels.shape == (apart.height, apart.width, 3)
    assert (here.format, here.source_width, here.source_height) == (apart.format, 300, 256)


def test_a_refusal_says_the_same_whichever_process_refuses() -> None:
    for data in (b"", b"<html>", PHOTO[:900]):
        with pytest.raises(Refusal) as here:
            decode_photo(data, INTAKE)
        with pytest.raises(Refusal) as apart:
            decode_apart(data, INTAKE)
        assert (here.value.reason, here.value.detail) == (apart.value.reason, apart.value.detail)


def test_many_workers_have_a_decoder_each_and_mix_nothing_up() -> None:
    photos = [encoded(Image.new("RGB", (256, 256), (20 * n, 0, 0)), "PNG") for n in range(12)]
    found: list[int] = [0] * 12

    def work(numbers: range) -> None:
        for n in numbers:
            found[n] = int(decode(decode_apart(photos[n], INTAKE).webp)[9, 9, 0])

    threads = [threading.Thread(target=work, args=(range(start, 12, 3),)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [20 * n for n in range(12)]


def test_what_takes_too_long_is_refused_and_the_next_photo_is_taken() -> None:
    start = time.monotonic()
    assert reason(SLOW, Intake(max_seconds=0.1)) == "too-slow"
    assert time.monotonic() - start < 10
    assert decode_apart(PHOTO, INTAKE).format == "JPEG"


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once() -> None:
    assert reason(with_scans(2000, 5000)) == "too-many-scans"


def test_scans_do_not_hide_behind_markers_without_a_length() -> None:
    data = encoded(Image.new("L", (2000, 2000), "grey"), "JPEG", progressive=True)
    last = data[[found.start() for found in re.finditer(rb"\xff\xda", data)][-1] : -2]
    assert reason(data[:-2] + (b"\xff\x01" + last) * 5000 + b"\xff\xd9") == "too-many-scans"


def shot(**options: object) -> bytes:
    """A JPEG that is no flat colour anywhere."""
    noise = Image.fromarray(stream(0, "shot").integers(0, 256, (96, 128, 3), dtype=np.uint8))
    return encoded(noise.resize((640, 480), Image.Resampling.BICUBIC), "JPEG", **options)


def overwritten(data: bytes, at: int, garbage: bytes) -> bytes:
    return data[:at] + garbage + data[at + len(garbage) :]


KINDS: list[dict[str, object]] = [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}]


@pytest.mark.parametrize("options", KINDS)
def test_a_jpeg_whose_pixels_are_garbage_is_refused(options: dict[str, object]) -> None:
    whole = shot(**options)
    places = [len(whole) * tenth // 10 for tenth in range(4, 9)]
    assert reason(whole[: len(whole) // 2] + b"\xff\xd9") == "broken"
    assert {reason(overwritten(whole, at, bytes(4096))) for at in places} == {"broken"}
    if "progressive" not in options:  # whose last scans are bare bits: any are as good
        assert {reason(overwritten(whole, at, stream(0, "garbage").bytes(64))) for at in places} == {"broken"}
    assert reason(whole[:2000] + bytes(range(1, 192)) + b"\xff\x37" + whole[2100:]) == "broken"


@pytest.mark.parametrize("options", [*KINDS, {"restart_marker_blocks": 8}])
def test_a_jpeg_with_more_than_its_pixels_is_taken_as_it_is(options: dict[str, object]) -> None:
    whole = shot(**options)
    expected = decode_apart(whole, INTAKE).webp
    for more in (
        whole + bytes(5000),
        whole + whole[2000:9000],
        whole[:-2] + bytes(4) + whole[-2:],  # before the end, as some cameras write
        whole[:2] + b"\xff\xfe\x00\x06\xff\xda\xff\xd9" + whole[2:],  # a comment of markers
        re.sub(rb"(?=\xff[\xd0-\xd7])", bytes(1), whole),  # before the restarts, as some cameras write
    ):
        assert decode_apart(more, INTAKE).webp == expected


def test_the_previews_of_a_cameras_jpeg_are_no_garbage() -> None:
    photo = Image.fromarray(decode(decode_apart(shot(), INTAKE).webp))
    both = encoded(photo, "MPO", save_all=True, append_images=[photo.resize((160, 120))])
    assert decode_apart(both, INTAKE).format == "MPO"


def test_an_animation_of_very_many_frames_is_refused_at_once() -> None:
    still = encoded(Image.new("P", (256, 256)), "GIF")
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00" + b"\x2c\0\0\0\0\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    start = time.monotonic()
    assert reason(still[:-1] + frame * 500_000 + b";") == "animated"
    assert time.monotonic() - start < 5


def test_a_tiff_whose_pages_go_in_a_circle_comes_to_an_end() -> None:
    data = bytearray(encoded(Image.new("RGB", (256, 256)), "TIFF"))
    at = int.from_bytes(data[4:8], "little")
    after = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[after : after + 4] = data[4:8]
    assert decode_apart(bytes(data), INTAKE).format == "TIFF"


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_what_a_png_unpacks_beside_its_pixels_is_bounded(kind: bytes) -> None:
    png = encoded(Image.new("RGB", (256, 256)))
    packed = zlib.compress(bytes(300_000_000), 9)
    head = {b"iCCP": b"p\0\0", b"zTXt": b"t\0\0", b"iTXt": b"t\0\x01\0\0\0"}[kind]
    assert reason(png[:33] + chunk(kind, head + packed) + png[33:]) == "broken"


@linux
def test_a_photo_that_crashes_its_decoder_is_refused_and_the_next_is_taken() -> None:
    with while_decoding(SLOW) as outcome:
        while not outcome:
            for pid in decoders():
                if seconds_of(pid) > 1.5:  # more than its start takes
                    os.kill(pid, signal.SIGSEGV)
            time.sleep(0.02)
    (refused,) = outcome
    assert isinstance(refused, Refusal)
    assert (refused.reason, "SIGSEGV" in refused.detail) == ("crashes-decoder", True)
    assert decode_apart(PHOTO, INTAKE).format == "JPEG"


@linux
def test_a_crash_of_a_decoder_that_had_other_photos_before_is_no_proof() -> None:
    decode_apart(PHOTO, INTAKE)
    before = decoders()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    with while_decoding(PHOTO) as outcome:
        time.sleep(0.3)
        for pid in before:
            os.kill(pid, signal.SIGSEGV)
            os.kill(pid, signal.SIGCONT)
    assert outcome == [None]


@linux
def test_a_decoder_that_others_kill_is_a_failure_and_no_refusal() -> None:
    with while_decoding(SLOW) as outcome:
        while not outcome:
            for pid in decoders():
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    assert isinstance(outcome[0], EngineFailure)


@linux
def test_a_decoder_that_died_while_idle_is_replaced() -> None:
    decode_apart(PHOTO, INTAKE)
    before = decoders()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert decode_apart(PHOTO, INTAKE).format == "JPEG"


@linux
def test_a_decoder_holds_no_file_of_its_parent_and_no_heavy_library(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        for pid in decoders():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not decoders())
        decode_apart(PHOTO, INTAKE)
        (pid,) = decoders()
        held = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert not any("lock" in name for name in held)
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


SCRIPT = """
import io, os, sys, time
from PIL import Image
from schemas.settings import Intake
from tasks import decoding
from tasks.codecs import decode
from tasks.decoding import decode_apart
side = int(sys.argv[1])
buffer = io.BytesIO()
Image.new("RGB", (side, side)).save(buffer, "PNG", compress_level=1)
try:
    print(decode_apart(buffer.getvalue(), Intake()).format, flush=True)
except Exception as error:
    print(*error.args, flush=True)
sys.stdin.read()
"""


@linux
def test_a_decoder_ends_with_its_parent_however_that_ends() -> None:
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, "300"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout and parent.stdout.readline() == b"PNG\n"
        (decoder,) = decoders(parent.pid)
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{decoder}/stat").exists() or " Z " in Path(f"/proc/{decoder}/stat").read_text())


def test_where_others_keep_a_decoder_short_of_memory_photos_are_asked_again_and_not_refused() -> None:
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (700_000_000,) * 2)\n{textwrap.dedent(SCRIPT)}"
    done = subprocess.run(
        [sys.executable, "-c", script, "8000"], input=b"", capture_output=True, check=True, timeout=60,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert b"less memory than a photo may take" in done.stdout, done


def test_a_decoder_that_cannot_start_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(decoding, "_idle", deque())
    with pytest.raises(EngineFailure, match="cannot start: it ended with -4"):
        decode_apart(PHOTO, INTAKE)


def answers_of(script: str, *photos: bytes) -> list[dict[str, Any]]:
    """The headers with which a decoder answers that runs a script of ours."""
    asked = [
        json.dumps({"intake": INTAKE.model_dump(), "bytes": len(photo)}).encode() + b"\n" + photo for photo in photos
    ]
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"".join(asked), capture_output=True, check=True, timeout=60
    )
    found, out = [], io.BytesIO(done.stdout)
    while line := out.readline():
        found.append(json.loads(line))
        out.read(found[-1]["bytes"])
    return found


LITTLE_MEMORY = """
from pathlib import Path
from tasks import decoding
decoding.OWN_MEMORY = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + 300_000_000
decoding.MEMORY_A_PIXEL = 0
decoding.main()
"""


@linux
def test_what_takes_too_much_memory_is_refused() -> None:
    large = encoded(Image.new("RGB", (9900, 9900)), "PNG", compress_level=1)
    _, first, second = answers_of(LITTLE_MEMORY, large, PHOTO)
    assert first["refused"][0] == "too-much-memory"
    assert second["taken"]["format"] == "JPEG"


NO_BOUND_ON_ADDRESSES = """
import resource
bound = resource.setrlimit
def refuse(which, bounds):
    if which == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    bound(which, bounds)
resource.setrlimit = refuse
from tasks.decoding import main
main()
"""


def test_where_addresses_cannot_be_bounded_as_on_macos_photos_are_taken_all_the_same() -> None:
    ready, answer = answers_of(NO_BOUND_ON_ADDRESSES, PHOTO)
    assert ready["ready"]
    assert answer["taken"]["format"] == "JPEG"


def test_a_decoder_is_of_the_project_wherever_the_command_is_run(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise SystemExit('not this one')")
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "300"],
        input=b"",
        capture_output=True,
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"PNG\n", done
