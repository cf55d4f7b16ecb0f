"""The client against a real server on this machine, which answers as it is told to."""

import asyncio
import base64
import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from schemas.ids import stream
from schemas.records import Category, EditInstruction, EngineFailure, Operation, Photo, Pixels, Refusal
from schemas.settings import Edit, ImagesApi, Settings
from tasks.engines.chat import Usage
from tasks.engines.editor import EditRequest
from tasks.engines.images_api import ImagesApiEditor
from tasks.engines.load import editor_identity, load_editor
from tests.tasks.engines.chat_server import Nothing

Form = dict[str, str | bytes]


def photo(seed: int) -> Pixels:
    return stream(seed, "photo").integers(0, 256, (64, 96, 3), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def negative(form: Form) -> bytes:
    """Answer with the negative of what was sent."""
    assert isinstance(form["image"], bytes)
    with Image.open(io.BytesIO(form["image"])) as image:
        return png(255 - np.asarray(image))


@dataclass
class Server:
    """A server of the images API; `broken` lists the statuses that it answers with first."""

    answer: Callable[[Form], bytes] = negative
    broken: list[int] = field(default_factory=list)
    empty: bool = False
    forms: list[Form] = field(default_factory=list)
    url: str = ""

    async def edits(self, request: web.Request) -> web.Response:
        form: Form = {}
        async for part in await request.multipart():
            form[part.name or ""] = bytes(await part.read()) if part.filename else await part.text()  # type: ignore[union-attr]
        self.forms.append(form)
        if self.broken:
            return web.json_response({"error": {"message": "out of order"}}, status=self.broken.pop(0))
        coded = base64.b64encode(self.answer(form)).decode()
        return web.json_response({"created": 0, "data": [] if self.empty else [{"b64_json": coded}]})


@pytest.fixture
def server() -> Iterator[Server]:
    serving, loop = Server(), asyncio.new_event_loop()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/images/edits", serving.edits)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        serving.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield serving
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def request(edit_id: str, pixels: Pixels) -> EditRequest:
    instruction = EditInstruction(
        task=Operation.SMEAR.task, category=Category.PATTERN, operation=Operation.SMEAR, sentence="Smear the pattern.",
        region=((0.2, 0.2), (0.8, 0.2), (0.8, 0.8)), subject="the pattern", place="in the middle",
    )  # fmt: skip
    return EditRequest(edit_id, Photo("t", pixels), instruction, strength=0.5, seed=0)


def editor(server: Server, **options: Any) -> ImagesApiEditor:
    return ImagesApiEditor(ImagesApi(endpoints=(server.url,), attempts=2, **options), Nothing())


def test_each_photo_is_sent_with_its_sentence_and_comes_back_edited_in_order(server: Server) -> None:
    asked = [request(str(number), photo(number)) for number in range(6)]
    answers = editor(server).edit(asked)
    for answer, one in zip(answers, asked, strict=True):
        assert isinstance(answer, np.ndarray)
        assert np.array_equal(answer, 255 - one.target.pixels)
    form = server.forms[0]
    assert {name: form[name] for name in form if name not in ("image", "seed")} == {
        "model": "Qwen/Qwen-Image-Edit-2511", "prompt": "Smear the pattern.", "size": "96x64", "n": "1",
        "response_format": "b64_json", "num_inference_steps": "40", "true_cfg_scale": "4.0", "negative_prompt": " ",
    }  # fmt: skip
    assert len({form["seed"] for form in server.forms}) == 6


def test_the_same_edit_has_the_same_seed(server: Server) -> None:
    for _ in range(2):
        editor(server).edit([request("a", photo(1))])
    assert server.forms[0]["seed"] == server.forms[1]["seed"]


def test_an_edit_that_was_answered_is_not_asked_for_again(server: Server) -> None:
    asking = editor(server)
    asked = [request(edit_id, photo(1)) for edit_id in "ab"]
    first, again = asking.edit(asked[:1]), asking.edit(asked)
    assert np.array_equal(first[0], again[0])  # type: ignore[arg-type]
    assert len(server.forms) == 2  # one each
    assert asking.memory.usage == {"a": Usage(1), "b": Usage(1)}  # type: ignore[attr-defined]
    asking.edit([request("a", photo(2))])  # another photo, another question
    assert len(server.forms) == 3


def test_other_models_are_told_their_own_guidance(server: Server) -> None:
    editor(server, model="black-forest-labs/FLUX.1-Kontext-dev", guidance=2.5).edit([request("a", photo(1))])
    assert server.forms[0]["guidance_scale"] == "2.5"
    assert "true_cfg_scale" not in server.forms[0]


def test_a_server_that_stumbles_is_asked_again(server: Server) -> None:
    server.broken = [500]
    (answer,) = editor(server).edit([request("a", photo(1))])
    assert isinstance(answer, np.ndarray)
    assert len(server.forms) == 2


def test_one_that_stays_down_is_a_failure_of_that_edit(server: Server) -> None:
    server.broken = [500, 500]
    failure, answer = (editor(server).edit([request(edit_id, photo(1))])[0] for edit_id in "ab")
    assert isinstance(failure, EngineFailure)
    assert "out of order" in str(failure)
    assert isinstance(answer, np.ndarray)


def test_an_image_in_another_size_is_returned_as_it_is(server: Server) -> None:
    server.answer = lambda _form: png(np.zeros((32, 32, 3), np.uint8))
    (answer,) = editor(server).edit([request("a", photo(1))])
    assert isinstance(answer, np.ndarray)
    assert answer.shape == (32, 32, 3)


def huge() -> bytes:
    """A PNG of a few bytes that declares 60,000 x 60,000 px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (png(photo(1))[:200], "answered with no image"),
        (b"no picture at all", "answered with no image"),
        (huge(), "60000 x 60000 px"),
    ],
)
def test_what_is_no_image_is_asked_for_again_and_then_refused(server: Server, answer: bytes, says: str) -> None:
    server.answer = lambda _form: answer
    (refusal,) = editor(server).edit([request("a", photo(1))])
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "broken-answer"
    assert says in refusal.detail
    assert "b64_json" in refusal.evidence["answer"]
    assert len({form["seed"] for form in server.forms}) == len(server.forms) == 3


def test_an_answer_without_an_image_is_refused(server: Server) -> None:
    server.empty = True
    (refusal,) = editor(server).edit([request("a", photo(1))])
    assert isinstance(refusal, Refusal)
    assert "answered with no image" in refusal.detail


def test_one_broken_image_costs_one_more_request_and_is_counted(server: Server) -> None:
    server.answer = lambda _form: png(photo(1)) if len(server.forms) > 1 else b"no picture"
    memory = Nothing()
    (answer,) = ImagesApiEditor(ImagesApi(endpoints=(server.url,)), memory).edit([request("a", photo(1))])
    assert isinstance(answer, np.ndarray)
    assert memory.usage == {"a": Usage(requests=2, retries=1)}


def test_the_settings_name_it_and_where_it_is_served_decides_no_answer() -> None:
    here, there = (Settings(edit=Edit(engine="images-api", images_api=ImagesApi(endpoints=(url,))))
                   for url in ("http://a/v1", "http://b/v1"))  # fmt: skip
    assert isinstance(load_editor(here, Nothing()), ImagesApiEditor)
    assert editor_identity(here) == editor_identity(there)
    assert editor_identity(here)["model"] == "Qwen/Qwen-Image-Edit-2511"
