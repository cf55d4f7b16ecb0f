"""A sample's bytes become its row of a batch: read, held against their digests, decoded, cropped, laid in memory.

This is what a worker process runs: it needs no torch, and starts in half a second.
"""

import json
import mmap
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from queue import SimpleQueue

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.ids import sha256, stream
from schemas.records import Mask, Pixels
from schemas.training import Data
from tasks.codecs import MOST_PIXELS, MOST_SCANS, START_OF_SCAN
from training.focus import Box, Place, around, beside, cut, cut_mask, focus, whole
from training.stored import Store

PICTURES = 3  # of a sample, beside its mask: input, target, reference
READERS = 8  # threads of a worker that wait for an object store; one is enough for a disk
COLOUR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # the markers of a JPEG that tell its size


@dataclass(frozen=True)
class Piece:
    """Where a part of a sample lies in a file, and its digest. A size of -1: the whole file."""

    name: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Sample:
    """What is read of a sample: its parts, and where its reference shows the region, if that was looked up."""

    key: str
    input: Piece
    about: Piece
    mask: Piece
    reference: Piece
    target: Piece
    place: Place | None


@dataclass(frozen=True)
class Order:
    """A sample that is wanted: in which epoch, and as which row of which batch in which slot of shared memory."""

    batch: int
    row: int
    slot: int
    rows: int
    size: tuple[int, int]  # width, height
    epoch: int
    sample: Sample


@dataclass(frozen=True)
class Done:
    """A row that is filled, with its instruction, or why it is not."""

    batch: int
    row: int
    instruction: str = ""
    damage: str | None = None


@dataclass(frozen=True)
class Rows:
    """Views of a slot: pictures (B, H, W, 3) uint8, mask (B, H, W) bool."""

    input: NDArray[np.uint8]
    target: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Decoded:
    """A sample, whole: its instruction, pictures (H, W, 3) uint8, mask (H, W) bool; the reference's size is its own."""

    instruction: str
    input: Pixels
    target: Pixels
    reference: Pixels
    mask: Mask

    @property
    def nbytes(self) -> int:
        """Return what its pictures take."""
        return sum(one.nbytes for one in (self.input, self.target, self.reference, self.mask))


class Damaged(Exception):
    """A sample that is not as it was published; its text says what of it."""


def slot_bytes(rows: int, size: tuple[int, int]) -> int:
    """Return the bytes of a slot of so many rows of (width, height)."""
    return rows * size[0] * size[1] * (3 * PICTURES + 1)


def rows_in(memory: NDArray[np.uint8], rows: int, size: tuple[int, int]) -> Rows:
    """Return a slot's bytes as rows of (width, height)."""
    width, height = size
    area = rows * width * height
    input, target, reference = memory[: 3 * PICTURES * area].reshape(PICTURES, rows, height, width, 3)
    mask = memory[3 * PICTURES * area :][:area].view(np.bool_).reshape(rows, height, width)
    return Rows(input, target, reference, mask)


def work(connection: Connection, store: Store, data: Data, seed: int) -> None:
    """Fill rows as they are ordered, until the other end closes.

    What is ordered is read ahead by threads, so that the decoder does not wait for the disk or for digests. A message
    is an Order, or the number of a new slot and its bytes, followed by the slot's file. The first samples that are
    decoded are kept, as many as `data.keep` has room for.
    """
    slots: dict[int, NDArray[np.uint8]] = {}
    kept: dict[str, Decoded] = {}
    room = data.keep * 2**20
    orders: SimpleQueue[tuple[Order, Future[dict[str, bytes]] | None] | None] = SimpleQueue()
    with connection, ThreadPoolExecutor(1 if store.local else READERS) as readers:

        def receive() -> None:
            try:
                while True:
                    message = connection.recv()
                    if isinstance(message, Order):
                        known = message.sample.key in kept
                        reading = None if known else readers.submit(read, store, message.sample, data.digests)
                        orders.put((message, reading))
                    else:
                        number, size = message
                        slots[number] = _mapped(recv_handle(connection), size)
            except (EOFError, OSError, RuntimeError):  # the last: this interpreter ends
                pass
            finally:
                orders.put(None)

        threading.Thread(target=receive, daemon=True).start()
        for order, reading in iter(orders.get, None):
            try:
                key = order.sample.key
                sample = kept[key] if reading is None else decoded(order.sample, reading.result(), data)
                if key not in kept and sample.nbytes <= room:
                    kept[key] = sample
                    room -= sample.nbytes
                fill(rows_in(slots[order.slot], order.rows, order.size), order, sample, data, seed)
                done = Done(order.batch, order.row, sample.instruction)
            except Damaged as damage:
                done = Done(order.batch, order.row, damage=str(damage))
            try:
                connection.send(done)
            except OSError:
                return


def read(store: Store, sample: Sample, digests: bool) -> dict[str, bytes]:
    """Return the bytes of a sample's parts; those that lie side by side are read at once. Raises Damaged."""
    pieces = {part: getattr(sample, part) for part in ("input", "about", "mask", "reference", "target")}
    parts: dict[str, bytes] = {}
    for name in {piece.name for piece in pieces.values()}:
        here = {part: piece for part, piece in pieces.items() if piece.name == name}
        start = min(piece.offset for piece in here.values())
        end = max(piece.offset + piece.size for piece in here.values())
        try:
            data = store.read(name, start, end - start) if end > start else store.whole(name)
        except OSError as error:
            raise Damaged(f"{name}: {error.strerror or ' '.join(str(error).split())[:200]}") from None
        for part, piece in here.items():
            found = data if piece.size < 0 else data[piece.offset - start : piece.offset - start + piece.size]
            if digests and sha256(found) != piece.sha256:
                raise Damaged(f"{name}: {sample.key}'s {part} is not as it was published")
            parts[part] = found
    return parts


