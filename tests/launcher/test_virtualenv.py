"""Environments kept by content: built once, found again, never half."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from launcher import virtualenv
from launcher.errors import CannotStart, LauncherError
from launcher.virtualenv import Recipe, cache_folder, ensure, is_built
from tests.fakes.interpreters import StandIn, executable, only_wheels_from, stand_in, write_wheel

REPOSITORY = Path(__file__).absolute().parents[2]
# An environment in no time, whose pip installs nothing: for tests of when and by whom it is built.
INSTANT_VENV = 'mkdir -p "$3/bin" && ln -s "$0" "$3/bin/python"'
NO_PIP = '[ "$1 $2" != "-m pip" ] || exit 0'
# The program, as if the interpreter that is its first argument ran it. What a shell starts in the
# background ignores Ctrl-C, and so would these tests.
AS_INTERPRETER = """\
import signal, sys
from launcher import virtualenv
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.executable = sys.argv.pop(1)
sys.exit(virtualenv.main(sys.argv[1:]))
"""
DEADLINE_S = 30.0


class Workshop:
    """A folder with a requirements file, a cache, and a link to make."""

    def __init__(self, folder: Path, requirements: str = "tiny==1.0\n") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.link = folder / ".venv"
        self.cache = folder / "cache"
        self.requirements = folder / "requirements.txt"
        self.requirements.write_text(requirements)
        self.hold = folder / "hold"
        self.pids = folder / "pids"

    def recipe(self, python: StandIn) -> Recipe:
        return Recipe(python.path, (self.requirements,))

    def instant(self, name: str = "python", venv: str = "") -> StandIn:
        return stand_in(self.folder / name, venv=f"{venv}\n{INSTANT_VENV}", before=NO_PIP)

    def held(self, name: str = "python") -> StandIn:
        """Return an interpreter whose `-m venv` and its child last while the file `hold` exists."""
        self.hold.touch()
        return self.instant(
            name,
            f'sleep 60 &\necho "$$ $!" >"{self.pids}"\n'
            f'while [ -e "{self.hold}" ] && kill -0 $!; do sleep 0.02; done\nkill $!',
        )

    def run(self, python: StandIn, log: str = "stderr") -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-c", AS_INTERPRETER, python.path, self.link, self.requirements],
                cwd=REPOSITORY,
                env={**os.environ, "EVALGATE_CACHE": str(self.cache)},
                stderr=output,
            )

    def told(self, log: str = "stderr") -> str:
        return (self.folder / log).read_text()

    def builders(self) -> list[int]:
        """Wait until a held build runs; return its process and that one's child."""
        wait_until(lambda: self.pids.exists() and len(self.pids.read_text().split()) == 2)
        return [int(pid) for pid in self.pids.read_text().split()]


@pytest.fixture(scope="module", autouse=True)
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        write_wheel(folder, "tiny", version)
    write_wheel(folder, "unwanted", "1.0")
    write_wheel(folder, "greedy", "1.0", "tiny==2.0", "unwanted")
    with only_wheels_from(folder):
        yield folder


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.01)


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def distributions(python: Path) -> set[str]:
    ask = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    return set(subprocess.check_output([python, "-c", ask], text=True).split())


def test_it_runs_where_nothing_is_installed(workshop: Workshop) -> None:
    """The one test with a whole `python -m venv`: the interpreter below all environments."""
    bare = [str(Path(sys.executable).resolve()), "-S", "-m", "launcher.virtualenv"]
    argv = [*bare, str(workshop.link), str(workshop.requirements)]
    environ = {**os.environ, "EVALGATE_CACHE": str(workshop.cache)}

    def run() -> str:
        done = subprocess.run(
            argv, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True
        )
        assert done.stdout == ""
        return done.stderr

    first, second = run(), run()
    assert "installing requirements.txt for Python 3." in first
    assert "installed in" in first
    assert second == ""
    assert "tiny" in distributions(workshop.link / "bin" / "python")


