import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.engine import Health
from gateway.info import (
    MAX_STATE_BYTES,
    VERSION,
    RecentErrors,
    describe,
    read_engine_state,
    shown_settings,
)
from gateway.metrics import Metrics
from gateway.readiness import Readiness
from gateway.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


async def look() -> Health:
    return Health.DOWN


async def warm_up() -> None:
    return None


def described(settings: Settings) -> dict[str, Any]:
    readiness = Readiness(look, warm_up, Metrics(), interval_s=1, strikes=3)
    decoded: dict[str, Any] = json.loads(json.dumps(describe(settings, readiness, RecentErrors())))
    return decoded


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, RecentErrors]]:
    logger, errors = logging.getLogger("tests.info"), RecentErrors(capacity=3)
    logger.addHandler(errors)
    yield logger, errors
    logger.removeHandler(errors)


def test_the_last_warnings_and_errors_are_kept(log: tuple[logging.Logger, RecentErrors]) -> None:
    logger, errors = log
    logger.setLevel(logging.DEBUG)
    logger.info("all is well")
    for number in range(4):
        logger.warning("warning %d", number)
    logger.error("broken")
    lines = errors.lines()
    assert [line["message"] for line in lines] == ["warning 2", "warning 3", "broken"]
    assert [line["level"] for line in lines] == ["WARNING", "WARNING", "ERROR"]
    assert lines[0]["time"] <= lines[2]["time"]


def test_the_version_is_the_projects() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{VERSION}"\n' in project


def test_every_setting_is_shown_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_NEW_TOKENS", "64")
    monkeypatch.setenv("POLICY_FILE", "policies/mine.toml")
    shown = shown_settings(load_settings())
    assert set(shown) == {name.upper() for name in Settings.model_fields}
    assert shown["MAX_NEW_TOKENS"] == {"value": 64, "is_default": False}
    assert shown["POLICY_FILE"] == {"value": "policies/mine.toml", "is_default": False}
    assert shown["TEMPERATURE"] == {"value": 0.0, "is_default": True}
    assert shown["ENGINE_API_KEY"] == {"value": None, "is_default": True}


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password in an engine's URL was shown."""
    monkeypatch.setenv("ENGINE_API_KEY", "sk-secret")
    monkeypatch.setenv("ENGINE_URL", "https://user:sk-secret@engine:8001/x@y")
    told = described(load_settings())
    assert "sk-secret" not in json.dumps(told)
    assert told["settings"]["ENGINE_API_KEY"]["value"] == "***"
    assert told["settings"]["ENGINE_URL"]["value"] == "https://***@engine:8001/x@y"
    assert told["engine_url"] == "https://***@engine:8001/x@y"


def test_it_is_told_what_runs_and_why_it_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = tmp_path / "engine.json"
    state.write_text('{"phase": "loading", "pid": 7}', encoding="utf-8")
    monkeypatch.setenv("ENGINE_STATE_FILE", str(state))
    told = described(load_settings())
    assert (told["name"], told["version"]) == ("evalgate", VERSION)
    assert (told["phase"], told["is_ready"]) == ("starting", False)
    assert told["reason"]
    assert told["phase_elapsed_s"] >= 0
    assert told["engine"] == {"phase": "loading", "pid": 7}
    assert told["engine_url"] == "http://127.0.0.1:8001"
    assert told["last_errors"] == []
    assert set(told["packages"]) == {"aiohttp", "starlette", "uvicorn"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b'{"a": "\xff"}'],
)
def test_a_state_file_that_is_no_json_object_is_told_as_none(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "engine.json"
    path.write_bytes(content)
    assert read_engine_state(path) is None


def test_an_endless_state_file_is_told_as_none(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text('{"a": "' + "x" * MAX_STATE_BYTES + '"}', encoding="utf-8")
    assert read_engine_state(path) is None


def test_a_state_file_that_cannot_be_read_is_told_as_none(tmp_path: Path) -> None:
    assert read_engine_state(tmp_path / "engine.json") is None
    assert read_engine_state(tmp_path) is None
