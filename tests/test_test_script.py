"""scripts/test itself: what it runs again, what it passes off, what it fails for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes.interpreters import executable

PARTS = ["oldest", "newest", "browser", "e2e"]
REPOSITORY = Path(__file__).absolute().parents[1]
# Ends as the next line of plan/PART tells, with 0 where there is none. A part is a marker of tests;
# of the two runs of the short ones, that with coverage is the oldest Python's.
PYTEST = """\
case "$*" in
--version) echo "Python 3" && exit ;;
"-m coverage run "*) part=oldest ;;
"-m coverage "*) exit 0 ;;
*"-m browser"*) part=browser ;;
*"-m e2e"*) part=e2e ;;
*) part=newest ;;
esac
echo "$part $*" >>calls
code=$(head -n 1 "plan/$part" 2>/dev/null)
[ ! -f "plan/$part" ] || sed -i 1d "plan/$part"
[ "$code" != hang ] || exec sleep 600
exit "${code:-0}"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    scripts = tmp_path / "scripts"
    executable(scripts / "test", "")
    shutil.copy(REPOSITORY / "scripts" / "test", scripts / "test")
    for name in ("oldest", "newest"):
        executable(tmp_path / name, PYTEST)
    executable(scripts / "test-environment", f'echo "{tmp_path}/$1"')
    executable(scripts / "check", "exit 0")
    executable(scripts / "prepare", "exit 0")
    executable(tmp_path / "bin" / "chromium", "exit 0")
    (tmp_path / "plan").mkdir()
    return tmp_path


def start(checkout: Path, *arguments: str, **codes: str) -> subprocess.Popen[str]:
    """Start scripts/test; each part's runs end with its codes, one after another."""
    for part, text in codes.items():
        (checkout / "plan" / part).write_text("".join(f"{code}\n" for code in text.split()))
    return subprocess.Popen(
        [checkout / "scripts" / "test", *arguments],
        env={**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(checkout: Path, *arguments: str, **codes: str) -> tuple[int, str, list[str]]:
    """Return its exit code, what it said, and the parts that it ran."""
    process = start(checkout, *arguments, **codes)
    _, said = process.communicate(timeout=60)
    parts = [line.split()[0] for line in (checkout / "calls").read_text().splitlines()]
    return process.returncode, said, sorted(parts, key=PARTS.index)


def test_all_that_passes_runs_once(checkout: Path) -> None:
    code, said, parts = run(checkout)
    assert (code, parts) == (0, PARTS)
    assert "FLAKY" not in said


@pytest.mark.parametrize("part", PARTS)
def test_what_fails_once_is_run_again_and_told(checkout: Path, part: str) -> None:
    code, said, parts = run(checkout, **{part: "1"})
    assert code == 0
    assert parts.count(part) == 2
    assert said.count("FLAKY") == 1


@pytest.mark.parametrize("part", PARTS)
def test_what_fails_twice_fails_after_all_of_it_has_run(checkout: Path, part: str) -> None:
    code, said, parts = run(checkout, **{part: "1 1"})
    assert code == 1
    assert set(parts) == set(PARTS)
    assert said.splitlines()[-1] == f"== failed: {part}"
    assert "FLAKY" not in said


@pytest.mark.parametrize("part", PARTS)
def test_what_could_not_run_is_no_flaky_test(checkout: Path, part: str) -> None:
    """Code 1 means failed tests; any other that pytest itself could not do its work."""
    code, said, parts = run(checkout, **{part: "4"})
    assert (code, parts.count(part)) == (1, 1)
    assert said.splitlines()[-1] == f"== failed: {part}"


def test_end_to_end_alone_is_not_run_again(checkout: Path) -> None:
    code, _, parts = run(checkout, "e2e", e2e="1")
    assert (code, parts) == (1, ["e2e"])


def test_the_arguments_reach_every_part(checkout: Path) -> None:
    code, _, parts = run(checkout, "-k", "some name")
    calls = (checkout / "calls").read_text().splitlines()
    assert (code, len(calls)) == (0, 4)
    assert all(line.endswith("-k some name") for line in calls)


def test_what_runs_beside_ends_with_it(checkout: Path) -> None:
    process = start(checkout, oldest="hang", e2e="hang")
    end = time.monotonic() + 30
    calls = checkout / "calls"
    while not calls.exists() or len(calls.read_text().splitlines()) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "Terminated" not in said
