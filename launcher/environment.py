"""Owns the environment that the engine is started with: ours, cleaned and completed.

Names were checked against vLLM 0.32's envs.py; it warns of every VLLM_* name it does not know.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.accelerator import Accelerator
from launcher.settings import LauncherSettings, secret_names

# The engine closes an idle connection this much later than the gateway stops using it.
KEEPALIVE_MARGIN_S = 10
KV_CACHE_NAME = "VLLM_CPU_KVCACHE_SPACE"
# Keeps vLLM's worker in the engine's own process. On a CPU it has another one otherwise, and two
# queues to it in shared memory, of 160 and 240 MiB.
ONE_PROCESS_NAME = "VLLM_ENABLE_V1_MULTIPROCESSING"
_QUEUES_BYTES = 400 * 2**20
# Its name: an engine that is a script must do without it, or lacks the modules beside it.
SAFE_PATH_NAME = "PYTHONSAFEPATH"

_ALWAYS = {
    # The run has no network: a look-up would only wait for its timeout.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    # Log lines reach the guardian as they are written.
    "PYTHONUNBUFFERED": "1",
    # `python -m` would put the working folder, with our packages, before the engine's (3.11 on).
    SAFE_PATH_NAME: "1",
}
# What makes an interpreter take another one's packages for its own.
_OF_OUR_INTERPRETER = ("PYTHONHOME", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__")


def engine_environment(
    os_environ: Mapping[str, str],
    settings: LauncherSettings,
    accelerator: Accelerator,
    engine_python: Path,
    own_prefix: Path = Path(sys.prefix),
) -> dict[str, str]:
    """Return the engine's environment; `own_prefix` is the virtual environment to keep out."""
    ours = _ours()
    env = {key: value for key, value in os_environ.items() if key.upper() not in ours}
    if not env.get("CUDA_VISIBLE_DEVICES", "x").strip():
        del env["CUDA_VISIBLE_DEVICES"]  # blank, it hides every card, also on MetaX
    # Many images set it; an engine that has to compile what it imports is back after a crash
    # half a minute later.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env.update(_ALWAYS)
    env.update(_paths(os_environ, engine_python, own_prefix))
    env["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] = str(
        math.ceil(settings.engine_keepalive_s) + KEEPALIVE_MARGIN_S
    )
    if accelerator in (Accelerator.NVIDIA, Accelerator.CPU):
        # A vendor's plugin that is installed here too would take over the platform.
        env.setdefault("VLLM_PLUGINS", "")
    if accelerator is Accelerator.CPU:
        env.setdefault(KV_CACHE_NAME, str(settings.cpu_kv_cache_gib))
        if not holds_queues(free_shared_memory()):
            env.setdefault(ONE_PROCESS_NAME, "0")
    if settings.engine_api_key is not None:
        env["VLLM_API_KEY"] = settings.engine_api_key.get_secret_value()
    return env


def free_shared_memory(folder: Path = Path("/dev/shm")) -> int | None:
    """Return the free bytes of shared memory; None where there is no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def holds_queues(shared_memory_bytes: int | None) -> bool:
    """Whether vLLM on a CPU can have its queues; a container has 64 MiB unless told otherwise."""
    return shared_memory_bytes is None or shared_memory_bytes >= _QUEUES_BYTES


def _ours() -> frozenset[str]:
    """Names that are the launcher's: settings named like vLLM's variables, and secrets."""
    named_like_vllm = {name for name in LauncherSettings.model_fields if name.startswith("vllm_")}
    names = {name.upper() for name in named_like_vllm | secret_names()}
    return frozenset(names | {"PYTHONPATH", *_OF_OUR_INTERPRETER})


def _paths(
    os_environ: Mapping[str, str], engine_python: Path, own_prefix: Path
) -> Mapping[str, str]:
    """PATH and PYTHONPATH without our virtual environment; a vendor's entries stay.

    Ascend's toolkit is found through PYTHONPATH; vLLM's JIT compilers look for `ninja` on PATH.
    """
    path = _without(os_environ.get("PATH", os.defpath), own_prefix)
    python_path = _without(os_environ.get("PYTHONPATH", ""), own_prefix)
    paths = {"PATH": os.pathsep.join([str(engine_python.parent), *path])}
    if python_path:
        paths["PYTHONPATH"] = os.pathsep.join(python_path)
    return paths


def _without(paths: str, prefix: Path) -> list[str]:
    entries = [entry for entry in paths.split(os.pathsep) if entry]
    return [entry for entry in entries if not Path(entry).is_relative_to(prefix)]
