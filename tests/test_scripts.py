"""The sh scripts: what they refuse, before they make anything."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.interpreters import executable

REPOSITORY = Path(__file__).absolute().parents[1]
SCRIPTS = [*sorted((REPOSITORY / "scripts").iterdir()), REPOSITORY / ".ci" / "run"]
OLD = "exit 1"  # to the question whether it is new enough


def run(script: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def copy_scripts(folder: Path) -> Path:
    """Copy them to where nothing can be built from: whatever they start fails."""
    return shutil.copytree(REPOSITORY / "scripts", folder / "scripts")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_and_plain_sh(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n# ")
    checked = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_part_of_the_tests_is_refused_with_the_usage(tmp_path: Path) -> None:
    """It built both environments before it looked at its argument."""
    done = run(copy_scripts(tmp_path) / "test", "nonsense")
    assert done.returncode == 2
    assert done.stderr == "usage: scripts/test [all|unit|browser|e2e|full] [pytest arguments]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]


def test_serve_refuses_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 75)
    done = run(copy_scripts(folder) / "serve")
    assert done.returncode == 3
    assert "too long for supervisord's socket" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["scripts"]


@pytest.fixture
def checkout() -> Iterator[Path]:
    """The scripts with the real supervisord.conf, supervisord, and programs that say one line."""
    with tempfile.TemporaryDirectory(prefix="evalgate-") as name:  # short, for its socket
        folder = Path(name)
        copy_scripts(folder)
        executable(folder / "scripts" / "prepare", "exit 0")
        conf = (REPOSITORY / "supervisord.conf").read_text()
        said = "command=/bin/sh -c 'echo alive on $$ >&2; exec sleep 3600'"
        (folder / "supervisord.conf").write_text(re.sub("(?m)^command=.*$", lambda _: said, conf))
        start = f'exec {sys.executable} -m supervisor.supervisord "$@"'
        executable(folder / ".venv" / "bin" / "supervisord", start)
        yield folder


@pytest.mark.parametrize("script", ["serve", "container-start"])
def test_a_service_whose_stderr_is_a_socket_runs_and_loses_no_line(
    checkout: Path, script: str
) -> None:
    """Under systemd's journal supervisord could not open it, and gave both programs up."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        with subprocess.Popen(
            [checkout / "scripts" / script],
            stdout=subprocess.DEVNULL,
            stderr=theirs.fileno(),
            start_new_session=True,
        ) as service:
            theirs.close()
            told = b""
            try:
                while told.count(b"alive on ") < 2:
                    piece = ours.recv(4096)
                    assert piece, told
                    told += piece
                assert not (checkout / "run" / "console").exists()
                os.killpg(service.pid, signal.SIGTERM)  # all at once, as systemd does
                assert service.wait(30) == 0
            finally:
                if service.poll() is None:
                    os.killpg(service.pid, signal.SIGKILL)
            # Whoever passed the lines on has ended as well.
            while piece := ours.recv(4096):
                told += piece
    assert told.splitlines()[-1].startswith(b"alive on ")


