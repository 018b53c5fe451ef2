"""Owns the question whether the model's files are all there: in a folder, or on the hub."""

from __future__ import annotations

from launcher import model_sizes as sizes
from launcher.checks.model_facts import NOT_HERE, ModelFacts
from launcher.checks.result import Result, failure, ok, skipped, warning
from launcher.errors import CannotStart
from launcher.model_folder import check_complete
from launcher.resolve import HOW_TO_FETCH
from launcher.settings import LauncherSettings

NAME = "model files"


def check(facts: ModelFacts, settings: LauncherSettings, *, is_for_track: bool) -> Result:
    """Say whether the model could be served as it is."""
    if settings.model_dir is not None and not facts.is_local:
        return failure(
            NAME, f"MODEL_DIR={settings.model_dir}: there is no such folder", "correct MODEL_DIR"
        )
    if facts.refusal and (is_for_track or not facts.is_local):
        return failure(NAME, facts.refusal, "correct MODEL_ID, or the token that may see it")
    if not facts.is_local or facts.folder is None:
        return _elsewhere(facts, settings)
    try:
        check_complete(facts.folder)
    except CannotStart as exc:
        return failure(NAME, str(exc), _how_to_mend(settings))
    told = f"complete, weights {sizes.decimal(facts.weights_bytes or 0)}"
    if settings.model_dir is not None and is_for_track:
        return warning(
            NAME,
            f"{told}, but MODEL_DIR={settings.model_dir} is a folder of this machine",
            "put the model on ModelScope and set MODEL_ID: the build has only what it fetches",
        )
    return ok(NAME, told)


def _elsewhere(facts: ModelFacts, settings: LauncherSettings) -> Result:
    if settings.model_id is None:
        return skipped(NAME, "no model is configured, or trained yet", HOW_TO_FETCH)
    if facts.lacks:
        lack = ", ".join(facts.lacks)
        return failure(NAME, f"{facts.origin} lacks {lack}", f"upload it to {settings.model_id}")
    if not facts.weights_bytes:
        return skipped(NAME, f"{NOT_HERE} ({facts.origin})")
    return ok(NAME, f"{facts.origin}: weights {sizes.decimal(facts.weights_bytes)}")


def _how_to_mend(settings: LauncherSettings) -> str:
    return "copy or train it again" if settings.model_dir is not None else HOW_TO_FETCH
