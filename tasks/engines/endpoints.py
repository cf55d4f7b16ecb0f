"""Servers that answer alike: the least loaded is asked, a dead one is left out and tried again later.

All workers of a process share one event loop and one count of what is in flight at each endpoint, whoever asks.
"""

import asyncio
import atexit
import json
import os
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import aiohttp

from schemas.errors import ProjectError
from schemas.records import EngineFailure, Refusal
from schemas.settings import Servers

Answer = TypeVar("Answer")

SHORTEST, LONGEST = 0.25, 30.0  # seconds of back-off: twice as long each time, then drawn from the upper half
BUSY = 429
MOST_BYTES = 64 * 2**20  # of a reply

Body = Callable[[], bytes | aiohttp.FormData]  # made for each attempt, when its place is free: JSON, or a form


@dataclass
class Endpoint:
    """One server: what is in flight there, how often it failed in a row, and until when it is left alone."""

    url: str
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0  # by the loop's clock

    def limit(self, most: int) -> int:
        """Return how many requests it may have at once: one, until it has shown that it lives again."""
        return most if self.failures == 0 else 1


@dataclass(frozen=True)
class Reply:
    """What a server answered with 200, and how many times it or another was asked before it did."""

    data: bytes
    retries: int


@dataclass
class Pool:
    """The process's event loop, in a thread of its own, and every endpoint that was asked so far."""

    loop: asyncio.AbstractEventLoop
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    waiting: dict[tuple[str, ...], dict[asyncio.Future[None], None]] = field(default_factory=dict)  # in turn
    session: aiohttp.ClientSession | None = None

    def of(self, servers: Servers) -> list[Endpoint]:
        """Return a setting's endpoints, shared with other settings that name them."""
        return [self.endpoints.setdefault(url, Endpoint(url)) for url in servers.endpoints]

    async def a_place(self, urls: tuple[str, ...], seconds: float) -> None:
        """Wait until a place at one of these endpoints may be free, in turn, or for so many seconds."""
        waiting, told = self.waiting.setdefault(urls, {}), self.loop.create_future()
        waiting[told] = None
        timer = self.loop.call_later(seconds, _tell, told)
        try:
            await told
        finally:
            timer.cancel()
            waiting.pop(told, None)

    def freed(self, url: str, *, all_of_it: bool) -> None:
        """Tell the first who waits for an endpoint that a place is free there, or tell everybody."""
        for urls, waiting in self.waiting.items():
            if url in urls:
                for told in list(waiting) if all_of_it else list(islice(waiting, 1)):
                    _tell(told)
                    del waiting[told]


def _tell(told: asyncio.Future[None]) -> None:
    """Let somebody go on who waits."""
    if not told.done():
        told.set_result(None)


# workers that ask first at once would each start a loop, and wait on one another's
_STARTING = threading.Lock()


def pool() -> Pool:
    """Return the process's one pool, its loop running."""
    with _STARTING:
        return _started()


@cache
def _started() -> Pool:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="endpoints", daemon=True).start()
    shared = Pool(loop)
    atexit.register(_end, shared)
    return shared


def _end(shared: Pool) -> None:
    if shared.session is not None:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(shared.session.close(), shared.loop).result(timeout=1)


def all_answers(questions: Sequence[Coroutine[Any, Any, Answer]]) -> "list[Answer | Refusal | EngineFailure]":
    """Carry out coroutines on the pool's loop, all at once; what one raises becomes its outcome, in their order.

    Trouble with the lake is nobody's outcome: it is raised, once all are done.
    """

    async def outcome(question: Coroutine[Any, Any, Answer]) -> "Answer | Refusal | EngineFailure":
        try:
            return await question
        except (Refusal, EngineFailure) as outcome:
            return outcome
        except ProjectError:
            raise
        except Exception as error:  # an engine's bug or a broken dependency must not lose the batch
            return EngineFailure(f"{type(error).__name__}: {error}")

    async def gathered() -> "list[Answer | Refusal | EngineFailure]":
        found = await asyncio.gather(*map(outcome, questions), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, Refusal | EngineFailure):
                raise one
        return found  # type: ignore[return-value]

    return asyncio.run_coroutine_threadsafe(gathered(), pool().loop).result()


