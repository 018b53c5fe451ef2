"""Ctrl-C, and a SIGTERM, in the middle of a row: what there was is shown, no process is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.chaos.polling import wait_for

pytestmark = pytest.mark.process
REPOSITORY = Path(__file__).resolve().parents[2]


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["tests.chaos", "tests.chaos.soak"])
def test_an_interrupt_leaves_no_process(number: signal.Signals, module: str) -> None:
    options = ["--only", "fake"] if module == "tests.chaos" else ["1", "--fake"]
    program = subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As a terminal starts it; a background job would ignore SIGINT.
        start_new_session=True,
    )
    try:
        wait_for("an engine and a gateway", lambda: len(children_of(program)) == 2, 30)
        children = children_of(program)
        program.send_signal(number)
        out, _ = program.communicate(timeout=30)
    finally:
        program.kill()
    assert "interrupted" in out
    assert program.returncode == 130
    assert psutil.wait_procs(children, timeout=5)[1] == []
