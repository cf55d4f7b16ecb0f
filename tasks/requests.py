"""The request ledger: what servers answered, by the digest of what they were asked, so that nothing is paid for twice.

A reply is written when it comes, not with its item: a build that is killed asks none of it again. It is one write to
one file and not synced to the disk: what a power cut tears is asked once more.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass, field

from tasks.engines.chat import Usage
from tasks.lake import Lake, told
from tasks.ledger import Row


@dataclass(frozen=True)
class Requests:
    """The lake's replies, and what the items of one chunk cost."""

    lake: Lake
    usage: dict[str, Usage] = field(default_factory=lambda: defaultdict(Usage))

    def recall(self, key: str) -> bytes | None:
        """Return the reply to a request, if it was given before."""
        try:
            reply = self.lake.request(key).read_bytes()
        except FileNotFoundError:
            return None
        return reply if reply.endswith(b"}") else None

    def keep(self, key: str, reply: bytes) -> None:
        """Keep the reply to a request."""
        path = self.lake.request(key)
        with told(self.lake):
            try:
                path.write_bytes(reply.strip())
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(reply.strip())

    def spent(self, item_id: str, usage: Usage) -> None:
        """Count what an item cost."""
        self.usage[item_id] = self.usage[item_id].plus(usage)

    def columns(self, item_id: str) -> Row:
        """Return what an item cost as columns of its row; nothing where no server was asked."""
        return asdict(self.usage[item_id]) if item_id in self.usage else {}
