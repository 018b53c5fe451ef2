"""The guardian and its ladder, as real processes: small programs fail in vLLM's words."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.ladder import Rung
from tests.launcher.guarded import PACE, GuardianProcess

pytestmark = pytest.mark.process

FAKE = "import runpy; runpy.run_module('tests.fakes.engine', run_name='__main__')"
# The echo of the API server is the last that vLLM prints; the cause is far above it.
ECHO = "RuntimeError: Engine core initialization failed. See root cause above."


def program(condition: str, words: str) -> list[str]:
    """An engine that says `words` and fails, unless `condition` on its arguments `argv`."""
    text = f"""
import sys
argv = sys.argv[1:]
def value(flag):
    return int(argv[argv.index(flag) + 1]) if flag in argv else 10**9
if not ({condition}):
    print("(EngineCore pid=7) ERROR 11-21 04:00:00 [core.py:1] {words}", file=sys.stderr)
    print("\\n".join(f"  frame {{n}}" for n in range(60)), file=sys.stderr)
    sys.exit("(APIServer pid=6) {ECHO}")
{FAKE}
"""
    return [sys.executable, "-c", text, "--port", "PORT"]


def fail(guarded: GuardianProcess) -> str:
    """Wait for a failed start, as supervisord does; return what the state says of it."""
    assert guarded.wait() == 1
    assert guarded.state.phase == "exited"
    return guarded.state.message


def test_what_cannot_be_compiled_is_started_eagerly(tmp_path: Path) -> None:
    words = "KeyError: 'inductor'"
    with GuardianProcess(tmp_path, program("'--enforce-eager' in argv", words)) as guarded:
        assert fail(guarded).endswith(f": {words}; next: eager")
        guarded.start()
        state = guarded.wait_for_phase("running")
        assert (state.rung, state.argv[-1]) == ("eager", "--enforce-eager")
        assert [(step.rung, step.reason) for step in state.ladder] == [("as configured", words)]
        assert "engine: starting a fake engine, eager\n" in guarded.console
        guarded.terminate()
        guarded.wait()


def test_a_context_that_is_too_long_is_cut_to_what_fits(tmp_path: Path) -> None:
    words = "ValueError: To serve it, the estimated maximum model length is 12345."
    argv = program("value('--max-model-len') <= 12345 and '--enforce-eager' not in argv", words)
    with GuardianProcess(tmp_path, argv) as guarded:
        assert fail(guarded).endswith("; next: smaller (context 11712)")
        guarded.start()
        assert guarded.wait_for_phase("running").rung == "smaller"


def test_memory_that_stays_short_is_climbed_to_the_end_and_tried_again(tmp_path: Path) -> None:
    argv = program("False", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate")
    with GuardianProcess(tmp_path, argv) as guarded:
        ends = [fail(guarded)]
        for _ in range(3):
            guarded.start()
            ends.append(fail(guarded))
        assert [end.partition("; ")[2] for end in ends] == [
            "next: smaller (eager, context 4096, 64 sequences)",
            "next: smallest (eager, context 2048, 16 sequences)",
            "no other configuration is left, trying this one again",
            "no other configuration is left, trying this one again",
        ]
        rungs = [step.rung for step in guarded.state.ladder]
        assert rungs == ["as configured", "smaller", "smallest", "smallest"]
        # Another configuration need not wait; the same one again waits longer each time.
        waits = [line for line in guarded.console.splitlines() if "waiting" in line]
        assert [line.split()[2] for line in waits] == ["1", "1", "2"]
        guarded.start()
        guarded.wait_until(lambda state: state.message == "waiting 4 s before start 5 in a row")


def test_the_health_budget_is_not_spent_on_every_rung(tmp_path: Path) -> None:
    argv = program("False", "KeyError: 'x'")
    with GuardianProcess(tmp_path, argv, environ={"HEALTH_BUDGET_S": "0.1"}) as guarded:
        assert "; next, as 0 s of the health budget are left: smaller (" in fail(guarded)


def test_a_model_that_nothing_makes_run_is_told_at_once(tmp_path: Path) -> None:
    words = "ValueError: Model architectures ['Foo'] are not supported for now. Supported"
    with GuardianProcess(tmp_path, program("False", words)) as guarded:
        assert guarded.wait() == 3
        told = f"the engine cannot serve this model: {words}"
        assert (guarded.state.phase, guarded.state.message) == ("failed", told)
        assert guarded.console.endswith(f"engine: cannot start: {told}\n")
        assert guarded.state.ladder == ()


def test_without_a_ladder_the_same_is_tried_again(tmp_path: Path) -> None:
    argv = program("'--enforce-eager' in argv", "KeyError: 'x'")
    with GuardianProcess(tmp_path, argv, environ={"ENGINE_LADDER": "false"}) as guarded:
        assert fail(guarded).endswith("KeyError: 'x'")
        guarded.start()
        assert fail(guarded).endswith("KeyError: 'x'")
        assert [step.rung for step in guarded.state.ladder] == ["as configured"] * 2


def test_a_start_that_takes_too_long_has_failed(tmp_path: Path) -> None:
    sleep = "import sys, time; '--enforce-eager' in sys.argv or time.sleep(3600)\n" + FAKE
    argv = [sys.executable, "-c", sleep, "--port", "PORT"]
    with GuardianProcess(tmp_path, argv, environ={"ENGINE_START_TIMEOUT_S": "2"}) as guarded:
        told = fail(guarded)
        assert re.fullmatch(r"not healthy within 2 s: killed after \d+ s; next: eager", told), told
        last = guarded.state.last_exit
        assert last is not None
        assert last.reason == "not healthy within 2 s"


def test_a_rung_that_works_is_kept_until_somebody_stops_the_engine(tmp_path: Path) -> None:
    argv = program("'--enforce-eager' in argv", "KeyError: 'x'")
    pace = replace(PACE, proven_s=0.1)
    with GuardianProcess(tmp_path, [*argv, "--crash-after", "5"], pace=pace) as guarded:
        fail(guarded)
        guarded.start()
        guarded.wait_until(lambda state: state.is_proven)
        assert "next" not in fail(guarded)
        guarded.start()
        state = guarded.wait_for_phase("running")
        assert (state.rung, state.attempt, len(state.ladder)) == ("eager", 1, 1)
        guarded.terminate()
        guarded.wait()
        guarded.start()
        fail(guarded)
        assert [step.rung for step in guarded.state.ladder] == ["as configured"]


def test_engines_that_die_soon_after_they_are_ready_climb_too(tmp_path: Path) -> None:
    # Says nothing, as one that the kernel kills for its memory; dies once it is known to be ready.
    state_file = str(tmp_path / "run" / "engine.json")
    text = f"""
import os, sys, threading, time
def die():
    while '"phase":"running"' not in open({state_file!r}).read():
        time.sleep(0.02)
    os._exit(9)
if "--enforce-eager" not in sys.argv:
    threading.Thread(target=die, daemon=True).start()
{FAKE}
"""
    argv = [sys.executable, "-c", text, "--port", "PORT"]
    with GuardianProcess(tmp_path, argv) as guarded:
        ends = []
        for _ in range(3):
            ends.append(fail(guarded).partition("; ")[2])
            guarded.start()
        assert ends == ["", "", "next: eager"]
        assert guarded.wait_for_phase("running").next_rung == Rung("eager", is_eager=True)


def test_another_configuration_begins_at_the_top(tmp_path: Path) -> None:
    argv = program("False", "KeyError: 'x'")
    with GuardianProcess(tmp_path, argv) as guarded:
        fail(guarded)
        assert guarded.state.next_rung.name == "eager"
    with GuardianProcess(tmp_path, [*argv, "--new"]) as guarded:
        fail(guarded)
        assert [step.rung for step in guarded.state.ladder] == ["as configured"]
        assert "the configuration has changed: forgetting failed starts" in guarded.console
