"""What the doctor says of servers: of a stand-in that is a process of its own and speaks the protocol."""

from pathlib import Path

import pytest

from schemas.settings import PROFILES, Vlm, Writer, load_settings
from tasks.check import Check
from tasks.servers import examine_servers
from tasks.serving import serving
from tests.tasks.served import stand_in


def said(vlm: Vlm, *, serve: bool = False) -> Check:
    settings = load_settings("embedded", [f"run.serve={str(serve).lower()}"])
    (check,) = examine_servers(settings.model_copy(update={"writer": Writer(engine="vllm", vlm=vlm)}))
    return check


def test_a_server_that_is_fit(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    with serving(vlm, tmp_path / "log"):
        assert said(vlm).verdict == "ok"


def test_another_model_and_a_short_context_are_named(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    with serving(vlm, tmp_path / "log"):
        other = said(vlm.model_copy(update={"model": "another"}))
        assert (other.verdict, "serves tiny, not another" in other.detail) == ("bad", True)
        long = said(vlm.model_copy(update={"image_side": 2048}))
        assert (long.verdict, "8192 tokens are too few" in long.detail) == ("bad", True)


def test_a_server_that_is_down_is_bad_unless_a_stage_starts_it(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    assert (said(vlm).verdict, "omnirefiner serve vlm" in said(vlm).detail) == ("bad", True)
    assert said(vlm, serve=True).verdict == "note"
    nowhere = vlm.serve.model_copy(update={"python": tmp_path / "nowhere"})
    bad = said(vlm.model_copy(update={"serve": nowhere}), serve=True)
    assert (bad.verdict, "make vllm-cpu" in bad.detail) == ("bad", True)
    short = vlm.serve.model_copy(update={"context": 2048})
    assert said(vlm.model_copy(update={"serve": short}), serve=True).verdict == "bad"


@pytest.mark.parametrize("profile", sorted(path.stem for path in PROFILES.glob("*.toml")))
def test_every_profile_is_examined(profile: str) -> None:
    settings = load_settings(profile)
    checks = list(examine_servers(settings))
    servers = [settings.writer.vlm] if settings.writer.engine == "vllm" else []
    servers += [settings.judge.vlm] if settings.judge.engine == "vllm" else []
    endpoints = [url for one in servers for url in one.endpoints]
    if settings.edit.engine == "images-api":
        endpoints += settings.edit.images_api.endpoints
    assert [check.detail.partition(": ")[0] for check in checks] == endpoints
    assert all(check.verdict != "ok" for check in checks)  # nothing runs here
