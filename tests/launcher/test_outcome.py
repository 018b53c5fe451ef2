"""What follows from an engine's end."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from launcher.engines.base import Capacity, EnginePlan, Symptom
from launcher.ladder import AS_CONFIGURED, Rung, Step
from launcher.outcome import MAX_QUICK_ENDS, End, Outcome, judge_end, tries
from launcher.settings import LauncherSettings
from launcher.state import EngineState

PLAN = EnginePlan("", (), {}, "", "", capacity=Capacity(max_model_len=8192, has_transformers=True))
STARTING = EngineState(phase="starting", started_at=100.0, series_started_at=95.0)
READY = msgspec.structs.replace(STARTING, phase="running", ready_at=110.0)
PROVEN = msgspec.structs.replace(READY, is_proven=True)
FINAL = Symptom("final", "Unknown quantization method: foo")
KEY = Symptom("other", "KeyError: 'x'")


def outcome(
    state: EngineState,
    symptom: Symptom | None = None,
    *,
    returncode: int = 1,
    killed_because: str = "",
    **settings: object,
) -> Outcome:
    end = End(returncode, 112.0, symptom, killed_because)
    return judge_end(state, PLAN, LauncherSettings.model_validate(settings), end)


def test_a_failed_start_is_noted_and_followed_by_the_next_rung() -> None:
    result = outcome(STARTING, KEY)
    assert result.exit_code == 1
    assert result.message == "ended by exit code 1 after 12 s: KeyError: 'x'; next: eager"
    assert result.changes == {
        "quick_ends": 0,
        "ladder": (Step("as configured", "KeyError: 'x'", 112.0, 12.0),),
        "next_rung": Rung("eager", is_eager=True),
    }


def test_without_a_ladder_failures_are_counted_only() -> None:
    result = outcome(STARTING, KEY, engine_ladder=False)
    assert result.message == "ended by exit code 1 after 12 s: KeyError: 'x'"
    assert "next_rung" not in result.changes
    assert len(result.changes["ladder"]) == 1


def test_a_death_without_words_climbs_too() -> None:
    result = outcome(STARTING, returncode=-11)
    assert result.message == "ended by signal 11 (SIGSEGV) after 12 s; next: eager"
    assert result.changes["ladder"][0].reason == "signal 11 (SIGSEGV)"


def test_little_time_left_is_told() -> None:
    result = outcome(STARTING, KEY, health_budget_s=30)
    told = "; next, as 13 s of the health budget are left: smaller (eager, context 4096, "
    assert told in result.message


def test_a_start_that_took_too_long_climbs_whatever_its_log_said() -> None:
    context = Symptom("context", "words", max_model_len=16)
    result = outcome(STARTING, context, returncode=-9, killed_because="not healthy within 9 s")
    assert result.message == "not healthy within 9 s: killed after 12 s; next: eager"
    assert result.last_exit.reason == "not healthy within 9 s"


def test_the_last_rung_is_tried_again() -> None:
    last = Rung("transformers", True, 4096, 64, is_transformers=True)
    state = msgspec.structs.replace(STARTING, rung=last.name, next_rung=last)
    result = outcome(state, KEY)
    assert result.message.endswith("; no other configuration is left, trying this one again")
    assert result.changes["next_rung"] == last


def test_what_nothing_cures_ends_the_tries() -> None:
    result = outcome(STARTING, FINAL)
    assert (result.exit_code, result.changes) == (3, {})
    assert result.message == (
        "the engine cannot serve this model: Unknown quantization method: foo"
    )


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (STARTING, {"returncode": 0}),
        (STARTING, {"returncode": -9}),
        (STARTING, {"killed_because": "not healthy within 9 s"}),
        (READY, {}),
        (msgspec.structs.replace(STARTING, rung="eager", next_rung=Rung("eager", True)), {}),
    ],
)
def test_only_the_configuration_that_was_asked_for_is_called_incurable(
    state: EngineState, end: dict[str, object]
) -> None:
    assert outcome(state, FINAL, **end).exit_code == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(("rung", "exit_code"), [("as configured", 3), ("transformers", 1)])
def test_a_rejected_argument_ends_the_tries_unless_it_is_ours(rung: str, exit_code: int) -> None:
    lines = ("server: error: unrecognized arguments: --nope",)
    state = msgspec.structs.replace(STARTING, rung=rung, next_rung=Rung(rung), log_lines=lines)
    assert outcome(state, returncode=2).exit_code == exit_code


def test_an_engine_that_has_proved_itself_is_started_again_as_it_was() -> None:
    result = outcome(PROVEN, KEY)
    assert (result.exit_code, result.changes) == (1, {"quick_ends": 0})
    assert result.message == "ended by exit code 1 after 12 s: KeyError: 'x'"


def test_several_deaths_soon_after_readiness_climb() -> None:
    state, changes = READY, []
    for _ in range(MAX_QUICK_ENDS):
        result = outcome(state, killed_because="hung: 1 request in flight", returncode=-9)
        state = msgspec.structs.replace(state, **result.changes)
        changes.append(sorted(result.changes))
    assert changes[:-1] == [["quick_ends"]] * (MAX_QUICK_ENDS - 1)
    assert (state.next_rung.name, state.quick_ends) == ("eager", 0)


def test_no_health_budget_hurries_an_engine_that_was_ready() -> None:
    """Hours after its start the first step was another engine."""
    state = msgspec.structs.replace(READY, quick_ends=MAX_QUICK_ENDS - 1, series_started_at=-9999.0)
    result = outcome(state, KEY)
    assert result.changes["next_rung"].name == "eager"
    assert result.message.endswith("; next: eager")


def test_the_history_stays_short() -> None:
    steps = tuple(Step("eager", "words", float(number), 1.0) for number in range(20))
    result = outcome(msgspec.structs.replace(STARTING, ladder=steps), KEY)
    assert len(result.changes["ladder"]) == 20
    assert result.changes["ladder"][-1].reason == "KeyError: 'x'"


def test_failures_are_counted_by_rung() -> None:
    steps = tuple(Step(name, "", 0.0, 1.0) for name in ("as configured", "eager", "eager"))
    state = msgspec.structs.replace(READY, ladder=steps, next_rung=Rung("eager"))
    assert tries(state) == 2
    assert tries(msgspec.structs.replace(state, next_rung=AS_CONFIGURED, quick_ends=2)) == 3
    assert tries(msgspec.structs.replace(state, next_rung=Rung("smaller"))) == 0


def test_a_capacity_says_whether_transformers_can_be_tried() -> None:
    last = Rung("smaller", True, 4096, 64)
    state = msgspec.structs.replace(STARTING, rung="smaller", next_rung=last)
    bare = replace(PLAN, capacity=replace(PLAN.capacity, has_transformers=False, is_eager=True))
    result = judge_end(state, bare, LauncherSettings(), End(1, 112.0, KEY))
    assert result.changes["next_rung"] == last
