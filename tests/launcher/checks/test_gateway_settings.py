import os
from pathlib import Path

import pytest

from gateway.settings import Settings
from launcher.checks import gateway_settings
from launcher.checks.gateway_settings import GatewaySettings
from launcher.checks.result import Status
from launcher.errors import CannotStart
from launcher.settings import load_settings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", GatewaySettings.model_fields)
def test_the_defaults_are_the_gateway_s_own(name: str) -> None:
    assert GatewaySettings.model_fields[name].default == Settings.model_fields[name].default


def test_the_environment_is_read_as_the_gateway_reads_it() -> None:
    environ = {"BATCH_MODE": "0", "PREDICT_DEADLINE_S": "100", "MAX_NEW_TOKENS": ""}
    settings = gateway_settings.read(environ)
    assert (settings.batch_mode, settings.predict_deadline_s) == (False, 100)
    assert settings.max_new_tokens == 512


def test_values_that_the_gateway_refuses_leave_the_defaults() -> None:
    assert gateway_settings.read({"MAX_NEW_TOKENS": "many"}) == GatewaySettings()


async def test_the_gateway_itself_checks_the_rest(tmp_path: Path) -> None:
    assert (await gateway_settings.check(os.environ)).status is Status.OK
    environ = {**os.environ, "TOP_P": "7", "SYSTEM_PROMPT_FILE": str(tmp_path / "none")}
    row = await gateway_settings.check(environ)
    assert row.status is Status.FAILURE
    assert "TOP_P='7'" in row.observed


@pytest.mark.parametrize("url", ["http://h:99999", "http://[::1", "https://:8001"])
async def test_the_gateway_refuses_the_addresses_that_the_launcher_does(url: str) -> None:
    environ = {**os.environ, "ENGINE": "external", "ENGINE_URL": url}
    with pytest.raises(CannotStart) as refusal:
        load_settings(environ)
    row = await gateway_settings.check(environ)
    assert row.status is Status.FAILURE
    assert str(refusal.value) in row.observed


async def test_a_gateway_that_takes_too_long_is_left(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(300)\n")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    row = await gateway_settings.check(environ, timeout_s=1)
    assert row.status is Status.SKIPPED
    assert "took over 1 s" in row.observed
