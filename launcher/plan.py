"""Owns turning settings into a plan of one engine start, by asking this machine what it has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher import accelerator as hardware
from launcher.accelerator import Accelerator
from launcher.engines import vllm
from launcher.engines.base import EnginePlan
from launcher.environment import engine_environment
from launcher.errors import CannotStart
from launcher.flags import known_flags
from launcher.interpreter import Installed, find_engine_python, inspect
from launcher.model_folder import has_chat_template
from launcher.resolve import resolve_model_dir
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
    settings: LauncherSettings, environ: Mapping[str, str], root: Path = Path("/")
) -> EnginePlan:
    """Return the plan for the engine as configured; offline. Raises CannotStart."""
    model_dir = resolve_model_dir(settings)
    if not has_chat_template(model_dir):
        log.warning("the model has no chat template; vLLM answers chat completions only with one")
    engine = await find_engine(settings, environ, root)
    flags = await ask_flags(settings, engine)
    command = vllm.argv(settings, engine.python, model_dir, engine.accelerator, flags)
    if command.dropped:
        log.warning("no effect on this engine: %s", ", ".join(command.dropped))
    devices = await hardware.describe(engine.accelerator)
    version = engine.installed.vllm_version if engine.installed is not None else ""
    model = settings.model_id if settings.model_dir is None else None
    return EnginePlan(
        title=f"{f'vLLM {version}'.strip()} on {devices} with model {model or model_dir.name}",
        argv=command.args,
        env=engine.env,
        base_url=settings.engine_url,
        health_path=vllm.HEALTH_PATH,
        dropped=command.dropped,
        accelerator=devices,
        versions=engine.installed.versions if engine.installed is not None else {},
        model_dir=str(model_dir),
    )
