"""Bytes that went wrong in every way: whatever comes in, only answers, refusals, findings and one-line errors come out.

Seeded mutations of sound files: the same cases on every machine. `OMNIREFINER_FUZZ=50` does fifty times as many.
"""

import io
import json
import os
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from schemas.errors import PhotosError, VersionError
from schemas.ids import sha256, stream
from schemas.records import Refusal
from schemas.settings import Intake, Settings
from tasks.codecs import decode
from tasks.decoding import decode_apart
from tasks.lake import Lake, create_lake
from tasks.listing import list_photos
from tasks.manifests import read_manifest, seal
from tasks.pack import pack_shard
from tasks.verify import Finding, verify_shard
from tasks.versions import write_manifest
from tests.tasks.test_pack import quadruplet
from tests.tasks.test_photos import encoded

TIMES = int(os.environ.get("OMNIREFINER_FUZZ", "1"))
INTAKE = Intake(size=128, min_side=16, max_seconds=5)
Row = dict[str, Any]


def mutated(data: bytes, *keys: object) -> bytes:
    """Return `data` with a few things wrong: bits, runs, lengths, cuts, copies; the same for the same keys."""
    random = stream(0, "fuzz", *keys)
    found = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        at = (
            int(random.integers(0, len(found) + 1))
            if random.random() < 0.7
            else int(random.integers(0, 1 + len(found) // 20))
        )
        length = int(2 ** random.uniform(0, 9))
        match int(random.integers(7)):
            case 0:
                found[at : at + 1] = bytes([int(random.integers(256))])
            case 1:
                found[at : at + length] = random.bytes(length)
            case 2:
                del found[at : at + length]
            case 3:
                other = int(random.integers(0, len(found) + 1))
                found[at:at] = found[other : other + length]
            case 4:
                odd = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)[int(random.integers(8))]
                order = ("little", "big")[int(random.integers(2))]
                found[at : at + 4] = odd.to_bytes(4, order)  # type: ignore[arg-type]
            case 5:
                found[at : at + length] = bytes(length)
            case _:
                del found[at + len(found) // 2 :]
    return bytes(found)


def with_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks' checksums are right again: else few mutations get past them."""
    found, at = bytearray(png), 8
    while at + 12 <= len(found):
        end = at + 8 + int.from_bytes(found[at : at + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(found)


def photos() -> dict[str, bytes]:
    """One sound photo of every kind that intake reads."""
    noise = Image.fromarray(stream(0, "noise").integers(60, 200, (80, 96, 3), dtype=np.uint8))
    ramp = Image.linear_gradient("L").resize((96, 80)).convert("RGB")
    animated: Row = {"save_all": True}
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    deep = Image.fromarray((np.asarray(noise.convert("L")).astype(np.uint16)) * 257)
    kinds: dict[str, tuple[Image.Image, str, Row]] = {
        "jpeg": (noise, "JPEG", {"exif": exif}),
        "progressive jpeg": (noise, "JPEG", {"progressive": True}),
        "cmyk jpeg": (noise.convert("CMYK"), "JPEG", {}),
        "mpo": (noise, "MPO", {**animated, "append_images": [ramp.copy()]}),
        "png": (noise, "PNG", {"exif": exif}),
        "palette png": (noise.quantize(16), "PNG", {"transparency": 3}),
        "16-bit png": (deep, "PNG", {}),
        "apng": (noise, "PNG", {**animated, "append_images": [ramp.copy()]}),
        "webp": (noise, "WEBP", {"exif": exif}),
        "lossless webp": (noise.convert("RGBA"), "WEBP", {"lossless": True}),
        "animated webp": (noise, "WEBP", {**animated, "append_images": [ramp.copy()]}),
        "gif": (noise.quantize(32), "GIF", {}),
        "animated gif": (noise.quantize(32), "GIF", {**animated, "append_images": [ramp.copy()]}),
        "bmp": (noise, "BMP", {}),
        "avif": (noise, "AVIF", {"speed": 10, "exif": exif}),
        "animated avif": (noise, "AVIF", {"speed": 10, **animated, "append_images": [ramp.copy()]}),
        "16-bit tiff": (deep, "TIFF", {}),
        "pages tiff": (noise, "TIFF", {**animated, "append_images": [ramp.copy()]}),
        "cmyk tiff": (noise.convert("CMYK"), "TIFF", {}),
        "fax tiff": (noise.convert("1"), "TIFF", {"compression": "group4"}),
    }
    packings = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")
    kinds |= {f"{packing} tiff": (noise, "TIFF", {"compression": packing}) for packing in packings}
    return {name: encoded(image, format, **options) for name, (image, format, options) in kinds.items()}


PHOTOS = photos()


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_mutated_photo_is_taken_or_refused_in_bounded_time(kind: str) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(100 * TIMES):
        start = time.monotonic()
        try:
            data = mutated(PHOTOS[kind], kind, number)
            taken = decode_apart(with_checksums(data) if data[:4] == b"\x89PNG" else data, INTAKE)
            assert decode(taken.webp).shape == (taken.height, taken.width, 3)
            outcomes["taken"] += 1
        except Refusal as refused:
            assert refused.reason
            assert "\n" not in refused.detail
            outcomes[refused.reason] += 1
        assert time.monotonic() - start < 30
    print(kind, dict(outcomes))


def manifest(suffix: str) -> bytes:
    rows = [
        {"path": f"mug/{number}.jpg", "product": "mug, blue", "licence": "CC0", "n": number, "of": {"a": [1.5, None]}}
        for number in range(20)
    ]
    if suffix == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()
    if suffix == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    return ("path,product,licence,n\n" + "".join(f'{r["path"]},"mug, blue",CC0,{r["n"]}\n' for r in rows)).encode()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_mutated_manifest_is_listed_or_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    sound, path = manifest(suffix), tmp_path / f"m.{suffix}"
    for number in range(600 * TIMES):
        path.write_bytes(mutated(sound, suffix, number))
        try:
            for one in list_photos(path):
                json.loads(one.extra, parse_constant=pytest.fail)
                f"{one.path}{one.product}{one.licence}{one.extra}".encode()
        except PhotosError as refused:
            assert "\n" not in str(refused)


@pytest.fixture
def published(tmp_path: Path) -> Lake:
    lake = create_lake(tmp_path / "lake")
    rows = [quadruplet(lake, number) for number in range(3)]
    run = {"run_id": "000001", "fingerprints": '{"ingest": "x"}'}
    write_manifest(lake, "v1", [pack_shard(lake, rows, 95)], rows, None, run, Settings())
    return lake


def altered(value: Any, random: np.random.Generator) -> Any:
    """Return a JSON value with one thing in it replaced, dropped or doubled."""
    odd: tuple[Any, ...] = (None, -1, 2**63, 1e308, "", "\ud800", "../../x", [], {}, [[]], True, "0" * 64)
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = sorted(value)[int(random.integers(len(value)))]
        if random.random() < 0.15:
            return {name: inner for name, inner in value.items() if name != key}
        return value | {key: altered(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = int(random.integers(len(value)))
        return [*value[:at], altered(value[at], random), *value[at:]]
    return odd[int(random.integers(len(odd)))]


def findings_of(lake: Lake) -> list[Finding]:
    return [finding for entry in read_manifest(lake, "v1")["shards"] for finding in verify_shard(lake, entry)]


def test_a_mutated_version_manifest_is_refused_or_its_findings_named(published: Lake) -> None:
    path = published.manifest("v1")
    sound = path.read_bytes()
    for number in range(600 * TIMES):
        if number % 2:
            document = altered(json.loads(sound), stream(0, "manifest", number))
            path.write_text(json.dumps(document | {"seal": seal(document)} if isinstance(document, dict) else document))
        else:
            path.write_bytes(mutated(sound, "manifest", number))
        try:
            assert all(isinstance(finding, Finding) for finding in findings_of(published))
        except VersionError as refused:
            assert "\n" not in str(refused)


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.parametrize("believed", [True, False])
def test_a_mutated_shard_or_index_is_named(published: Lake, suffix: str, believed: bool) -> None:
    (entry,) = read_manifest(published, "v1")["shards"]
    shard = published.shard(entry["sha256"])
    sound = shard.with_suffix(suffix).read_bytes()
    for number in range(100 * TIMES):
        data = mutated(sound, suffix, number)
        if data == sound:
            continue
        harmed = dict(entry)
        if believed and suffix == ".parquet":
            harmed["index_sha256"] = sha256(data)
        elif believed:  # the manifest names the harmed shard, so that all of it is read
            harmed |= {"sha256": sha256(data), "bytes": len(data)}
        here = published.shard(harmed["sha256"])
        here.with_suffix(".parquet").write_bytes(shard.with_suffix(".parquet").read_bytes())
        here.with_suffix(suffix).write_bytes(data)
        found = verify_shard(published, harmed)
        assert all("\n" not in finding.what for finding in found)
        assert found or believed
        if here != shard:
            here.unlink()
            here.with_suffix(".parquet").unlink()
