"""A build that starts the server its stages ask: vLLM itself, which answers nonsense in the right schema."""

from pathlib import Path

import httpx
import pytest

from flows.build import build
from tasks.serving import models
from tests.conftest import SMALL
from tests.live.conftest import tiny


def test_stages_share_a_server_that_is_there_for_them_alone(
    checkpoint: Path, rendered: Path, prefect: str, tmp_path: Path
) -> None:
    asked = tiny(checkpoint)
    anything = ["pair.min_same_product=0", "pair.min_style=0", "pair.min_viewpoint=0"]
    settings = [*SMALL, *asked.assignments, *anything, "run.serve=true"]
    summary = build(str(rendered), str(tmp_path / "lake"), assignments=settings)
    steps = {step.stage: step for step in summary.steps}
    assert steps["pair"].requests > 0
    assert steps["instruct"].requests > 0
    assert summary.funnel.failures == 0
    assert [log.name for log in (tmp_path / "lake" / "logs").iterdir()] == ["pair.log"]
    with pytest.raises(httpx.TransportError):
        models(asked.vlm, asked.vlm.endpoints[0])