def decoded(sample: Sample, parts: dict[str, bytes], data: Data) -> Decoded:
    """Return a sample's pictures, input and target of one size, of the bytes of its parts. Raises Damaged."""
    try:
        instruction = str(json.loads(parts["about"])["restore_instruction"])
        input, target = decode(parts["input"]), decode(parts["target"])
        reference, mask = decode(parts["reference"]), decode_mask(parts["mask"])
    except (ValueError, KeyError, TypeError, RecursionError, cv2.error) as error:
        raise Damaged(f"{sample.input.name}: {sample.key} does not decode: {_line(error)}") from None
    if target.shape[:2] != mask.shape or (data.edit == "pasted" and input.shape != target.shape):
        raise Damaged(f"{sample.input.name}: the parts of {sample.key} are not of one size")
    if input.shape != target.shape:  # an editor's own size, as stage 3 takes it
        input = np.asarray(cv2.resize(input, target.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    return Decoded(instruction, input, target, reference, mask)


def fill(rows: Rows, order: Order, sample: Decoded, data: Data, seed: int) -> None:
    """Crop a sample into its row."""
    size, mask = order.size, sample.mask
    thing = around(mask) if data.crop == "focus" else None
    crop = crop_of(thing, mask.shape[::-1], order, data, seed)
    rows.input[order.row] = cut(sample.input, crop, size)
    rows.target[order.row] = cut(sample.target, crop, size)
    rows.mask[order.row] = cut_mask(mask, crop, size)
    rows.reference[order.row] = beside(
        sample.reference, order.sample.place, crop, thing, mask.shape[::-1], size, data.reference == "aligned"
    )
    if data.jitter:
        jitter(rows, order, seed)


def jitter(rows: Rows, order: Order, seed: int) -> None:
    """Change a row's pictures alike: colours change places, are inverted, get another contrast and brightness; and they
    are mirrored, with their mask. What was equal stays equal. Chance is the sample's own in each epoch.
    """
    random = stream(seed, "jitter", order.sample.key, order.epoch)
    channels, (across, down) = random.permutation(3), random.random(2) < 0.5
    contrast, brightness = random.uniform(0.6, 1.2, 3), random.uniform(-30, 30, 3)
    if random.random() < 0.3:
        contrast = -contrast
    values = np.arange(256)[:, None]
    table = np.clip((values - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)  # (256, 3)
    sides = (slice(None, None, -1 if down else 1), slice(None, None, -1 if across else 1))
    for pictures in (rows.input, rows.target, rows.reference):
        moved = pictures[order.row][sides][..., channels]
        pictures[order.row] = np.stack([table[moved[..., channel], channel] for channel in range(3)], axis=-1)
    rows.mask[order.row] = rows.mask[order.row][sides].copy()


def crop_of(thing: Box | None, picture: tuple[int, int], order: Order, data: Data, seed: int) -> Box:
    """Return the crop of input and target (width, height): chance is the sample's own in each epoch."""
    if thing is None:
        return whole(*picture, order.size[0] / order.size[1])
    chance = stream(seed, "crop", order.sample.key, order.epoch).random(3)
    margin = data.margin[0] + (data.margin[1] - data.margin[0]) * float(chance[0])
    shift = (2 * float(chance[1]) - 1, 2 * float(chance[2]) - 1)
    return focus(thing, picture, order.size, margin, shift)


def decode(data: bytes) -> Pixels:
    """Decode a picture of the lake to (H, W, 3) uint8 RGB, measured before. Raises ValueError where it is none."""
    return _decode(data, COLOUR)


def decode_mask(data: bytes) -> Mask:
    """Decode a mask of the lake to (H, W) bool. Raises ValueError where it is none."""
    return _decode(data, cv2.IMREAD_GRAYSCALE) > 0


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    width, height = declared_size(data)
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"it declares {width} x {height} px")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise ValueError("it is broken")
    return np.asarray(pixels, np.uint8)


def declared_size(data: bytes) -> tuple[int, int]:
    """Return the (width, height) that a PNG, WebP or JPEG declares. Raises ValueError where it is none of these.

    Pillow would say as much, in a tenth of the time that decoding takes.
    """
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", data[16:24])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] == b"\xff\xd8":
            if data.count(START_OF_SCAN) > MOST_SCANS:
                raise ValueError(f"it has over {MOST_SCANS} scans")
            return next((width, height) for height, width in _frames(data))
    except (struct.error, StopIteration):
        raise ValueError("its header is cut") from None
    raise ValueError("it is no PNG, WebP or JPEG")


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8L":
            (bits,) = struct.unpack("<I", data[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
    raise ValueError("it is no still WebP")  # an animation, or one with transparency: the lake writes neither


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (height, width) of each frame's header of a JPEG."""
    place = 2
    while True:
        marker, length = struct.unpack(">HH", data[place : place + 4])
        if marker >> 8 != 0xFF:
            raise ValueError("its header is broken")
        if marker & 0xFF in FRAMES:
            yield struct.unpack(">HH", data[place + 5 : place + 9])
        place += 2 + length


def _mapped(descriptor: int, size: int) -> NDArray[np.uint8]:
    memory = mmap.mmap(descriptor, size)
    os.close(descriptor)
    return np.frombuffer(memory, np.uint8)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def main() -> None:
    """Work for the process that holds the other end of a connection, given by its descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer's to handle
    cv2.setNumThreads(1)
    connection = Connection(int(sys.argv[1]))
    store, data, seed = connection.recv()
    work(connection, store, data, seed)
