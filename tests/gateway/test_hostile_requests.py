"""schemathesis against the gateway as a process, by the description that it serves itself.

`HOSTILE_SCALE=20 pytest -s` of this file tries up to twenty times as many cases, others in every
run, and prints how many there were.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.hostile import SCALE, Target, under_attack

EXAMPLES = 60 * SCALE
"""Of every operation, beside those that schemathesis derives from the schemas one by one."""
EXPECTED_CASES = 300
LIMIT_S = 300 * SCALE


@pytest.fixture
def target() -> Iterator[Target]:
    with under_attack("schemathesis") as target:
        yield target


def test_what_the_description_allows_works_and_the_rest_is_refused(
    target: Target, tmp_path: Path
) -> None:
    """All checks: no 5xx, statuses, headers, bodies and methods as described, bad data refused."""
    report = run_schemathesis(target, tmp_path)
    cases = report["test_cases"]
    target.cases += cases["generated"]
    assert cases["generated"] >= EXPECTED_CASES
    assert not report["failures"] and not report["errors"]
    assert (cases["with_failures"], cases["errored"]) == (0, 0)
    # It leaves out the route that it read the description from.
    assert report["operations"]["tested"] == report["operations"]["total"] == 7


def run_schemathesis(target: Target, folder: Path) -> dict[str, Any]:
    """Run its command, a program of its own, and return its report."""
    path = folder / "report.json"
    argv = ["run", f"http://127.0.0.1:{target.port}/openapi.json", "--checks", "all"]
    argv += ["--max-examples", str(EXAMPLES), "--report", "json", "--report-json-path", str(path)]
    argv += ["--seed", "1"] if SCALE == 1 else []
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *argv],
        cwd=folder,  # it keeps a database of what it tried
        env={**os.environ, "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
