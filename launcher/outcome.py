"""Owns what follows from the end of an engine that nobody asked to end: pure.

Exit code, the changes of the state, the rung of the next start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.ending import describe_exit, rejected_argument
from launcher.engines.base import EnginePlan, Symptom
from launcher.errors import CannotStart, LauncherError
from launcher.ladder import AS_CONFIGURED, MAX_STEPS, Rung, Spent, Step, climb
from launcher.settings import LauncherSettings
from launcher.state import EngineState, Exit

# An engine that dies so often soon after it was ready cannot bear its configuration.
MAX_QUICK_ENDS = 3


@dataclass(frozen=True)
class End:
    """How the engine's leader ended, and what is known of the cause."""

    returncode: int
    at: float
    symptom: Symptom | None = None
    # Why the launcher itself killed it, if it did.
    killed_because: str = ""


@dataclass(frozen=True)
class Outcome:
    """What the launcher does next: end with this code, leave this state behind."""

    exit_code: int
    last_exit: Exit
    message: str
    # Of the state, beside phase, message and last exit.
    changes: dict[str, Any]


def judge_end(
    state: EngineState, plan: EnginePlan, settings: LauncherSettings, end: End
) -> Outcome:
    """Return what follows from an end that was not asked for."""
    lived_s = end.at - (state.started_at or end.at)
    last_exit = describe_exit(end.returncode, state.log_lines, end.at, lived_s, end.killed_because)
    if (verdict := _incurable(state, end)) is not None:
        return Outcome(CannotStart.exit_code, last_exit, verdict, {})
    is_quick_end = state.ready_at is not None and not state.is_proven
    quick_ends = state.quick_ends + is_quick_end
    is_failed_start = state.ready_at is None or quick_ends >= MAX_QUICK_ENDS
    message = _describe(last_exit, end)
    if not is_failed_start:
        return Outcome(LauncherError.exit_code, last_exit, message, {"quick_ends": quick_ends})
    step = Step(state.rung, _reason(last_exit, end), end.at, round(lived_s, 1))
    changes: dict[str, Any] = {
        "quick_ends": 0,
        "ladder": (*state.ladder, step)[-MAX_STEPS:],
    }
    if settings.engine_ladder:
        used_s = end.at - (state.series_started_at or end.at)
        # An engine that was ready was so in time: no budget is left to keep.
        spent = Spent(used_s, lived_s, 0 if is_quick_end else settings.health_budget_s)
        rung = climb(state.next_rung, plan.capacity, _symptom(end), spent, was_ready=is_quick_end)
        changes["next_rung"] = rung
        message += _describe_next(state.next_rung, rung, spent)
    return Outcome(LauncherError.exit_code, last_exit, message, changes)


def tries(state: EngineState) -> int:
    """Return how many starts on the state's rung have failed, of those in a row."""
    names = [step.rung for step in state.ladder]
    return names.count(state.next_rung.name) + state.quick_ends


def _incurable(state: EngineState, end: End) -> str | None:
    """Return why no other start can do better, if that is so."""
    if state.ready_at is not None or end.killed_because:
        return None
    if state.rung != AS_CONFIGURED.name:
        return None  # it may be the rung that does not suit the engine
    rejection = rejected_argument(end.returncode, state.log_lines)
    if rejection is not None:
        return f"the engine rejects its arguments: {rejection}"
    if end.symptom is not None and end.symptom.kind == "final" and end.returncode > 0:
        return f"the engine cannot serve this model: {end.symptom.text}"
    return None


def _symptom(end: End) -> Symptom:
    if end.killed_because:
        # What the log says was not what ended it.
        return Symptom("other", end.killed_because)
    return end.symptom or Symptom("other", "")


def _describe(last_exit: Exit, end: End) -> str:
    lived = f"after {last_exit.lived_s:.0f} s"
    if end.killed_because:
        return f"{end.killed_because}: killed {lived}"
    cause = f": {end.symptom.text}" if end.symptom is not None else ""
    return f"ended by {last_exit.reason} {lived}{cause}"


def _reason(last_exit: Exit, end: End) -> str:
    if end.killed_because or end.symptom is None:
        return last_exit.reason
    return end.symptom.text


def _describe_next(current: Rung, following: Rung, spent: Spent) -> str:
    if following == current:
        return "; no other configuration is left, trying this one again"
    if not spent.is_last_chance:
        return f"; next: {following}"
    left_s = max(0.0, spent.budget_s - spent.used_s)
    return f"; next, as {left_s:.0f} s of the health budget are left: {following}"
