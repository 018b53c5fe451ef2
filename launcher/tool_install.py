"""Owns the environments of evaluation tools whose packages would fight with others.

`python -m launcher.tool_install aisbench | evalscope | lm-eval` makes `.venv-NAME`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.engine_install import choose_torch, exact_torch
from launcher.errors import CannotStart
from launcher.pythons import Version, find_pythons
from launcher.virtualenv import Recipe, cache_folder, ensure, exit_code_of, is_built

REPOSITORY = Path(__file__).absolute().parent.parent
# For which their packages, or what those pin, have wheels.
SUPPORTED: dict[str, tuple[Version, ...]] = {
    "aisbench": ((3, 10), (3, 11), (3, 12)),  # numpy under 2 ends with 3.12
    "evalscope": ((3, 10), (3, 11), (3, 12), (3, 13)),
    "lm-eval": ((3, 10), (3, 11), (3, 12), (3, 13)),
}


def install(name: str, pythons: Sequence[Path], repository: Path, cache: Path) -> None:
    """Make the environment of a tool; raises CannotStart without a Python for it."""
    if not pythons:
        versions = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED[name])
        raise CannotStart(f"no Python for {name}: it needs one of {versions} on PATH")
    link, file = repository / f".venv-{name}", repository / "requirements" / f"{name}.txt"
    torch = exact_torch(file.read_text())
    if torch is None:
        ensure(link, Recipe(pythons[0], (file,)), cache)
        return
    found = [Recipe(python, (file,)) for python in pythons]
    recipe = next((each for each in found if is_built(link, each, cache)), None)
    if recipe is None:
        python, pip_arguments = choose_torch(pythons, torch)
        recipe = Recipe(python, (file,), pip_arguments)
    ensure(link, recipe, cache)


def main(arguments: Sequence[str]) -> int:
    """Make one environment; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in SUPPORTED:
        print(f"usage: python -m launcher.tool_install {' | '.join(SUPPORTED)}", file=sys.stderr)
        return 2
    name = arguments[0]
    pythons = find_pythons(SUPPORTED[name])
    return exit_code_of(lambda: install(name, pythons, REPOSITORY, cache_folder()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
