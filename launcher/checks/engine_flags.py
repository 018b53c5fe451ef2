"""Owns the question which settings would have no effect on the engine, or would stop it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.accelerator import Accelerator
from launcher.checks.model_facts import local_folder
from launcher.checks.result import Result, failure, ok, skipped, warning
from launcher.engines.catalog import kind_of
from launcher.engines.kind import Place
from launcher.errors import CannotStart
from launcher.ladder import AS_CONFIGURED
from launcher.model_parts import for_engine, planned_parts
from launcher.plan import ask_flags, find_engine
from launcher.settings import LauncherSettings
from launcher.tracks import MACHINES, Track

NAME = "engine flags"
CARD_NAME = "engine on the card"


@dataclass(frozen=True)
class Engine:
    """The engine that is installed here; `why_not` says why nothing is known of its flags."""

    version: str = ""
    python: Path = Path("python")
    accelerator: Accelerator = Accelerator.CPU
    flags: frozenset[str] | None = None
    why_not: str = ""
    title: str = "vLLM"


async def ask(settings: LauncherSettings, environ: Mapping[str, str], root: Path) -> Engine:
    """Ask the installed engine; seconds the first time, then from a file."""
    try:
        kind = kind_of(settings)
        engine = await find_engine(settings, environ, root, kind)
    except CannotStart as exc:
        return Engine(why_not=str(exc))
    version = "unknown"
    if engine.installed is not None:
        version = engine.installed.version(*kind.distributions)
    flags = await ask_flags(settings, engine, kind=kind)
    why_not = ""
    if flags is None:
        why_not = f"{kind.title} {version} did not tell which arguments it knows"
    return Engine(version, engine.python, engine.accelerator, flags, why_not, kind.title)


def check(settings: LauncherSettings, engine: Engine, track: Track | None) -> Result:
    """Say what of the settings the installed engine does not know."""
    if engine.flags is None:
        return skipped(NAME, engine.why_not, "the image's engine is asked when it is built")
    which = f"{engine.title} {engine.version} here"
    if track is not None:
        which += f" (the image of {track.value} may have another)"
    unknown = sorted(set(_extra_flags(settings)) - engine.flags)
    if unknown:
        # Another engine may well know it.
        return (failure if track is None else warning)(
            NAME,
            f"{which} does not know {', '.join(unknown)} of ENGINE_EXTRA_ARGS",
            "leave it out: an unknown argument stops the engine",
        )
    dropped = _dropped(settings, engine, track)
    if dropped:
        return warning(
            NAME,
            f"{which}: no effect of {', '.join(dropped)}",
            "the launcher leaves out what the engine does not know; unset it",
        )
    return ok(NAME, f"{which} knows all that is set, of {len(engine.flags)} arguments")


def check_card(settings: LauncherSettings, track: Track | None) -> Result:
    """Say what a track's card, or the engine built for it, is known not to do."""
    if track is not Track.METAX:
        return ok(CARD_NAME, "nothing is known against these settings")
    refused = list(_refused_by_metax(settings))
    if not refused:
        return ok(CARD_NAME, f"nothing that {MACHINES[track].card} is known to refuse")
    return warning(
        CARD_NAME,
        f"{MACHINES[track].card} is known to refuse {', '.join(refused)}",
        "unset it, or see in a submission of its own that it starts",
    )


def _refused_by_metax(settings: LauncherSettings) -> Iterator[str]:
    """From the documents of vLLM-metax: no FP8 on the card; vLLM 0.10 there for the rest."""
    for name in ("vllm_kv_cache_dtype", "vllm_quantization"):
        if str(getattr(settings, name) or "").startswith("fp8"):
            yield f"{name.upper()}=fp8"
    if settings.enable_speculative_decoding and settings.spec_method == "draft_model":
        yield "SPEC_METHOD=draft_model"
    if settings.vllm_load_format == "awq":
        yield "VLLM_LOAD_FORMAT=awq"


def _dropped(settings: LauncherSettings, engine: Engine, track: Track | None) -> tuple[str, ...]:
    accelerator = engine.accelerator
    if track is not None:
        # To the command line all cards are alike; only a processor is not.
        accelerator = MACHINES[track].accelerator
    kind = kind_of(settings)
    parts, model = planned_parts(settings), local_folder(settings)
    if kind.has_parts:
        parts = for_engine(parts, settings, engine.version, model)
    place = Place(engine.python, model, accelerator, engine.flags)
    return kind.argv(settings, place, AS_CONFIGURED, parts).dropped


def _extra_flags(settings: LauncherSettings) -> Iterator[str]:
    for word in shlex.split(settings.engine_extra_args):
        if word.startswith("--") and len(word) > 2:
            name = word.partition("=")[0]
            yield name.partition(".")[0].replace("_", "-")  # --config.key sets a part of --config
