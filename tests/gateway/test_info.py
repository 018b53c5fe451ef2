import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.engine_state import MAX_STATE_BYTES, EngineStateFile, read_engine_state
from gateway.info import VERSION, Info, RecentErrors, shown_settings
from gateway.last_start import NAME, LastStart
from gateway.redaction import Redaction
from gateway.service import Service
from gateway.settings import Settings, load_settings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


async def described(settings: Settings) -> dict[str, Any]:
    service = Service(settings)
    info = Info(settings, service.readiness, RecentErrors(), service.watch)
    decoded: dict[str, Any] = json.loads(json.dumps(info.describe(service.metrics)))
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
    shown = shown_settings(load_settings(), Redaction())
    assert set(shown) == {name.upper() for name in Settings.model_fields}
    assert shown["MAX_NEW_TOKENS"] == {"value": 64, "is_default": False}
    assert shown["POLICY_FILE"] == {"value": "policies/mine.toml", "is_default": False}
    assert shown["TEMPERATURE"] == {"value": 0.0, "is_default": True}
    assert shown["ENGINE_API_KEY"] == {"value": None, "is_default": True}


async def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password in an engine's URL was shown."""
    monkeypatch.setenv("ENGINE_API_KEY", "sk-secret")
    told = await described(load_settings())
    assert "sk-secret" not in json.dumps(told)
    assert told["settings"]["ENGINE_API_KEY"]["value"] == "***"
    monkeypatch.delenv("ENGINE_API_KEY")
    monkeypatch.setenv("ENGINE_URL", "https://user:sk-secret@engine:8001/x@y")
    told = await described(load_settings())
    assert "sk-secret" not in json.dumps(told)
    assert told["settings"]["ENGINE_URL"]["value"] == "https://***@engine:8001/x@y"
    assert told["engine_url"] == "https://***@engine:8001/x@y"


async def test_it_is_told_what_runs_and_why_it_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = tmp_path / "engine.json"
    state.write_text('{"phase": "loading", "pid": 7}', encoding="utf-8")
    monkeypatch.setenv("ENGINE_STATE_FILE", str(state))
    told = await described(load_settings())
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


def write_state(path: Path, **state: Any) -> None:
    path.write_text(json.dumps(state), encoding="utf-8")


def test_the_state_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    file = EngineStateFile(path, Redaction())
    assert file.state() is None
    write_state(path, phase="starting")
    first = file.state()
    assert first == {"phase": "starting"}
    assert file.state() is first
    write_state(path, phase="running", members=[{"pid": 7}, {"pid": 8}, {"pid": "9"}, 10])
    assert file.pids() == [7, 8]
    path.unlink()
    assert (file.state(), file.pids()) == (None, [])


def test_secrets_in_the_engines_log_are_hidden(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    write_state(
        path, log_lines=["token open-sesame-1 used"], last_exit={"log_lines": ["open-sesame-1"]}
    )
    shown = EngineStateFile(path, Redaction(["open-sesame-1"])).state()
    assert shown == {"log_lines": ["token *** used"], "last_exit": {"log_lines": ["***"]}}


async def test_secrets_of_the_environment_are_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = tmp_path / "engine.json"
    write_state(state, message="ms-token-123456", log_lines=["p4ssw0rd-x", "sk-a", "8192"])
    monkeypatch.setenv("ENGINE_STATE_FILE", str(state))
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-token-123456")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p4ssw0rd-x@proxy:3128")
    monkeypatch.setenv("ENGINE_API_KEY", "sk-a")
    monkeypatch.setenv("SYSTEM_PROMPT", "never say ms-token-123456")
    monkeypatch.setenv("MAX_NEW_TOKENS", "8192")
    told = json.dumps(await described(load_settings()))
    for secret in ("ms-token-123456", "p4ssw0rd-x", "sk-a"):
        assert secret not in told
    assert "8192" in told, "a number of tokens is no secret"


START = {"imports": 8.5, "weights": 2.0}


def test_the_last_start_is_expected_of_the_next_of_that_configuration(tmp_path: Path) -> None:
    running = {"phase": "running", "configuration": "abc", "start_phases": START}
    LastStart(tmp_path).keep(running, 3.25)
    kept = LastStart(tmp_path)
    assert kept.expected({"configuration": "abc"}) == {**START, "warm-up": 3.25}
    assert kept.expected({"configuration": "another"}) is None
    assert kept.expected(None) is None


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"phase": "starting", "configuration": "abc", "start_phases": START},
        {"phase": "running", "configuration": "abc", "start_phases": {}},
        {"phase": "running", "configuration": "abc", "start_phases": {"imports": "long"}},
    ],
)
def test_a_start_that_is_not_known_is_not_kept(
    tmp_path: Path, state: dict[str, Any] | None
) -> None:
    LastStart(tmp_path).keep(state, 1)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"configuration": "abc", "phases": [1]}'])
def test_a_broken_file_of_the_last_start_expects_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert LastStart(tmp_path).expected({"configuration": "abc"}) is None


def test_a_start_that_cannot_be_written_down_is_expected_all_the_same(tmp_path: Path) -> None:
    last = LastStart(tmp_path / "nowhere")
    last.keep({"phase": "running", "configuration": "abc", "start_phases": START}, 1)
    assert last.expected({"configuration": "abc"}) == {**START, "warm-up": 1}
