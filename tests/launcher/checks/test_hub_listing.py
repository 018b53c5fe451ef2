"""ModelScope's real client, in a process of its own, against a scripted hub."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelscope_hub import errors
from modelscope_hub.api import HubApi

from launcher.checks import hub_client, hub_listing
from launcher.checks.hub_client import _explain
from launcher.settings import LauncherSettings, load_settings
from tests.fakes.hub import Hub
from tests.fakes.model_files import WEIGHTS, model_files

pytestmark = pytest.mark.anyio
MODEL_ID = "someone/tiny-model"
# Measured processes start slowly on a busy machine; the hub itself answers at once.
PATIENT_S = 60


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(MODEL_ID, model_files()) as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MODELSCOPE_") and not name.lower().endswith("_proxy")
    }
    return {**own, "HOME": str(tmp_path / "home")}


def settings_for(url: str, **more: str) -> LauncherSettings:
    return load_settings({"MODEL_ID": MODEL_ID, "MODELSCOPE_ENDPOINT": url, **more})


async def test_the_hub_lists_and_only_small_files_are_fetched(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.token = "secret-token"
    settings = settings_for(hub.url, MODELSCOPE_API_TOKEN="secret-token")
    listing = await hub_listing.ask(settings, tmp_path / "small", environ, PATIENT_S)
    assert listing.problem == ""
    assert listing.sizes == {path: len(data) for path, data in hub.files.items()}
    fetched = tmp_path / "small" / "config.json"
    assert fetched.read_bytes() == hub.files["config.json"]
    assert hub.downloads(WEIGHTS) == []


async def test_a_refused_token_is_told_without_it(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.token = "secret-token"
    settings = settings_for(hub.url, MODELSCOPE_API_TOKEN="bad-token")
    listing = await hub_listing.ask(settings, tmp_path, environ, PATIENT_S)
    assert listing.is_refused
    assert listing.problem == f"{hub.url}: it refuses MODELSCOPE_API_TOKEN"


async def test_a_model_that_is_not_there_is_told(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    settings = settings_for(hub.url, MODEL_REVISION="v9")
    listing = await hub_listing.ask(settings, tmp_path, environ, PATIENT_S)
    assert listing.is_refused
    assert "no such model or revision" in listing.problem


def test_the_site_that_has_the_model_is_asked(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The default site alone was asked, and the model told as refused, though the build has it."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    # ModelScope's own search of its two sites, which are not on this machine.
    monkeypatch.setattr(HubApi, "resolve_endpoint_for_read", lambda *_, **__: hub.url)
    assert hub_client.main([MODEL_ID, "master", str(tmp_path), ""], {}) == 0
    (line,) = capfd.readouterr().out.splitlines()
    answer = json.loads(line.removeprefix(hub_client.MARK))
    assert answer["problem"] == ""
    assert answer["sizes"] == {path: len(data) for path, data in hub.files.items()}


async def test_a_hub_that_is_away_refuses_nothing(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    with Hub(MODEL_ID, {}) as other:
        gone = other.url
    listing = await hub_listing.ask(settings_for(gone), tmp_path, environ, PATIENT_S)
    assert not listing.is_refused
    assert listing.problem == f"{gone}: no connection"


async def test_a_hub_that_hangs_is_left(environ: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        listing = await hub_listing.ask(settings_for(url), tmp_path, environ, timeout_s=2)
    assert listing.problem == f"{url} did not answer within 2 s"


async def test_a_client_that_does_not_start_is_told(tmp_path: Path) -> None:
    broken = {"PYTHONHOME": "/none"}
    listing = await hub_listing.ask(settings_for("http://127.0.0.1:1"), tmp_path, broken, PATIENT_S)
    assert listing.problem == "ModelScope's client ended with exit code 1"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.PermissionDeniedError("403"), ("it wants a MODELSCOPE_API_TOKEN", True)),
        (OSError(), ("OSError", False)),
        (ValueError("no JSON\nat all"), ("no JSON", False)),
    ],
)
def test_other_errors_are_one_line(error: Exception, told: tuple[str, bool]) -> None:
    assert _explain(error, None) == told
    assert _explain(ValueError("a-token is bad"), "a-token") == ("*** is bad", False)
