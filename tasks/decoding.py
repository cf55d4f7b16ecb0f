"""Strangers' bytes are decoded in a process apart, within its own bounds of processor time and memory.

A decoder that crashes, or never comes to an end, takes that process with it and nothing else: the photo is refused, and
the next one gets a new process. What passes between the two is a line of JSON and raw bytes, either way.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from schemas.records import EngineFailure, Refusal
from schemas.settings import Intake
from tasks.codecs import encode_webp
from tasks.engines.phash import Grey, hashes, reduced_jpeg
from tasks.photos import JPEGS, decode_photo

ROOT = Path(__file__).parents[1]
OWN_MEMORY = 2**30  # bytes of addresses: Python, the libraries and what the file itself takes
MEMORY_A_PIXEL = 24  # bytes: the file's pixels, turned, on white and as sRGB
PATIENCE = 10  # times the processor's seconds on the clock, and as many seconds more: the machine may be busy
LONGEST_LINE = 2**16
SOME_BYTES_MORE = re.compile(r"Corrupt JPEG data: (\d|1[0-6]) extraneous bytes before")  # as some cameras write them
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc would hand the memory of each photo back and ask for it anew: a quarter of the time
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
    "MALLOC_MMAP_THRESHOLD_": str(2**26),
}
MEMORY, CRASH = "too-much-memory", "crashes-decoder"
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}

Decoder = subprocess.Popen[bytes]
Message = tuple[dict[str, Any], bytes]

_idle: deque[Decoder] = deque()  # alive, and done with what they were last asked; at most one a worker
os.register_at_fork(after_in_child=_idle.clear)  # they are the parent's


@dataclass(frozen=True)
class Taken:
    """A photo that was decoded: its format, its size in the file; the photo in its bucket, as lossless WebP."""

    format: str
    source_width: int
    source_height: int
    width: int  # of the bucket
    height: int
    hashes: Sequence[int]  # perceptual ones, 64 bits, of the whole photo's eight forms, its own first
    webp: bytes


def decode_apart(data: bytes, intake: Intake) -> Taken:
    """Decode a file's bytes to a bucketed photo, encoded anew, in a process apart.

    Raises Refusal: those of decode_photo, and too-slow, too-much-memory, crashes-decoder; EngineFailure where the
    process was killed by others, is kept short of memory, or did not get to its work.
    """
    decoder = _idle_one()
    if decoder is not None:
        try:
            return _ask(decoder, data, intake)
        except Refusal as refused:
            if refused.reason not in (CRASH, MEMORY):
                raise  # those two it may owe to an earlier photo: only a new process is to be believed
        except EngineFailure:
            pass  # it was killed while it waited, or is being killed
    return _ask(_start(), data, intake, new=True)


def _idle_one() -> Decoder | None:
    with suppress(IndexError):
        while True:
            decoder = _idle.pop()
            if decoder.poll() is None:
                return decoder
            _end(decoder)
    return None


def _start() -> Decoder:
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.decoding"],
        cwd=ROOT,  # where the module lies, and no folder of photos with a module of that name
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        close_fds=True,
    )


def _ask(decoder: Decoder, data: bytes, intake: Intake, *, new: bool = False) -> Taken:
    """Have a photo decoded; the decoder is idle again then, or dead. A new one first says that it is ready."""
    assert decoder.stdin and decoder.stdout
    overdue = threading.Event()
    ready = not new
    timer = threading.Timer(PATIENCE * (1 + intake.max_seconds), _give_up, (decoder, overdue))
    timer.daemon = True
    timer.start()
    try:
        ready = ready or _receive(decoder.stdout) is not None
        _send(decoder.stdin, {"intake": intake.model_dump()}, data)
        answer = _receive(decoder.stdout)
    except (OSError, ValueError):  # it died in the middle, or talks nonsense
        answer = None
    except BaseException:
        _end(decoder)
        raise
    finally:
        timer.cancel()
    if not ready and not overdue.is_set():
        _end(decoder)
        raise EngineFailure(
            f"the photo's decoder cannot start: it ended with {decoder.returncode}; try omnirefiner doctor"
        )
    if answer is None:
        raise _why_it_ended(decoder, intake, overdue=overdue.is_set())
    _idle.append(decoder)
    return _taken(*answer)


def _end(decoder: Decoder) -> None:
    """Make sure that a decoder has ended, and let go of it."""
    assert decoder.stdin and decoder.stdout
    decoder.kill()  # does nothing to one that is dead
    with suppress(OSError):  # what was not sent goes nowhere
        decoder.stdin.close()
    decoder.stdout.close()
    decoder.wait()


def _give_up(decoder: Decoder, overdue: threading.Event) -> None:
    overdue.set()
    decoder.kill()


def _taken(header: dict[str, Any], webp: bytes) -> Taken:
    if "failed" in header:
        raise EngineFailure(header["failed"])
    if "refused" in header:
        raise Refusal(*header["refused"])
    return Taken(**header["taken"], webp=webp)


def _why_it_ended(decoder: Decoder, intake: Intake, *, overdue: bool) -> Refusal | EngineFailure:
    _end(decoder)
    ended_by = -decoder.returncode
    if overdue:
        return EngineFailure("the photo's decoder did not answer in time; is the machine too busy?")
    if ended_by == signal.SIGXCPU:
        return Refusal("too-slow", f"decoding takes more than {intake.max_seconds:g} s of processor time")
    if ended_by in CRASHES:
        return Refusal(CRASH, f"decoding it ends the decoder by {signal.Signals(ended_by).name}")
    return EngineFailure(f"the photo's decoder ended with {decoder.returncode}; it was killed, or cannot start")


def _send(file: IO[bytes], header: dict[str, Any], data: bytes) -> None:
    file.write(json.dumps({**header, "bytes": len(data)}).encode() + b"\n")
    file.write(data)
    file.flush()


def _receive(file: IO[bytes]) -> Message | None:
    """Return the next header and its bytes; None where the other side is gone. Raises ValueError on nonsense."""
    line = file.readline(LONGEST_LINE)
    if not line:
        return None
    header = json.loads(line)
    data = file.read(header["bytes"])
    return (header, data) if len(data) == header["bytes"] else None


def main() -> None:
    """Decode what comes on stdin and answer on stdout, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side's word: it closes stdin when it stops
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)  # what a library prints is no answer
    warnings, stderr = os.pipe()
    os.set_blocking(warnings, False)
    os.set_blocking(stderr, False)  # what a full pipe does not hold is lost, and nobody waits
    os.dup2(stderr, 2)
    _send(answers, {"ready": True}, b"")
    while request := _receive(sys.stdin.buffer):
        header, data = request
        intake = Intake.model_validate(header["intake"])
        roomy = _bound(intake)
        _send(answers, *_answer(data, intake, warnings, roomy=roomy))


