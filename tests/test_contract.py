"""What the gateway, the launcher and supervisord.conf must agree on, held together.

The two packages import nothing of each other, so nothing but this notices when they drift apart.
"""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.settings import Settings
from launcher.accelerator import Accelerator
from launcher.engines import vllm
from launcher.environment import engine_environment
from launcher.settings import LauncherSettings, load_settings
from launcher.standalone import STOP_TIMEOUT_S

REPOSITORY = Path(__file__).parents[1]
SHARED = sorted(set(Settings.model_fields) & set(LauncherSettings.model_fields))


@pytest.fixture(scope="module")
def conf() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    assert parser.read(REPOSITORY / "supervisord.conf", encoding="utf-8")
    return parser


def test_both_read_what_they_must_agree_on() -> None:
    assert {
        "engine",
        "engine_api",
        "engine_health_path",
        "engine_host",
        "engine_port",
        "served_model_name",
        "engine_state_file",
        "engine_keepalive_s",
        "engine_api_key",
        "gateway_port",
        "health_budget_s",
        "model_dir",
    } == set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_shared_settings_have_the_same_default(name: str) -> None:
    ours, theirs = Settings.model_fields[name], LauncherSettings.model_fields[name]
    assert ours.default == theirs.default


def test_engine_is_started_where_the_gateway_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PORT", "9123")
    monkeypatch.setenv("SERVED_MODEL_NAME", "mine")
    asks, starts = Settings(), load_settings({"ENGINE_PORT": "9123", "SERVED_MODEL_NAME": "mine"})
    argv = _argv(starts)
    assert argv[argv.index("--port") + 1] == "9123"
    assert argv[argv.index("--served-model-name") + 1] == asks.served_model_name == "mine"
    assert asks.engine_base_url == starts.engine_url == "http://127.0.0.1:9123"


def test_engine_keeps_connections_longer_than_the_gateway_reuses_them() -> None:
    settings = load_settings({})
    env = engine_environment({}, settings, Accelerator.CPU, Path("python"))
    assert float(env["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > Settings().engine_keepalive_s


def test_api_key_of_the_gateway_is_the_one_the_engine_demands() -> None:
    settings = load_settings({"ENGINE_API_KEY": "open-sesame"})
    env = engine_environment({}, settings, Accelerator.CPU, Path("python"))
    assert env["VLLM_API_KEY"] == "open-sesame"


@pytest.mark.parametrize(("program", "package"), [("engine", "launcher"), ("gateway", "gateway")])
def test_supervisord_runs_both_halves(
    conf: configparser.RawConfigParser, program: str, package: str
) -> None:
    section = conf[f"program:{program}"]
    assert f"-m {package}" in section["command"]
    assert (REPOSITORY / package / "__main__.py").is_file()
    assert section["directory"] == "%(here)s"
    # Also what ended with exit code 0 is started again; "cannot start as configured" is not.
    assert section["autorestart"] == "unexpected"
    assert section["exitcodes"] == "3"
    assert section["stopasgroup"] == "false"
    assert section["killasgroup"] == "true"
    # A log that cannot rotate must not be given a size.
    assert section["stderr_logfile_maxbytes"] == "0"


def test_supervisord_waits_longer_than_the_programs_do(conf: configparser.RawConfigParser) -> None:
    """Killed at its stopwaitsecs, a gateway would lose what its grace period is for."""
    assert _waits(conf, "engine") >= _most(LauncherSettings, "engine_stop_timeout_s") + 5
    assert _waits(conf, "gateway") >= _most(Settings, "grace_period_s") + 5
    assert _waits(conf, "engine") + 5 <= STOP_TIMEOUT_S


def _waits(conf: configparser.RawConfigParser, program: str) -> int:
    return conf.getint(f"program:{program}", "stopwaitsecs")


def _most(settings: type[BaseModel], name: str) -> float:
    (bound,) = (each.le for each in settings.model_fields[name].metadata if hasattr(each, "le"))
    return float(bound)


def test_what_a_user_sets_reaches_both_programs(conf: configparser.RawConfigParser) -> None:
    """What supervisord sets for them would win over the user's environment."""
    assert [name for name in conf.sections() if "environment" in conf[name]] == []
    assert conf["supervisord"]["directory"] == "%(here)s"
    assert not Settings().engine_state_file.is_absolute()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "10.1.2.3", "localhost"])
def test_the_engine_is_asked_where_it_listens(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_HOST", host)
    assert Settings().engine_base_url == load_settings({"ENGINE_HOST": host}).engine_url


def test_control_socket_is_the_owners_alone(conf: configparser.RawConfigParser) -> None:
    assert conf["unix_http_server"]["chmod"] == "0700"
    assert conf["supervisorctl"]["serverurl"] == f"unix://{conf['unix_http_server']['file']}"


def test_supervisord_itself_accepts_the_file(tmp_path: Path) -> None:
    """Its own parser, in a process of its own, because it ends the process on a bad file."""
    (tmp_path / "run/logs").mkdir(parents=True)
    path = tmp_path / "supervisord.conf"
    path.write_bytes((REPOSITORY / "supervisord.conf").read_bytes())
    script = (
        "import sys; from supervisor.options import ServerOptions\n"
        "options = ServerOptions(); options.realize(['-n', '-c', sys.argv[1]])\n"
        "print(*[process.name for group in options.process_group_configs"
        " for process in group.process_configs])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["engine", "gateway"], done.stderr


@pytest.mark.parametrize(("package", "others"), [("gateway", "launcher"), ("launcher", "gateway")])
def test_packages_do_not_import_each_other(package: str, others: str) -> None:
    for path in (REPOSITORY / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert all(name.partition(".")[0] != others for name in names), path


def test_only_the_engine_client_knows_aiohttp() -> None:
    importers = [
        path.name
        for path in (REPOSITORY / "gateway").glob("*.py")
        if "import aiohttp" in path.read_text(encoding="utf-8")
    ]
    assert importers == ["engine.py"]


def test_requirements_leave_the_engines_packages_alone() -> None:
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = {line.split(">")[0].split("=")[0] for line in lines if line and line[0] != "#"}
    assert named.isdisjoint({"torch", "vllm", "transformers"})


def test_configuration_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate_configuration.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _argv(settings: LauncherSettings) -> tuple[str, ...]:
    return vllm.argv(settings, Path("python"), Path("model"), Accelerator.CPU, None).args
