"""Owns turning settings into a plan of one engine start, by asking this machine what it has."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import accelerator as hardware
from launcher.accelerator import Accelerator
from launcher.defaults import with_defaults
from launcher.engines import transformers
from launcher.engines.base import Argv, Capacity, EnginePlan
from launcher.engines.catalog import kind_of
from launcher.engines.kind import EngineKind, Place
from launcher.environment import KV_CACHE_NAME, SAFE_PATH_NAME, engine_environment
from launcher.errors import CannotStart
from launcher.flags import known_flags
from launcher.interpreter import Installed, find_engine_python, inspect
from launcher.ladder import AS_CONFIGURED, Rung
from launcher.model_folder import context_len, has_chat_template
from launcher.model_parts import Parts, for_engine, resolve_parts
from launcher.resolve import HOW_TO_FETCH, resolve_model_dir
from launcher.settings import LauncherSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineInstallation:
    """The engine's interpreter on this machine, and what is known of it."""

    python: Path
    accelerator: Accelerator
    env: Mapping[str, str]
    installed: Installed | None


async def find_engine(
    settings: LauncherSettings,
    environ: Mapping[str, str],
    root: Path = Path("/"),
    kind: EngineKind | None = None,
) -> EngineInstallation:
    """Find the hardware and the interpreter; raises CannotStart when there is no engine."""
    kind = kind or kind_of(settings)
    accelerator = hardware.detect(root)
    python = await _find_python(settings, kind)
    env = engine_environment(environ, settings, accelerator, python)
    installed = await inspect(python, env) if kind.package else None
    if installed is not None and kind.package not in installed.packages:
        raise CannotStart(f"ENGINE_PYTHON={python} has no {kind.title}")
    return EngineInstallation(python, accelerator, env, installed)


async def _find_python(settings: LauncherSettings, kind: EngineKind) -> Path:
    if not kind.package:
        return settings.engine_python or Path(sys.executable)
    return await find_engine_python(settings.engine_python, package=kind.package, title=kind.title)


async def ask_flags(
    settings: LauncherSettings,
    engine: EngineInstallation,
    *,
    kind: EngineKind | None = None,
    refresh: bool = False,
) -> frozenset[str] | None:
    """Return the arguments that the engine knows; None when it does not tell, or is not asked."""
    kind = kind or kind_of(settings)
    if not kind.flags_module or kind.is_wrapper(engine.python):
        return None
    if engine.installed is None:
        log.warning("%s does not tell what it has installed", engine.python)
        return None
    return await known_flags(
        engine.python,
        kind.flags_module,
        arguments=kind.flags_arguments,
        environ=engine.env,
        cache_dir=settings.cache_dir,
        fingerprint=engine.installed.fingerprint + ("" if kind.name == "vllm" else f"-{kind.name}"),
        refresh=refresh,
    )


async def plan_engine(
    settings: LauncherSettings,
    environ: Mapping[str, str],
    root: Path = Path("/"),
    rung: Rung = AS_CONFIGURED,
) -> EnginePlan:
    """Return the plan for the engine on one rung; offline. Raises CannotStart."""
    asked_kind, kind = kind_of(settings), kind_of(settings, rung)
    model_dir = _model_dir(settings, asked_kind)
    parts = _parts(settings, asked_kind)
    if not asked_kind.has_own_models and not has_chat_template(model_dir):
        log.warning("the model has no chat template; %s answers chats only with one", kind.title)
    engine = await find_engine(settings, environ, root, asked_kind)
    flags = await ask_flags(settings, engine, kind=asked_kind)
    if asked_kind.has_parts:
        version = _version(engine, asked_kind)
        parts = for_engine(parts, settings, version, model_dir)
    place = Place(engine.python, model_dir, engine.accelerator, flags)
    devices = await hardware.describe(engine.accelerator)
    asked = settings
    if asked_kind.has_parts:  # the table's values are vLLM's
        asked = with_defaults(settings, engine.accelerator, devices)
    mine = asked if kind is asked_kind else settings
    command = kind.argv(mine, place, rung, _on_rung(parts, rung))
    if command.dropped:
        log.warning("no effect on this engine: %s", ", ".join(command.dropped))
    model = settings.model_id if settings.model_dir is None else None
    asked_for = asked_kind.argv(asked, place, AS_CONFIGURED, parts)
    env = {**kind.environment(settings), **_environment(engine, kind, rung)}
    title = f"{kind.title} {_version(engine, kind)}".strip()
    return EnginePlan(
        title=f"{title} on {devices} with model {model or model_dir.name}",
        engine=kind.name,
        argv=command.args,
        env=env,
        base_url=settings.engine_url,
        health_path=settings.engine_health_path or kind.health_path,
        working_dir=kind.working_dir(settings, model_dir),
        is_wrapper=kind.is_wrapper(engine.python),
        is_health_proof=kind.is_health_proof,
        dropped=command.dropped,
        accelerator=devices,
        versions=engine.installed.versions if engine.installed is not None else {},
        model_dir=str(model_dir),
        rung=rung.name,
        configuration=_digest(asked_for.args, engine),
        capacity=_capacity(kind, command, env, place, _has_fallback(engine, asked_kind, parts)),
        metrics_path=kind.metrics_path,
        read_counters=kind.read_counters,
        is_on_cpu=engine.accelerator is Accelerator.CPU,
        canary=kind.canary(settings),
        read_symptom=kind.read_symptom,
        tells_death=kind.tells_death,
    )