def test_an_ascend_base_s_toolkit_is_set_up_once(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    copy_scripts(folder)
    tell = 'echo "$TOOLKIT $ATB $LANG_OF_IT $*"'
    executable(folder / ".venv" / "bin" / "supervisord", tell)
    ascend = tmp_path / "Ascend"
    # As bash alone reads it, with variables that may be unset and a command that fails.
    toolkit = 'declare -a seen=(1 2); export TOOLKIT="$TOOLKIT${seen[1]}$NO_SUCH_VARIABLE"; false'
    executable(ascend / "ascend-toolkit" / "set_env.sh", toolkit)
    executable(ascend / "nnal" / "atb" / "set_env.sh", 'export ATB="arguments: $#"; false')
    start = folder / "scripts" / "container-start"
    settings = {"EVALGATE_ASCEND_ROOT": str(ascend), "LANG_OF_IT": "a b"}
    done = run(start, "--loglevel", "a b", **settings)
    assert done.returncode == 0, done.stderr
    user = " --user=root" if os.geteuid() == 0 else ""
    given = f"{user} --loglevel a b"
    expected = f"2 arguments: 0 a b --nodaemon --configuration supervisord.conf{given}\n"
    assert done.stdout == expected


@pytest.mark.parametrize("part", ["nnal/atb", "ascend-toolkit"])
def test_a_toolkit_that_is_there_in_part_is_no_obstacle(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "app"
    copy_scripts(folder)
    executable(folder / ".venv" / "bin" / "supervisord", 'echo "${PART:-none}"')
    executable(tmp_path / "Ascend" / part / "set_env.sh", "export PART=there")
    start = folder / "scripts" / "container-start"
    done = run(start, EVALGATE_ASCEND_ROOT=str(tmp_path / "Ascend"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("there\n" if part == "ascend-toolkit" else "none\n")


def environments(folder: Path, script: str, name: str, in_venv: str) -> list[str]:
    """Return what a script has made of .venv, whose interpreter is the shell lines `in_venv`."""
    copy_scripts(folder)
    record = folder / "record"
    python = executable(folder / "python", f'echo "$*" >>"{record}"')
    for link, lines in ((".venv", in_venv), (".venv-judge", "exit 0"), (".venv-bench", "exit 0")):
        executable(folder / link / "bin" / "python", lines)
    done = run(
        folder / "scripts" / script, name, PYTHON=str(python), OTEL_EXPORTER_OTLP_ENDPOINT=""
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = "-m launcher.virtualenv .venv "
    calls = record.read_text().splitlines()
    return [call.removeprefix(made) for call in calls if call.startswith(made)]


def test_a_tool_s_install_leaves_the_environment_of_a_service_alone(tmp_path: Path) -> None:
    """A service with tracing lost it at its next restart."""
    assert environments(tmp_path, "evaluate", "lm-eval", "exit 0") == []


@pytest.mark.parametrize(
    ("in_venv", "made"),
    [("exit 0", ["requirements.txt requirements/tracing.txt"]), ("exit 1", ["requirements.txt"])],
)
def test_a_benchmark_leaves_tracing_where_it_is(
    tmp_path: Path, in_venv: str, made: list[str]
) -> None:
    assert environments(tmp_path, "bench", "status", in_venv) == made


PRIVATE = {"MODELSCOPE_API_TOKEN": "secret-token", "MODEL_ID": "owner/model"}


def fetching(folder: Path) -> Path:
    """Return the script that fetches models in an image, with a launcher that says so."""
    copy_scripts(folder)
    executable(folder / ".venv" / "bin" / "python", 'echo "$*"')
    return folder / "scripts" / "container-model"


def test_a_private_model_goes_into_no_folder_that_is_not_copied(tmp_path: Path) -> None:
    """The build went on without the model, and was told to bring the token that it had."""
    done = run(fetching(tmp_path), "private", **PRIVATE, MODEL_ROOT="/models")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("evalgate: MODEL_ROOT=/models: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("root", ["", "model", "{}/model/"])
def test_a_private_model_is_fetched_into_the_default_folder(tmp_path: Path, root: str) -> None:
    script = fetching(tmp_path)
    done = run(script, "private", **PRIVATE, MODEL_ROOT=root.format(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "-m launcher model\n", "")


def test_without_a_token_any_folder_will_do(tmp_path: Path) -> None:
    given = {**PRIVATE, "MODELSCOPE_API_TOKEN": "", "MODEL_ROOT": "/models"}
    script = fetching(tmp_path)
    assert run(script, "private", **given).stdout == ""
    assert run(script, **given).stdout == "-m launcher model\n"


def test_find_python_takes_the_one_that_is_named(tmp_path: Path) -> None:
    named = executable(tmp_path / "mine", "exit 0")
    done = run(REPOSITORY / "scripts" / "find-python", PYTHON=str(named))
    assert (done.returncode, done.stdout) == (0, f"{named}\n")


@pytest.mark.parametrize("script", ["chaos", "find-python", "prepare", "soak", "test"])
def test_a_named_python_that_is_too_old_is_refused(tmp_path: Path, script: str) -> None:
    named = executable(tmp_path / "old", OLD)
    done = run(copy_scripts(tmp_path) / script, PYTHON=str(named))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == f"evalgate: no Python 3.10 or newer found (looked for: {named})\n"


def test_find_python_skips_what_does_not_run(tmp_path: Path) -> None:
    executable(tmp_path / "python3", OLD)
    executable(tmp_path / "python3.13", "exit 127")
    found = executable(tmp_path / "python3.12", "exit 0")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run(REPOSITORY / "scripts" / "find-python", PATH=path, PYTHON="")
    assert (done.returncode, done.stdout) == (0, f"{found}\n")
