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
import typer
from aiohttp import web
from rich.console import Console
from rich.table import Table

from schemas.answers import PairAnswer
from schemas.ids import stream
from schemas.settings import Vlm
from tasks.engines.chat import ask, picture
from tasks.engines.endpoints import all_answers
from tasks.lake import create_lake
from tasks.requests import Requests

PHOTOS, SIDE = 64, 512
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
    pictures = [
        picture(stream(0, number).integers(0, 256, (SIDE, SIDE, 3)).astype("uint8") // 4 + 90, SIDE)
        for number in range(PHOTOS)
    ]
    vlm = Vlm(endpoints=(url,), in_flight=in_flight)
    with tempfile.TemporaryDirectory() as folder:
        memory = Requests(create_lake(Path(folder) / "lake"))

        def asked(number: int) -> Coroutine[Any, Any, PairAnswer]:
            sides = (pictures[number % PHOTOS], pictures[number * 7 % PHOTOS])
            return ask(vlm, ["Compare.", *sides], PairAnswer, item_id=str(number % 64), seed=number, memory=memory)

        all_answers([asked(-1 - number) for number in range(in_flight)])  # makes the connections
        return _timed(lambda: all_answers([asked(number) for number in range(requests)]))


def _bare(url: str, in_flight: int, requests: int) -> tuple[float, float]:
    size = len(picture(stream(0, 0).integers(0, 256, (SIDE, SIDE, 3)).astype("uint8") // 4 + 90, SIDE).base64)
    body = json.dumps({"messages": [{"content": "A" * 2 * size}]}).encode()

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

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(delay)
        return web.Response(body=reply, content_type="application/json")

    async def run() -> None:
        application = web.Application(client_max_size=2**28)
        application.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    app()
