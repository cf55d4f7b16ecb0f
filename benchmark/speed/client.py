"""What asking a VLM costs: our client beside a bare one, against a server that answers after a fixed time.

The server is a process of its own on the other core. The ideal rate is what is in flight divided by that time. The bare
client sends bodies made beforehand and reads no answer: what is left between the two is ours.

python -m benchmark.speed.client --help
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import cv2
import typer
from rich.console import Console
from rich.table import Table

from schemas.answers import PairAnswer
from schemas.ids import stream
from schemas.settings import Vlm
from tasks.engines.chat import Picture, ask, picture
from tasks.engines.endpoints import all_answers
from tasks.lake import create_lake
from tasks.requests import Requests

PHOTOS, SIDE, NOISE = 64, 512, 5.0
IN_FLIGHT = [64, 256]
ANSWER = {"differences": "none", "same_product": 9, "style": 8, "viewpoint": 7, "addresses_you": False}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    in_flight: Annotated[list[int], typer.Option(help="Requests at once; may be given several times.")] = IN_FLIGHT,
    rounds: Annotated[int, typer.Option(min=1, help="As many requests as in flight, so many times.")] = 20,
    delay: Annotated[float, typer.Option(help="Seconds after which the server answers.")] = 0.2,
    serve: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure rate and processor time of the client; pictures of 512 px, two a request, replies kept in a lake."""
    if serve:
        _serve(delay)
        return
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmark.speed.client", "--serve", "--delay", str(delay)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        table = Table(title=f"A server that answers after {delay:g} s", title_justify="left")
        for column in ("in flight", "client", "requests", "a second", "of the ideal rate", "ms of processor a request"):
            table.add_column(column, justify="right")
        for wanted in in_flight:
            for name, client in (("bare", _bare), ("ours", _ours)):
                seconds, used = client(url, wanted, wanted * rounds)
                rate = wanted * rounds / seconds
                table.add_row(
                    str(wanted), name, str(wanted * rounds), f"{rate:.0f}", f"{rate * delay / wanted:.3f}",
                    f"{1000 * used / (wanted * rounds):.2f}",
                )  # fmt: skip
        Console(width=120).print(table)
    finally:
        server.kill()
        server.wait()


def _ours(url: str, in_flight: int, requests: int) -> tuple[float, float]:
    """Ask as the writer does: endpoints, schema, retries, request ledger. Returns seconds of clock and processor."""
    pictures = [_picture(number) for number in range(PHOTOS)]
    vlm = Vlm(endpoints=(url,), in_flight=in_flight)
    with tempfile.TemporaryDirectory() as folder:
        memory = Requests(create_lake(Path(folder) / "lake"))

        def asked(number: int) -> Coroutine[Any, Any, PairAnswer]:
            sides = (pictures[number % PHOTOS], pictures[number * 7 % PHOTOS])
            return ask(vlm, ["Compare.", *sides], PairAnswer, item_id=str(number % 64), seed=number, memory=memory)

        all_answers([asked(-1 - number) for number in range(in_flight)])  # makes the connections
        return _timed(lambda: all_answers([asked(number) for number in range(requests)]))


def _bare(url: str, in_flight: int, requests: int) -> tuple[float, float]:
    body = json.dumps({"messages": [{"content": "A" * 2 * len(_picture(0).base64)}]}).encode()

    async def run(count: int, session: aiohttp.ClientSession) -> None:
        slots = asyncio.Semaphore(in_flight)

        async def one() -> None:
            async with slots, session.post(f"{url}/chat/completions", data=body) as reply:
                await reply.read()

        await asyncio.gather(*[one() for _ in range(count)])

    async def measured() -> tuple[float, float]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await run(in_flight, session)
            start, used = time.perf_counter(), _processor()
            await run(requests, session)
            return time.perf_counter() - start, _processor() - used

    return asyncio.run(measured())


def _picture(number: int) -> Picture:
    """Return soft noise as it is sent; of 512 px it takes about 110 kB, as real photos of that size do."""
    random = stream(0, number)
    coarse = cv2.resize(random.integers(0, 256, (12, 12, 3)).astype("float32"), (SIDE, SIDE))
    return picture((coarse + random.normal(0, NOISE, (SIDE, SIDE, 3))).clip(0, 255).astype("uint8"), SIDE)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    start, used = time.perf_counter(), _processor()
    work()
    return time.perf_counter() - start, _processor() - used


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _serve(delay: float) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": json.dumps(ANSWER)}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 60, "total_tokens": 1060}
    reply = json.dumps({"choices": [choice], "usage": usage}).encode()

    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply) + reply

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Slow(answer, delay), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


class Slow(asyncio.Protocol):
    """One connection of the server: it counts what comes and answers late, and does nothing else that takes time."""

    def __init__(self, answer: bytes, delay: float) -> None:
        self.answer, self.delay = answer, delay
        self.head, self.left = b"", 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Read a head for the body's length, then count the body."""
        if not self.left:
            self.head += data
            head, end, data = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.head = b""
            self.left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        self.left -= len(data)
        if not self.left:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, self.answer)


if __name__ == "__main__":
    app()