def test_the_same_requirements_are_installed_once(
    workshop: Workshop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workshop.requirements.write_text("greedy\n")
    python = stand_in(tmp_path / "python")
    recipe = replace(workshop.recipe(python), remove=("unwanted", "absent"))
    assert not is_built(workshop.link, recipe, workshop.cache)
    interpreter = ensure(workshop.link, recipe, workshop.cache)
    assert interpreter == workshop.link / "bin" / "python"
    assert distributions(interpreter) == {"tiny", "greedy"}
    assert is_built(workshop.link, recipe, workshop.cache)

    capfd.readouterr()
    other = tmp_path / "another checkout"
    other.mkdir()
    ensure(workshop.link, recipe, workshop.cache)
    ensure(other / ".venv", recipe, workshop.cache)
    assert (other / ".venv").resolve() == workshop.link.resolve()
    assert len(python.calls("-m venv")) == 1
    assert capfd.readouterr().err == ""


def test_what_decides_the_content_decides_the_key(workshop: Workshop, tmp_path: Path) -> None:
    recipe = Recipe(Path(sys.executable), (workshop.requirements,))
    other = tmp_path / "dev.txt"
    other.write_text("tiny==2.0\n")
    keys = [
        recipe.key(),
        replace(recipe, requirements=(other,)).key(),
        replace(recipe, requirements=(workshop.requirements, other)).key(),
        replace(recipe, pip_arguments=("--pre",)).key(),
        replace(recipe, remove=("unwanted",)).key(),
        replace(recipe, python=executable(tmp_path / "other", "echo 3.12.1")).key(),
    ]
    assert len(set(keys)) == len(keys)
    other.write_text(workshop.requirements.read_text())
    assert replace(recipe, requirements=(other,)).key() == recipe.key()


def test_the_link_is_there_at_every_moment_of_a_change(workshop: Workshop) -> None:
    python = workshop.instant()
    recipes = [replace(workshop.recipe(python), remove=(name,)) for name in ("a", "b")]
    folders = set()
    for recipe in recipes:
        ensure(workshop.link, recipe, workshop.cache)
        folders.add(workshop.link.readlink())
    missed: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            if not (workshop.link / "bin" / "python").exists():
                missed.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            for recipe in recipes:
                ensure(workshop.link, recipe, workshop.cache)
    finally:
        is_over.set()
        watcher.join()
    assert not missed
    assert len(folders) == 2
    assert len(python.calls("-m venv")) == 2
    assert [path.name for path in workshop.folder.glob(".venv*")] == [".venv"]


def test_a_failed_install_is_one_line_and_the_next_run_tries_again(
    workshop: Workshop, wheels: Path, tmp_path: Path
) -> None:
    workshop.requirements.write_text("latecomer==1.0\n")
    recipe = workshop.recipe(stand_in(tmp_path / "python"))
    with pytest.raises(LauncherError) as caught:
        ensure(workshop.link, recipe, workshop.cache)
    message = str(caught.value)
    (log,) = workshop.cache.glob("*.log")
    assert caught.value.exit_code == 1
    assert "No matching distribution found for latecomer==1.0" in message
    assert f"the whole log: {log}" in message
    assert "\n" not in message
    assert not workshop.link.is_symlink()

    (unfinished,) = workshop.cache.glob("venv-????????????")
    (unfinished / "litter").touch()
    write_wheel(wheels, "latecomer", "1.0")
    assert "latecomer" in distributions(ensure(workshop.link, recipe, workshop.cache))
    assert workshop.link.readlink() == unfinished
    assert not (unfinished / "litter").exists()


def test_a_conflict_names_the_requirements(workshop: Workshop, tmp_path: Path) -> None:
    workshop.requirements.write_text("tiny==1.0\ngreedy==1.0\n")
    with pytest.raises(LauncherError, match=r"Cannot install .*tiny==1\.0.* conflicting"):
        ensure(workshop.link, workshop.recipe(stand_in(tmp_path / "python")), workshop.cache)


@pytest.mark.parametrize(
    ("venv", "message"),
    [
        (
            'echo "it was not created because ensurepip is not available." && exit 1',
            r"install Debian's python3-venv \(exit 1;",
        ),
        ("echo first && echo why && exit 7", r"-m venv .*failed: why \(exit 7;"),
        ("exit 7", r"failed: it printed nothing \(exit 7;"),
    ],
)
def test_a_python_that_makes_no_environments_is_told(
    workshop: Workshop, venv: str, message: str
) -> None:
    python = stand_in(workshop.folder / "python", venv=venv)
    with pytest.raises(LauncherError, match=message):
        ensure(workshop.link, workshop.recipe(python), workshop.cache)


def test_an_environment_whose_python_is_gone_is_built_anew(workshop: Workshop) -> None:
    recipe = workshop.recipe(python := workshop.instant())
    interpreter = ensure(workshop.link, recipe, workshop.cache)
    interpreter.unlink()
    interpreter.symlink_to("/gone/python")
    ensure(workshop.link, recipe, workshop.cache)
    assert interpreter.exists()
    assert len(python.calls("-m venv")) == 2


def test_a_link_to_a_cache_that_was_removed_is_mended(workshop: Workshop) -> None:
    workshop.link.symlink_to("/gone/venv-0123456789ab")
    assert ensure(workshop.link, workshop.recipe(workshop.instant()), workshop.cache).exists()


def test_a_folder_of_ones_own_is_left_alone(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    workshop.link.mkdir()
    (workshop.link / "mine").write_text("precious")
    monkeypatch.setenv("EVALGATE_CACHE", str(workshop.cache))
    assert virtualenv.main([str(workshop.link), str(workshop.requirements)]) == 3
    told = capfd.readouterr().err
    assert told == (
        f"evalgate: {workshop.link} is a folder of your own: move it away, or remove it\n"
    )
    assert (workshop.link / "mine").read_text() == "precious"
    assert not workshop.cache.exists()


def test_a_cache_that_cannot_be_made_is_told(workshop: Workshop) -> None:
    cache = workshop.requirements / "cache"
    with pytest.raises(
        CannotStart, match=r"cache: Not a directory; name another in EVALGATE_CACHE"
    ):
        ensure(workshop.link, workshop.recipe(workshop.instant()), cache)


def test_a_cache_that_cannot_be_written_is_told(workshop: Workshop) -> None:
    """Root may write anywhere: a folder in the lock's place refuses it as well."""
    recipe = workshop.recipe(workshop.instant())
    lock = workshop.cache / f"venv-{recipe.key()}.lock"
    lock.mkdir(parents=True)
    told = f"cannot write into the cache folder {workshop.cache}: Is a directory; "
    with pytest.raises(CannotStart, match=f"^{re.escape(told)}name another in EVALGATE_CACHE$"):
        ensure(workshop.link, recipe, workshop.cache)


def test_what_is_complete_is_used_from_a_cache_that_cannot_be_written(
    workshop: Workshop,
) -> None:
    recipe = workshop.recipe(python := workshop.instant())
    ensure(workshop.link, recipe, workshop.cache)
    (lock,) = workshop.cache.glob("*.lock")
    lock.unlink()
    lock.mkdir()
    assert ensure(workshop.link, recipe, workshop.cache).exists()
    assert len(python.calls("-m venv")) == 1


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [
        ("/own", "/shared", "/own"),
        ("~/own", "", "/home/me/own"),
        ("own", "", f"{Path.cwd()}/own"),
        ("", "/shared", "/shared/evalgate"),
        ("", "", "/home/me/.cache/evalgate"),
    ],
)
def test_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, own: str, shared: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("EVALGATE_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", shared)
    assert cache_folder() == Path(expected)


def test_main_builds_for_the_running_python(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the process's signal handlers as they were."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("EVALGATE_CACHE", str(workshop.cache))
    monkeypatch.setattr(sys, "executable", str(workshop.instant().path))
    monkeypatch.chdir(workshop.folder)
    assert virtualenv.main([".venv", "requirements.txt"]) == 0
    assert workshop.link.readlink().parent == workshop.cache
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("name", ["PYTHONDONTWRITEBYTECODE", "PIP_NO_CACHE_DIR"])
def test_byte_code_is_written_where_no_import_would_keep_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    python = workshop.instant()
    ensure(workshop.link, workshop.recipe(python), workshop.cache)
    assert len(python.calls("-m compileall")) == 1


def test_byte_code_is_left_to_whoever_imports(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "PIP_NO_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    python = workshop.instant()
    ensure(workshop.link, workshop.recipe(python), workshop.cache)
    assert python.calls("-m compileall") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_whole_build_and_the_next_run_works(
    workshop: Workshop, number: signal.Signals
) -> None:
    """Killed was only the child: what that had started went on in the background."""
    python = workshop.held()
    process = workshop.run(python)
    pids = workshop.builders()
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == 130
    wait_until(lambda: all(is_dead(pid) for pid in pids))
    assert workshop.told().splitlines()[-1] == "evalgate: interrupted; run it again to go on"
    assert not workshop.link.is_symlink()

    workshop.hold.unlink()
    assert workshop.run(python).wait(DEADLINE_S) == 0
    assert (workshop.link / "bin" / "python").exists()


def test_two_processes_build_once_and_the_second_says_that_it_waits(workshop: Workshop) -> None:
    python = workshop.held()
    first = workshop.run(python, "first")
    workshop.builders()
    second = workshop.run(python, "second")
    wait_until(lambda: workshop.told("second") != "")
    workshop.hold.unlink()
    assert first.wait(DEADLINE_S) == second.wait(DEADLINE_S) == 0
    (folder,) = workshop.cache.glob("venv-????????????")
    assert workshop.told("second") == (
        f"evalgate: waiting for another run that builds {folder.name}\n"
    )
    assert len(python.calls("-m venv")) == 1


def test_what_outlives_a_killed_run_is_waited_for(workshop: Workshop) -> None:
    """Two installs into one folder at once would leave a broken environment, stamped complete."""
    python = workshop.held()
    killed = workshop.run(python)
    builder, _ = workshop.builders()
    killed.kill()
    killed.wait(DEADLINE_S)
    second = workshop.run(python, "second")
    wait_until(lambda: "waiting for another run" in workshop.told("second"))
    assert not is_dead(builder)
    workshop.hold.unlink()
    assert second.wait(DEADLINE_S) == 0
    assert is_dead(builder)
    assert len(python.calls("-m venv")) == 2


def test_a_long_install_shows_that_it_lives(workshop: Workshop) -> None:
    go_on, end = workshop.folder / "go on", workshop.folder / "end"
    wait = f'while [ ! -e "{go_on}" ]; do sleep 0.02; done'
    script = f'echo "WARNING: noise"\n{wait}\necho "Collecting tiny"\necho\n'
    python = workshop.instant(venv=script + wait.replace("go on", "end"))
    with (workshop.folder / "stderr").open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path as P; from launcher import virtualenv as v\n"
                "link, python, file, cache = map(P, sys.argv[1:])\n"
                "v.ensure(link, v.Recipe(python, (file,)), cache, tick_s=0.05)",
                *(workshop.link, python.path, workshop.requirements, workshop.cache),
            ],
            cwd=REPOSITORY,
            stderr=output,
        )
    wait_until(lambda: re.search(r"evalgate: +\d+ s: …", workshop.told()) is not None)
    go_on.touch()
    wait_until(lambda: " s: Collecting tiny\n" in workshop.told())
    end.touch()
    assert process.wait(DEADLINE_S) == 0
    assert "noise" not in workshop.told()


def test_nohup_is_honoured(workshop: Workshop) -> None:
    """A run that was started to outlive its terminal ignores the hang-up."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = workshop.run(workshop.held())
    finally:
        signal.signal(signal.SIGHUP, before)
    workshop.builders()
    process.send_signal(signal.SIGHUP)
    workshop.hold.unlink()
    assert process.wait(DEADLINE_S) == 0
