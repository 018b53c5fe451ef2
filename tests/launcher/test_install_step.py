from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.install_step import run

REPOSITORY = Path(__file__).resolve().parents[2]
# Every command interrupts its parent as soon as it runs, which is about when Popen returns.
INTERRUPTED = """
import os, sys
from pathlib import Path
from launcher.install_step import run

log = Path(sys.argv[1])
for _ in range(40):
    try:
        run(["sh", "-c", "kill -INT $PPID; exec sleep 60"], log)
    except KeyboardInterrupt:
        pass
    else:
        sys.exit("it was not interrupted")
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        continue
    sys.exit("a process was left")
"""


def test_an_interrupt_as_a_command_starts_leaves_no_process(tmp_path: Path) -> None:
    """Between the fork and the return of Popen nobody knew of the process: it stayed."""
    argv = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "log")]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(["sh", "-c", "echo out; echo err >&2"], log)
    run(["echo", "more"], log)
    assert log.read_text() == "out\nerr\nmore\n"


def test_a_failure_tells_the_last_line_and_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(LauncherError, match=r"`sh -c .*` failed: no luck \(exit 4; .*log\)"):
        run(["sh", "-c", "echo no luck; exit 4"], log)


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"")
    with pytest.raises(LauncherError, match=r"cannot run .*program: Permission denied$"):
        run([str(program)], tmp_path / "log")