async def post(servers: Servers, path: str, body: Body, most_bytes: int = MOST_BYTES) -> Reply:
    """POST to the least loaded of the servers until one answers with 200.

    A server that cannot be reached costs no attempt: others are asked, and when none can be reached, that is waited out
    for `servers.patience` seconds. 429, 5xx, a cut connection and a timeout cost one of `servers.attempts`, with
    back-off.

    Raises EngineFailure where nothing helped, or where a server says that the request itself is wrong.
    """
    clock = asyncio.get_running_loop().time
    trouble, turned_away = "", 0
    lost_since: float | None = None  # since when nobody could be reached, as far as this request saw
    retries = -1
    while turned_away < servers.attempts:
        retries += 1
        endpoint = await _free_endpoint(servers, (lost_since or clock()) + servers.patience, trouble)
        try:
            status, data, wait = await _attempt(servers, endpoint, path, body, most_bytes)
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError) as error:
            trouble = f"{endpoint.url} cannot be reached ({error.os_error.strerror or error})"
            lost_since = lost_since or clock()
            _release(endpoint, failed=True)
            continue
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            trouble = (
                f"{endpoint.url}: {'no answer in time' if isinstance(error, TimeoutError) else error or 'cut off'}"
            )
            turned_away += 1
            _release(endpoint, failed=True)
            lost_since = None
            continue
        except BaseException:
            _release(endpoint)
            raise
        lost_since = None
        if status == 200:
            _release(endpoint)
            return Reply(data, retries)
        key = key_of(servers)
        message = _message(data).replace(key, "(the key)") if key else _message(data)
        said = f"{endpoint.url}: {status} {message}".strip()
        if status != BUSY and status < 500:
            _release(endpoint)
            raise EngineFailure(f"{said}; the request is wrong for this server: mend the settings")
        # busy or broken: this request stands back; a broken server is left alone as well
        trouble = said
        turned_away += 1
        pause = wait if wait is not None else _back_off(turned_away - 1)
        _release(endpoint, failed=status != BUSY)
        await asyncio.sleep(pause)
    raise EngineFailure(f"{trouble}, {servers.attempts} times; look at the server, then run the same command again")


def key_of(servers: Servers) -> str:
    """Return the key that these servers ask for, from the environment; empty where there is none."""
    return os.environ.get(servers.key_from, "") if servers.key_from else ""


def authorization(servers: Servers) -> dict[str, str]:
    """Return what a request to these servers bears beside its body."""
    key = key_of(servers)
    return {"authorization": f"Bearer {key}"} if key else {}


async def _attempt(
    servers: Servers, endpoint: Endpoint, path: str, body: Body, most_bytes: int
) -> tuple[int, bytes, float | None]:
    """Return status, body (cut soon after `most_bytes`) and the seconds to wait that the server asks for."""
    data = body()
    headers = authorization(servers) | ({"content-type": "application/json"} if isinstance(data, bytes) else {})
    timeout = aiohttp.ClientTimeout(total=servers.timeout)
    session = await _session()
    async with session.post(
        f"{endpoint.url.rstrip('/')}/{path}", data=data, headers=headers, timeout=timeout, allow_redirects=False
    ) as reply:
        received = bytearray()
        async for part in reply.content.iter_chunked(2**16):
            received += part
            if len(received) > most_bytes:  # what is left unread would be no answer either
                break
        wait = reply.headers.get("retry-after", "")
        return reply.status, bytes(received), min(float(wait), LONGEST) if wait.isdigit() else None


async def _session() -> aiohttp.ClientSession:
    shared = pool()
    if shared.session is None:
        # without a limit of its own, since the endpoints' hold; idle connections end before a server ends them
        shared.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2))
    return shared.session


async def _free_endpoint(servers: Servers, until: float, trouble: str) -> Endpoint:
    """Take a place at the least loaded endpoint that lives, as soon as there is one.

    Raises EngineFailure where all of them are still dead at `until`.
    """
    shared = pool()
    endpoints = shared.of(servers)
    while True:
        now = shared.loop.time()
        free = [one for one in endpoints if one.rests_until <= now and one.in_flight < one.limit(servers.in_flight)]
        if free:
            chosen = min(free, key=lambda one: one.in_flight)
            chosen.in_flight += 1
            return chosen
        dead = all(one.failures for one in endpoints)
        if dead and trouble and now >= until:
            raise EngineFailure(f"{trouble}; start it, or mend the setting 'endpoints'")
        back = min((one.rests_until for one in endpoints if one.rests_until > now), default=now + LONGEST)
        await shared.a_place(servers.endpoints, max(0.01, min(back, until if dead else back) - now))


def _release(endpoint: Endpoint, *, failed: bool = False) -> None:
    """Give a place back, and let an endpoint that failed rest: longer each time, once for all that failed together."""
    shared = pool()
    endpoint.in_flight -= 1
    now = shared.loop.time()
    back = endpoint.failures > 0 and not failed  # alive again: it has room for more than the one who found out
    if not failed:
        endpoint.failures, endpoint.rests_until = 0, now
    elif now >= endpoint.rests_until:
        endpoint.rests_until = now + _back_off(endpoint.failures)
        endpoint.failures += 1
    shared.freed(endpoint.url, all_of_it=back)


def _back_off(times: int) -> float:
    """Return the seconds to wait after the `times`-th failure in a row, spread so that not all come back at once."""
    return min(LONGEST, SHORTEST * 2.0 ** min(times, 16)) * random.uniform(0.5, 1.0)


def _message(data: bytes) -> str:
    """Return what an error's body says, in one short line."""
    try:
        told = json.loads(data)
        inner = told.get("error", told) if isinstance(told, dict) else told
        text = inner.get("message", "") if isinstance(inner, dict) else str(inner)
    except ValueError:
        text = data.decode(errors="replace")
    return " ".join(str(text).split())[:300]