def _bound(intake: Intake) -> bool:
    """Allow this process the time and the memory that one more photo may take; say whether it can have that memory."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime + intake.max_seconds) + 1
    memory = OWN_MEMORY + int(MEMORY_A_PIXEL * intake.max_megapixels * 1e6)
    _limit(resource.RLIMIT_CPU, seconds)
    with suppress(ValueError):  # macOS may take no bound on addresses: then a photo's own bounds must do
        return _limit(resource.RLIMIT_AS, memory)
    return True


def _limit(which: int, bound: int) -> bool:
    """Set a limit, or the process's own where that is tighter; say whether it is not."""
    hard = resource.getrlimit(which)[1]
    within = hard == resource.RLIM_INFINITY or bound <= hard
    resource.setrlimit(which, (bound if within else hard, hard))
    return within


def _answer(data: bytes, intake: Intake, warnings: int, *, roomy: bool) -> Message:
    try:
        decoded = decode_photo(data, intake)
        grey = _refuse_damaged(data, warnings) if decoded.format in JPEGS else None
    except Refusal as refused:
        return {"refused": [refused.reason, refused.detail]}, b""
    except MemoryError:
        if not roomy:
            return {"failed": "the photo's decoder has less memory than a photo may take (ulimit -v)"}, b""
        return {"refused": [MEMORY, "decoding it takes more memory than a photo of its size should"]}, b""
    height, width, _ = decoded.pixels.shape
    taken = {
        "format": decoded.format,
        "source_width": decoded.source_width,
        "source_height": decoded.source_height,
        "width": width,
        "height": height,
        "hashes": hashes(decoded.grey() if grey is None else grey),
    }
    return {"taken": taken}, encode_webp(decoded.pixels)


def _refuse_damaged(data: bytes, warnings: int) -> Grey | None:
    """Return a JPEG at an eighth of its size, where that can be had.

    Refuse one in whose pixels the decoder found garbage, or too few, and went on with grey or worse.
    libjpeg warns of that once, in words. Pillow drops them; OpenCV, asked for an eighth of the size, prints them on
    stderr, the other end of the pipe `warnings`.
    """
    _read(warnings)  # what others may have printed
    grey = reduced_jpeg(data)
    said = " ".join(_read(warnings).split())[:200]
    if re.search("Corrupt JPEG data|Premature end", said) and not SOME_BYTES_MORE.match(said):
        raise Refusal("broken", f"the image cannot be decoded: {said}")
    return grey


def _read(pipe: int) -> str:
    try:
        return os.read(pipe, 2**16).decode("ascii", "replace")
    except BlockingIOError:
        return ""


if __name__ == "__main__":
    main()
