"""Owns turning settings into a plan of one engine start, by asking this machine what it has."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import accelerator as hardware
from launcher.accelerator import Accelerator
from launcher.defaults import with_defaults
from launcher.engines import vllm
from launcher.engines.base import Argv, Capacity, EnginePlan
from launcher.engines.vllm_errors import read_symptom, tells_death
from launcher.engines.vllm_metrics import METRICS_PATH, read_counters
from launcher.environment import KV_CACHE_NAME, engine_environment
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
    settings: LauncherSettings, environ: Mapping[str, str], root: Path = Path("/")
) -> EngineInstallation:
    """Find the hardware and the interpreter; raises CannotStart when there is no engine."""
    accelerator = hardware.detect(root)
    python = await find_engine_python(settings.engine_python)
    env = engine_environment(environ, settings, accelerator, python)
    installed = await inspect(python, env)
    if installed is not None and not installed.has_vllm:
        raise CannotStart(f"ENGINE_PYTHON={python} has no vLLM")
    return EngineInstallation(python, accelerator, env, installed)


async def ask_flags(
    settings: LauncherSettings, engine: EngineInstallation, *, refresh: bool = False
) -> frozenset[str] | None:
    """Return the arguments that the engine knows; None when it does not tell."""
    if engine.installed is None:
        log.warning("%s does not tell what it has installed", engine.python)
        return None
    return await known_flags(
        engine.python,
        vllm.MODULE,
        environ=engine.env,
        cache_dir=settings.cache_dir,
        fingerprint=engine.installed.fingerprint,
        refresh=refresh,
    )


async def plan_engine(
    settings: LauncherSettings,
    environ: Mapping[str, str],
    root: Path = Path("/"),
    rung: Rung = AS_CONFIGURED,
) -> EnginePlan:
    """Return the plan for the engine on one rung; offline. Raises CannotStart."""
    model_dir = resolve_model_dir(settings)
    parts = resolve_parts(settings, f"; {HOW_TO_FETCH}")
    if not has_chat_template(model_dir):
        log.warning("the model has no chat template; vLLM answers chat completions only with one")
    engine = await find_engine(settings, environ, root)
    flags = await ask_flags(settings, engine)
    version = engine.installed.vllm_version if engine.installed is not None else ""
    parts = for_engine(parts, settings, version, model_dir)
    place = (engine.python, model_dir, engine.accelerator, flags)
    devices = await hardware.describe(engine.accelerator)
    settings = with_defaults(settings, engine.accelerator, devices)
    command = vllm.argv(settings, *place, rung, _on_rung(parts, rung))
    if command.dropped:
        log.warning("no effect on this engine: %s", ", ".join(command.dropped))
    model = settings.model_id if settings.model_dir is None else None
    asked_for = vllm.argv(settings, *place, parts=parts)
    env = _environment(engine, rung)
    return EnginePlan(
        title=f"{f'vLLM {version}'.strip()} on {devices} with model {model or model_dir.name}",
        argv=command.args,
        env=env,
        base_url=settings.engine_url,
        health_path=vllm.HEALTH_PATH,
        dropped=command.dropped,
        accelerator=devices,
        versions=engine.installed.versions if engine.installed is not None else {},
        model_dir=str(model_dir),
        rung=rung.name,
        configuration=_digest(asked_for.args, engine),
        capacity=_capacity(command, env, model_dir, flags),
        metrics_path=METRICS_PATH,
        read_counters=read_counters,
        is_on_cpu=engine.accelerator is Accelerator.CPU,
        canary=vllm.canary(settings),
        read_symptom=read_symptom,
        tells_death=tells_death,
    )


def _on_rung(parts: Parts, rung: Rung) -> Parts:
    """After a failure of no known cause, or for want of memory, guesses are the first to go."""
    if parts.is_speculating and rung.is_eager:
        return parts.without_speculation(f"left out on the rung {rung.name}")
    return parts


def _environment(engine: EngineInstallation, rung: Rung) -> Mapping[str, str]:
    if rung.cpu_kv_cache_gib is None:
        return engine.env
    return {**engine.env, KV_CACHE_NAME: str(rung.cpu_kv_cache_gib)}


def _capacity(
    command: Argv, env: Mapping[str, str], model_dir: Path, flags: frozenset[str] | None
) -> Capacity:
    told = vllm.capacity(command.args, flags)
    kv_cache_gib = env.get(KV_CACHE_NAME, "")
    return replace(
        told,
        max_model_len=told.max_model_len or context_len(model_dir),
        cpu_kv_cache_gib=int(kv_cache_gib) if kv_cache_gib.isdigit() else None,
    )


def _digest(args: Sequence[str], engine: EngineInstallation) -> str:
    """Tell one configuration from another: settings, model and engine."""
    own = sorted((name, value) for name, value in engine.env.items() if name.startswith("VLLM_"))
    fingerprint = engine.installed.fingerprint if engine.installed is not None else ""
    return hashlib.sha256(json.dumps([args, own, fingerprint]).encode()).hexdigest()[:16]
