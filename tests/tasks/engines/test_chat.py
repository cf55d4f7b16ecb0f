import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from schemas.answers import PairAnswer
from schemas.records import EngineFailure, Refusal
from schemas.settings import Vlm
from tasks.engines.chat import Usage, ask, picture
from tasks.engines.endpoints import all_answers
from tests.tasks.engines.chat_server import GOOD, Nothing, Server, said, serving, well

PICTURE = picture(np.full((40, 60, 3), 90, np.uint8), 64)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def asked(
    *servers: Server, items: int = 1, memory: Nothing | None = None, **settings: Any
) -> list[PairAnswer | Refusal | EngineFailure]:
    """Ask the servers one question an item, all at once."""
    urls = tuple(one.url for one in servers)
    vlm = Vlm(**{"endpoints": urls, "patience": 0.5, "timeout": 2.0, "tries": 3, "attempts": 4, **settings})
    memory = memory or Nothing()
    return all_answers([
        ask(vlm, [f"question {n}", PICTURE], PairAnswer, item_id=str(n), seed=n, memory=memory) for n in range(items)
    ])  # fmt: skip


def test_an_answer_is_a_record(server: Server) -> None:
    memory = Nothing()
    assert asked(server, memory=memory) == [PairAnswer(**GOOD["PairAnswer"])]
    (request,) = server.asked
    assert request["messages"][0]["content"][0] == {"type": "text", "text": "question 0"}
    assert request["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert request["response_format"]["json_schema"]["schema"]["properties"].keys() == GOOD["PairAnswer"].keys()
    assert memory.usage["0"] == Usage(requests=1, retries=0, tokens_in=100, tokens_out=20)


def test_an_identical_request_is_sent_once(server: Server) -> None:
    memory = Nothing()
    first, second = asked(server, items=5, memory=memory), asked(server, items=5, memory=memory)
    assert first == second
    assert len(server.asked) == 5
    asked(server, items=5, memory=memory, temperature=0.9)
    assert len(server.asked) == 10


GOOD_TEXT = json.dumps(GOOD["PairAnswer"])
BROKEN: dict[str, Callable[[], web.Response]] = {
    "malformed": lambda: said(GOOD_TEXT[:-3]),
    "cut short": lambda: said(GOOD_TEXT, "length"),
    "NaN": lambda: said(GOOD_TEXT.replace("9", "NaN", 1)),
    "wrong type": lambda: said(GOOD_TEXT.replace("9", '"nine"', 1)),
    "out of range": lambda: said(GOOD_TEXT.replace("9", "11", 1)),
    "no content": lambda: said(None),
    "a megabyte": lambda: said("x" * 2**20),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_asked_for_again_under_another_seed(
    broken: Callable[[], web.Response], server: Server
) -> None:
    server.behave = lambda request, before: broken() if before == 0 else well(request)
    memory = Nothing()
    assert asked(server, memory=memory) == [PairAnswer(**GOOD["PairAnswer"])]
    assert memory.usage["0"].retries == 1


@pytest.mark.parametrize("page", ['{"answer": 1}', "[1, 2]", "<html>", '{"error": {"message": "no"}}'])
def test_something_else_that_answers_is_a_failure_and_never_kept(page: str, server: Server) -> None:
    server.behave = lambda _request, _before: web.Response(text=page)
    memory = Nothing()
    (outcome,) = asked(server, memory=memory)
    assert isinstance(outcome, EngineFailure)
    assert "another protocol" in str(outcome)
    assert memory.kept == {}


def test_a_server_that_was_down_gets_as_many_requests_as_before(server: Server) -> None:
    server.behave = lambda request, before: web.Response(status=500) if before < 8 else well(request)
    server.delay = 0.05
    assert asked(server, items=40, in_flight=8, attempts=8) == [PairAnswer(**GOOD["PairAnswer"])] * 40
    server.most_at_once = 0
    server.asked.clear()
    assert asked(server, items=40, in_flight=8) == [PairAnswer(**GOOD["PairAnswer"])] * 40
    assert server.most_at_once == 8


def test_a_retry_differs_even_at_temperature_zero(server: Server) -> None:
    server.behave = lambda request, before: said("{") if before == 0 else well(request)
    asked(server, temperature=0.0)
    assert [request["temperature"] for request in server.asked] == [0.0, 0.3]


def test_an_answer_that_stays_broken_is_refused_with_what_was_said(server: Server) -> None:
    server.behave = lambda _request, _before: said("I would rather not.")
    (outcome,) = asked(server)
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "broken-answer"
    assert outcome.evidence["answer"] == "I would rather not."
    assert len({request["seed"] for request in server.asked}) == 3


@pytest.mark.parametrize("fence", ["```json\n%s\n```", "```\n%s```", "\n %s \n"])
def test_a_code_fence_is_taken_off(fence: str, server: Server) -> None:
    server.behave = lambda _request, _before: said(fence % GOOD_TEXT)
    assert asked(server) == [PairAnswer(**GOOD["PairAnswer"])]


def test_an_answer_that_breaks_its_lines_is_taken_as_one_line(server: Server) -> None:
    told = GOOD_TEXT.replace("None that", "None\n\x07 that")
    server.behave = lambda _request, _before: said(told)
    assert asked(server) == [PairAnswer(**GOOD["PairAnswer"])]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_or_broken_server_is_asked_again(status: int, server: Server) -> None:
    server.behave = lambda request, before: web.Response(status=status) if before < 2 else well(request)
    memory = Nothing()
    assert asked(server, memory=memory) == [PairAnswer(**GOOD["PairAnswer"])]
    assert memory.usage["0"] == Usage(requests=1, retries=2, tokens_in=100, tokens_out=20)


def test_a_connection_that_is_cut_is_made_again(server: Server) -> None:
    server.behave = lambda request, before: None if before == 0 else well(request)
    assert asked(server) == [PairAnswer(**GOOD["PairAnswer"])]


def test_a_server_that_hangs_is_left_in_time(server: Server) -> None:
    async def hang() -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    server.behave = lambda request, before: hang() if before == 0 else well(request)
    assert asked(server, timeout=0.3) == [PairAnswer(**GOOD["PairAnswer"])]


def test_trouble_that_lasts_is_a_failure_and_no_refusal(server: Server) -> None:
    server.behave = lambda _request, _before: web.json_response({"error": {"message": "out of memory"}}, status=500)
    (outcome,) = asked(server, attempts=2)
    assert isinstance(outcome, EngineFailure)
    assert "500 out of memory, 2 times" in str(outcome)


def test_a_request_that_a_server_calls_wrong_is_not_repeated(server: Server) -> None:
    server.behave = lambda _request, _before: web.json_response({"error": {"message": "too many images"}}, status=400)
    (outcome,) = asked(server)
    assert isinstance(outcome, EngineFailure)
    assert "too many images" in str(outcome)
    assert len(server.asked) == 1


def test_servers_that_cannot_be_reached_are_a_failure_that_names_them() -> None:
    with serving(Server()) as gone:
        pass
    (outcome,) = asked(gone)
    assert isinstance(outcome, EngineFailure)
    assert f"{gone.url} cannot be reached" in str(outcome)


def test_all_endpoints_down_for_a_while_is_waited_out() -> None:
    with serving(Server()) as first:
        pass
    port = int(first.url.removesuffix("/v1").rpartition(":")[2])
    back = Server()
    stop, started = threading.Event(), threading.Event()

    def come_back() -> None:
        stop.wait(0.7)
        with serving(back, port):
            started.set()
            stop.wait(10)

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        outcomes = asked(first, items=12, patience=8.0)
    finally:
        started.wait(5)
        stop.set()
        thread.join()
    assert outcomes == [PairAnswer(**GOOD["PairAnswer"])] * 12
    assert len(back.asked) == 12


def test_the_least_loaded_endpoint_is_asked_and_each_has_its_limit() -> None:
    with serving(Server(delay=0.05)) as one, serving(Server(delay=0.05)) as other:
        outcomes = asked(one, other, items=48, in_flight=4)
    assert outcomes == [PairAnswer(**GOOD["PairAnswer"])] * 48
    assert one.most_at_once <= 4
    assert other.most_at_once <= 4
    assert min(len(one.asked), len(other.asked)) >= 12


def test_the_limit_holds_over_all_workers(server: Server) -> None:
    server.delay = 0.05
    threads = [threading.Thread(target=asked, args=[server], kwargs={"items": 12, "in_flight": 3}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.most_at_once == 3


def test_an_endpoint_that_dies_half_way_loses_nothing() -> None:
    with serving(Server(delay=0.02)) as lasting:
        with serving(Server(delay=0.02)) as dying:
            dying.behave = lambda request, before: well(request) if before < 10 else None
            outcomes = asked(lasting, dying, items=60, in_flight=4, attempts=8)
        outcomes += asked(lasting, dying, items=60, in_flight=4)
    assert outcomes == [PairAnswer(**GOOD["PairAnswer"])] * 120


def test_one_broken_answer_in_ten_costs_one_more_request_each(server: Server) -> None:
    server.behave = lambda request, before: said("{") if before % 10 == 0 else well(request)
    memory = Nothing()
    assert asked(server, items=100, memory=memory, tries=5) == [PairAnswer(**GOOD["PairAnswer"])] * 100
    total = sum(usage.requests for usage in memory.usage.values())
    assert total == len(server.asked) == 100 + sum(usage.retries for usage in memory.usage.values())


def test_a_key_is_sent_and_never_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", "secret-123")
    server.behave = lambda _request, _before: web.Response(status=401, text="no")
    (outcome,) = asked(server, key_from="OUR_KEY")
    assert "401" in str(outcome)
    assert "secret-123" not in str(outcome)
