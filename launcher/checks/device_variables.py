"""Owns the variables that hide accelerators: a blank one hides every card, also on MetaX."""

from __future__ import annotations

import re
from collections.abc import Mapping

from launcher.checks.result import Result, ok, warning

NAME = "device variables"
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "MACA_VISIBLE_DEVICES",
    "MUSA_VISIBLE_DEVICES",
    "MTHREADS_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "ASCEND_RT_VISIBLE_DEVICES",
    "ASCEND_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
)
_BLANK_IN_DOCKERFILE = re.compile(
    rf"\b({'|'.join(VARIABLES)})(?:=(?:\"\s*\"|'\s*')?|[ \t]+(?:\"\s*\"|'\s*'))(?=\s|\\|$)",
    re.MULTILINE,
)


def check(environ: Mapping[str, str], dockerfile: str = "") -> Result:
    """Find variables that are set to nothing, here or in the Dockerfile's text."""
    blank = [f"{name} here" for name in VARIABLES if not environ.get(name, "x").strip()]
    blank += [f"{name} in the Dockerfile" for name in _blank_in(dockerfile)]
    if blank:
        return warning(
            NAME,
            f"set, but blank: {', '.join(blank)}",
            "unset it: blank, it hides every card. (The launcher leaves a blank "
            "CUDA_VISIBLE_DEVICES out for the engine; other programs see it.)",
        )
    named = [f"{name}={environ[name]}" for name in VARIABLES if name in environ]
    return ok(NAME, ", ".join(named) or "none is set")


def _blank_in(dockerfile: str) -> list[str]:
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    return _BLANK_IN_DOCKERFILE.findall("\n".join(lines))
