"""A lake behind an S3 server is read as one on a disk is: the server here is a small one, the client Arrow's own."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import torch

from schemas.errors import DataError, VersionError
from tasks.deletions import DeletionsError
from tasks.lake import Lake
from tasks.manifests import read_manifest
from tasks.pack import Shard
from tasks.versions import keys_of
from tests.training.conftest import PLAIN, publish
from training.dataset import batches, open_split
from training.stored import Store


class Handler(BaseHTTPRequestHandler):
    """What S3 answers to those who read: HEAD, GET with ranges, and lists."""

    protocol_version = "HTTP/1.1"
    folder: Path
    ranges: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        url = urlsplit(self.path)
        path = self.folder / unquote(url.path).lstrip("/")
        if "list-type" in parse_qs(url.query):
            self.reply(200, self.listed(path, parse_qs(url.query).get("prefix", [""])[0]), body)
        elif not path.is_file():
            self.reply(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>", body)
        elif asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            self.ranges.append(path.name)
            start, end = int(asked[1]), int(asked[2]) + 1
            self.reply(206, path.read_bytes()[start:end], body, f"bytes {start}-{end - 1}/{path.stat().st_size}")
        else:
            self.reply(200, path.read_bytes(), body)

    def listed(self, bucket: Path, prefix: str) -> bytes:
        place = bucket / prefix
        files = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else []
        keys = "".join(
            f"<Contents><Key>{prefix}{path.name}</Key><Size>{path.stat().st_size}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for path in files
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>".encode()

    def reply(self, code: int, data: bytes, body: bool, range: str | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if range:
            self.send_header("Content-Range", range)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder's subfolders as buckets; yield the options of a URL and the names of files read in ranges."""
    handler = type("Handler", (Handler,), {"folder": folder, "ranges": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"endpoint_override=127.0.0.1:{server.server_address[1]}&scheme=http&region=us-east-1", handler.ranges  # type: ignore[attr-defined]
    finally:
        server.shutdown()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize("workers", [0, 2])
def test_s3_gives_the_batches_of_the_disk(small: Lake, workers: int) -> None:
    data = PLAIN.model_copy(update={"workers": workers})
    with served(small.root.parent) as (options, ranges):
        far = open_split(f"s3://lake?{options}", "v1", "train")
        near = open_split(small.root, "v1", "train")
        assert far.content == near.content
        pairs = list(zip(islice(batches(far, data, 0), 5), batches(near, PLAIN, 0), strict=False))
        assert len(pairs) == 5
        for one, other in pairs:
            assert one.keys == other.keys
            assert torch.equal(one.input, other.input)
            assert torch.equal(one.reference, other.reference)
        assert len(ranges) >= 5 * PLAIN.batch  # of each sample one range, never the whole shard
        assert far.shards[0] in {f"shards/{name}" for name in ranges}


def test_a_deletion_vector_behind_a_url_is_honoured(own: Lake) -> None:
    entries = [Shard(**entry) for entry in read_manifest(own, "v1")["shards"]]
    gone = sorted(keys_of(own, vars(entries[0])))[:2]
    publish(own, "v2", entries, {entries[0].sha256: gone})
    with served(own.root.parent) as (options, _):
        split = open_split(f"s3://lake?{options}", "v2", "train")
        assert set(split.index["key"].to_pylist()) == {
            key for entry in entries for key in keys_of(own, vars(entry)) if key not in gone
        }
        next((own.root / "deletions").iterdir()).unlink()
        with pytest.raises(DeletionsError, match=r"lake s3://lake.*missing"):
            open_split(f"s3://lake?{options}", "v2", "train")


def test_what_is_not_there_is_told_with_its_url(small: Lake) -> None:
    with served(small.root.parent) as (options, _):
        with pytest.raises(VersionError, match=r"version 'v9': not in the lake \(there are: v1"):
            open_split(f"s3://lake?{options}", "v9", "train")
        with pytest.raises(DataError, match="lake s3://other"):
            open_split(f"s3://other?{options}", "v1", "train")
        split = open_split(f"s3://lake?{options}", "v1", "train")
        with pytest.raises(DataError, match="on a local disk only"):
            batches(split, PLAIN.model_copy(update={"edit": "raw"}), 0)
    with pytest.raises(DataError, match="its URL is not understood"):
        open_split("gopher://lake", "v1", "train")


def test_a_file_is_read_in_part_and_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with served(tmp_path.parent) as (options, _):
        for store in (Store(str(tmp_path)), Store(f"s3://{tmp_path.name}?{options}")):
            assert store.read("file", 3, 4) == b"3456"
            assert store.read("file", 8, 4) == b"89"
            assert store.whole("file") == b"0123456789"
            assert store.names(".") == ["file"] or store.local is None
            with pytest.raises(OSError):
                store.read("missing", 0, 1)