def _model_dir(settings: LauncherSettings, kind: EngineKind) -> Path:
    """Return the model's folder; of an engine with models of its own, that of its tokenizer."""
    names_one = settings.model_dir is not None or settings.model_id is not None
    if kind.has_own_models and not names_one and settings.triton_model_repository is not None:
        return settings.triton_model_repository.absolute()
    return resolve_model_dir(settings)


def _parts(settings: LauncherSettings, kind: EngineKind) -> Parts:
    """Return what is served with the model; raises CannotStart for an adapter that would not be."""
    if kind.has_own_models:
        return Parts()
    parts = resolve_parts(settings, f"; {HOW_TO_FETCH}")
    if parts.adapter is not None and not kind.has_parts:
        raise CannotStart(
            f"ENGINE={kind.name} serves no LoRA adapter from here: merge it into the model, "
            "or use ENGINE=vllm"
        )
    if parts.is_speculating and not (kind.has_parts or kind.can_speculate):
        return parts.without_speculation(f"{kind.title} does not")
    return parts


def _version(engine: EngineInstallation, kind: EngineKind) -> str:
    return engine.installed.version(*kind.distributions) if engine.installed is not None else ""


def _has_fallback(engine: EngineInstallation, kind: EngineKind, parts: Parts) -> bool:
    """Whether `transformers serve` can answer in this engine's place."""
    if engine.installed is None or kind is transformers.KIND or kind.has_own_models:
        return False
    is_there = transformers.is_ready_to_serve(engine.installed.packages, engine.installed.versions)
    return is_there and parts.adapter is None  # it would answer as the bare model


def _on_rung(parts: Parts, rung: Rung) -> Parts:
    """After a failure of no known cause, or for want of memory, guesses are the first to go."""
    if parts.is_speculating and (rung.is_eager or rung.engine):
        return parts.without_speculation(f"left out on the rung {rung.name}")
    return parts


def _environment(engine: EngineInstallation, kind: EngineKind, rung: Rung) -> Mapping[str, str]:
    env = dict(engine.env)
    if kind.is_script:
        env.pop(SAFE_PATH_NAME, None)
    if rung.cpu_kv_cache_gib is not None:
        env[KV_CACHE_NAME] = str(rung.cpu_kv_cache_gib)
    return env


def _capacity(
    kind: EngineKind, command: Argv, env: Mapping[str, str], place: Place, has_fallback: bool
) -> Capacity:
    told = kind.capacity(command.args, place.known_flags)
    kv_cache_gib = env.get(KV_CACHE_NAME, "")
    return replace(
        told,
        max_model_len=told.max_model_len or context_len(place.model_dir),
        cpu_kv_cache_gib=int(kv_cache_gib) if kv_cache_gib.isdigit() else None,
        has_fallback=has_fallback,
    )


def _digest(args: Sequence[str], engine: EngineInstallation) -> str:
    """Tell one configuration from another: settings, model and engine."""
    own = sorted(
        (name, value)
        for name, value in engine.env.items()
        if name.startswith(("VLLM_", "FT_", "SGLANG_"))
    )
    fingerprint = engine.installed.fingerprint if engine.installed is not None else ""
    return hashlib.sha256(json.dumps([args, own, fingerprint]).encode()).hexdigest()[:16]
