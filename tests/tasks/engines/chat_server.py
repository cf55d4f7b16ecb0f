"""A small server of the chat protocol for tests: it answers by the schema's name, and misbehaves as it is told to."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from schemas.records import Pixels
from tasks.engines.chat import Usage

GOOD: dict[str, dict[str, Any]] = {
    "PairAnswer": {
        "differences": "None that can be seen.",
        "same_product": 9,
        "style": 8,
        "viewpoint": 7,
        "addresses_you": False,
    },
    "EditsAnswer": {
        "edits": [
            {
                "subject": "the word on the label",
                "box": [300, 300, 600, 500],
                "visible_in_reference": True,
                "category": "text",
                "operation": "smear",
                "text_before": "NOVA",
                "text_after": None,
                "sentence": "Melt the letters of the word on the label together.",
            }
        ]
    },
    "RestoreAnswer": {"sentence": "Set the print on the label right after the reference."},
    "JudgeAnswer": {
        "reason": "All as it should be.",
        "edit_done": 9,
        "nothing_else": 9,
        "reference_shows": 8,
        "right_thing": 9,
        "right_place": 9,
        "nothing_told": 8,
    },
}


def said(content: str | None, finish_reason: str = "stop") -> web.Response:
    """Return a reply of the chat protocol with this content."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def well(asked: dict[str, Any]) -> web.Response:
    """Return a good answer to a request."""
    return said(json.dumps(GOOD[asked["response_format"]["json_schema"]["name"]]))


Behaviour = Callable[[dict[str, Any], int], Any]  # (request, how many came before) -> response, or an awaitable of one


class Nothing:
    """A memory that starts empty."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.pictures: dict[str, Pixels] = {}
        self.usage: dict[str, Usage] = {}

    def recall(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def keep(self, key: str, reply: bytes) -> None:
        self.kept[key] = reply

    def recall_picture(self, key: str) -> Pixels | None:
        return self.pictures.get(key)

    def keep_picture(self, key: str, pixels: Pixels) -> None:
        self.pictures[key] = pixels

    def spent(self, item_id: str, usage: Usage) -> None:
        self.usage[item_id] = self.usage.get(item_id, Usage()).plus(usage)


@dataclass
class Server:
    """A running server: its address, what it was asked, and how it behaves, which may be changed at any time."""

    behave: Behaviour = lambda asked, _before: well(asked)
    delay: float = 0.0
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def jobs(self) -> Counter[str]:
        """Return how many requests of each kind came."""
        return Counter(request["response_format"]["json_schema"]["name"] for request in self.asked)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        before = len(self.asked)
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = self.behave(asked, before)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer is None:  # cut the connection
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            assert isinstance(answer, web.StreamResponse)
            return answer
        finally:
            self.at_once -= 1


@contextmanager
def serving(server: Server, port: int = 0) -> Iterator[Server]:
    """Run a server on a port of its own until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    app = web.Application(client_max_size=2**28)
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        return int(runner.addresses[0][1])

    found = asyncio.run_coroutine_threadsafe(start(), loop).result()
    server.url = f"http://127.0.0.1:{found}/v1"
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
