"""The request ledger: what servers answered, by the digest of what they were asked, so that nothing is paid for twice.

A reply is written when it comes, not with its item: a build that is killed asks none of it again. It is the one part of
the lake that is a database, since thousands of small replies may come a second; a power cut may cost the last of them,
and losing all of it costs nothing but the asking.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from threading import Lock

from schemas.errors import LakeError
from schemas.records import Pixels
from tasks.codecs import encode_webp, load_photo
from tasks.engines.chat import Usage
from tasks.lake import Lake
from tasks.ledger import Row

BUSY = 60.0  # seconds that one process waits for another's write


@dataclass(frozen=True)
class Requests:
    """The lake's replies, and what the items of one chunk cost."""

    lake: Lake
    usage: dict[str, Usage] = field(default_factory=lambda: defaultdict(Usage))

    def recall(self, key: str) -> bytes | None:
        """Return the reply to a request, if it was given before."""
        with _opened(self.lake) as database:
            found = database.execute("SELECT reply FROM requests WHERE key = ?", [key]).fetchone()
        return None if found is None else bytes(found[0])

    def keep(self, key: str, reply: bytes) -> None:
        """Keep the reply to a request."""
        with _opened(self.lake) as database:
            database.execute("INSERT OR IGNORE INTO requests VALUES (?, ?)", [key, reply.strip()])

    def recall_picture(self, key: str) -> Pixels | None:
        """Return the picture (H, W, 3) uint8 that answered a request, if it is still there: `gc` may have taken it.

        Raises ArtifactError where it is damaged.
        """
        name = self.recall(key)
        if name is None or not self.lake.artifact(name.decode(), "webp").exists():
            return None
        return load_photo(self.lake, name.decode())

    def keep_picture(self, key: str, pixels: Pixels) -> None:
        """Keep the picture (H, W, 3) uint8 that answered a request: as the artifact that a raw edit is, by its name."""
        name = self.lake.put_artifact(encode_webp(pixels), "webp")
        with _opened(self.lake) as database:
            database.execute("INSERT OR REPLACE INTO requests VALUES (?, ?)", [key, name.encode()])

    def spent(self, item_id: str, usage: Usage) -> None:
        """Count what an item cost."""
        self.usage[item_id] = self.usage[item_id].plus(usage)

    def columns(self, item_id: str) -> Row:
        """Return what an item cost as columns of its row; nothing where no server was asked."""
        return asdict(self.usage[item_id]) if item_id in self.usage else {}


_LOCK = Lock()  # one connection for all threads: nearly all of its use is the one event loop's


@contextmanager
def _opened(lake: Lake) -> Iterator[sqlite3.Connection]:
    try:
        with _LOCK:
            yield _connection(lake)
    except sqlite3.Error as error:
        raise LakeError(
            f"lake {lake.root}: {lake.requests.name}: {error}; mend that and run the same command again; a damaged one "
            "may be deleted: what it held is then asked and paid for again"
        ) from None


@cache
def _connection(lake: Lake) -> sqlite3.Connection:
    database = sqlite3.connect(lake.requests, timeout=BUSY, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # synced now and then, and never torn
    database.execute("CREATE TABLE IF NOT EXISTS requests (key TEXT PRIMARY KEY, reply BLOB) WITHOUT ROWID")
    return database
