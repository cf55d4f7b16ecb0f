"""What stages side by side save: a whole build on two slow servers, beside the slower of them alone.

Both servers are one process that answers after fixed times: a vision-language model, which pairs, writes and words, and
an editing model. Alone, the editing model is sent as many photos as the build had edited, by a client that does nothing
else. What a build takes beyond that is what the other stages and we add.

python -m benchmark.speed.overlap --help
"""

import asyncio
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import cv2
import numpy as np
import typer
from aiohttp import web
from rich.console import Console
from rich.table import Table

from benchmark.speed.orchestration import make_photos

CORNERS = ((100, 100), (400, 400), (700, 100))  # thousandths, about: of one edit's box each
PAIR = {"differences": "none", "same_product": 9, "style": 8, "viewpoint": 7, "addresses_you": False}
RESTORE = {"sentence": "Set the part right after the reference."}
JOBS = ("PairAnswer", "EditsAnswer", "RestoreAnswer")
ALONE = "edits alone"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    quadruplets: Annotated[int, typer.Option(min=84, help="How many, about.")] = 2000,
    size: Annotated[int, typer.Option(help="Pixels of a side.")] = 512,
    chat: Annotated[float, typer.Option(help="Seconds after which the vision-language model answers.")] = 2.0,
    edit: Annotated[float, typer.Option(help="Seconds after which the editing model does.")] = 2.0,
    asked: Annotated[int, typer.Option(min=1, help="Questions in flight.")] = 64,
    edited: Annotated[int, typer.Option(min=1, help="Edits in flight.")] = 8,
    both: Annotated[bool, typer.Option("--both", help="Build stage by stage as well.")] = False,
    serve: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure a build whose stages overlap, and the edits alone, in one run."""
    if serve:
        asyncio.run(_serve(chat, edit))
        return
    command = [sys.executable, "-m", "benchmark.speed.overlap", "--serve", "--chat", str(chat), "--edit", str(edit)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make_photos(root / "photos", products=max(1, round(quadruplets / 84)), size=size)
            seconds = {}
            for overlap in (True, False) if both else (True,):
                title = "side by side" if overlap else "stage by stage"
                seconds[title], edits = build(root / "photos", root / title, url, size, asked, edited, overlap=overlap)
        seconds[ALONE] = asyncio.run(edits_alone(url, edits, edited, size))
        show(seconds, edits)
    finally:
        server.kill()
        server.wait()


def build(
    photos: Path, lake: Path, url: str, size: int, asked: int, edited: int, *, overlap: bool
) -> tuple[float, int]:
    """Build in a process of its own; return the command's seconds, start and end among them, and its edits."""
    settings = [
        f"intake.size={size}", "intake.min_side=64", "pair.siblings=8", "writer.engine=vllm", "edit.engine=images-api",
        f'writer.vlm.endpoints=["{url}"]', f"writer.vlm.in_flight={asked}", "writer.vlm.image_side=512",
        f'edit.images_api.endpoints=["{url}"]', f"edit.images_api.in_flight={edited}",
        f"run.overlap={str(overlap).lower()}", "run.workers=4", "run.chunk_seconds=8",
    ]  # fmt: skip
    command = [sys.executable, "-m", "flows.cli", "build", str(photos), "--lake", str(lake), "--json"]
    start = time.perf_counter()
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, int(json.loads(done.stdout)["funnel"]["edits"])


async def edits_alone(url: str, edits: int, in_flight: int, size: int) -> float:
    """Have as many photos edited as fast as the server takes them; return the seconds."""
    png = _png(np.full((size, size, 3), 128, np.uint8))
    slots = asyncio.Semaphore(in_flight)

    async with aiohttp.ClientSession() as session:

        async def one() -> None:
            form = aiohttp.FormData()
            form.add_field("image", png, filename="target.png")
            async with slots, session.post(f"{url}/images/edits", data=form) as reply:
                await reply.read()

        start = time.perf_counter()
        await asyncio.gather(*[one() for _ in range(edits)])
        return time.perf_counter() - start


def show(seconds: dict[str, float], edits: int) -> None:
    """Print what was found."""
    table = Table(title=f"{edits} edits", title_justify="left")
    for column in ("", "seconds", "of the edits alone"):
        table.add_column(column, justify="right" if column else "left")
    for title, taken in seconds.items():
        table.add_row(title, f"{taken:.1f}", f"{taken / seconds[ALONE]:.3f}")
    Console(width=120).print(table)


async def _serve(chat: float, edit: float) -> None:
    def said(name: str, body: bytes) -> dict[str, Any]:
        match name:
            case "PairAnswer":
                return PAIR
            case "EditsAnswer":  # other boxes for each pair, so that no two ask for the same edit
                off = hashlib.sha256(body).digest()
                boxes = [(x + off[0] % 100, y + off[1] % 100) for x, y in CORNERS]
                return {"edits": [_edit(*box, off[2]) for box in boxes]}
            case _:
                return RESTORE

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        (name,) = [name for name in JOBS if f'"{name}"'.encode() in body[:4096]]
        await asyncio.sleep(chat)
        choice = {"message": {"content": json.dumps(said(name, body))}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1000, "completion_tokens": 60}})

    async def paint(request: web.Request) -> web.Response:
        form: Any = await request.post()
        painted = await asyncio.to_thread(_painted, form["image"].file.read(), str(form.get("prompt", "")))
        await asyncio.sleep(edit)
        return web.json_response({"data": [{"b64_json": base64.b64encode(painted).decode()}]})

    application = web.Application(client_max_size=2**28)
    application.router.add_post("/v1/chat/completions", answer)
    application.router.add_post("/v1/images/edits", paint)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _edit(left: int, top: int, more: int) -> dict[str, Any]:
    box = [left, top, left + 150 + more % 50, top + 150 + more // 8]
    return {
        "subject": "the part", "box": box, "visible_in_reference": True, "category": "object detail",
        "operation": "smear", "text_before": None, "text_after": None,
        "sentence": f"Smear the part at {' '.join(map(str, box))}.",
    }  # fmt: skip


def _painted(png: bytes, prompt: str) -> bytes:
    """Return a photo with the box that the prompt names inverted."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    height, width = pixels.shape[:2]
    left, top, right, bottom = (
        (int(number) for number in re.findall(r"\d+", prompt)) if prompt else (100, 100, 300, 300)
    )
    inside = np.s_[height * top // 1000 : height * bottom // 1000, width * left // 1000 : width * right // 1000]
    pixels[inside] = 255 - pixels[inside]
    return _png(np.asarray(pixels, np.uint8))


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


if __name__ == "__main__":
    app()
