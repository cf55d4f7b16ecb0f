import inspect
from pathlib import Path
from typing import Any

import yaml
from prefect.flows import load_flow_from_entrypoint

ROOT = Path(__file__).parents[2]


def test_the_deployment_names_a_flow_and_parameters_that_exist() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert deployments
    for deployment in deployments:
        flow: Any = load_flow_from_entrypoint(str(ROOT / deployment["entrypoint"]))
        inspect.signature(flow.fn).bind(**deployment["parameters"])
        assert deployment["schedules"]


def test_telemetry_is_off_unless_asked_for() -> None:
    from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED

    assert not PREFECT_SERVER_ANALYTICS_ENABLED.value()
