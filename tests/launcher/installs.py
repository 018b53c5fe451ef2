"""Installations of an engine, made of a few files around the Python that runs the tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.interpreters import executable

REPOSITORY = Path(__file__).resolve().parents[2]

# Knows its arguments as vLLM does, then serves as the fake engine.
SERVER = f"""
import argparse, sys
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for flag in ("--model", "--served-model-name", "--host", "--dtype", "--max-num-seqs"):
        parser.add_argument(flag)
    parser.add_argument("--port", type=int)
    parser.add_argument("--enforce-eager", action="store_true")
    parser.parse_args()
    sys.path.insert(0, {str(REPOSITORY)!r})
    from tests.fakes.engine import main
    sys.exit(main(sys.argv[1:]))
"""


def fake_vllm(folder: Path, server: str = SERVER) -> Path:
    """Return an interpreter that has a package and a distribution called vllm, version 1.2.3."""
    return fake_package(folder, "vllm", "1.2.3", {"entrypoints/openai/api_server.py": server})


def fake_package(
    folder: Path, name: str, version: str, modules: Mapping[str, str] | None = None
) -> Path:
    """Return an interpreter that has a package and a distribution of that name, and no other's.

    Called again for the same folder, it has both. `modules` are texts by their paths.
    """
    packages = folder / "lib" / "site-packages"
    own = packages / name
    own.mkdir(parents=True)
    (own / "__init__.py").touch()
    for path, text in (modules or {}).items():
        (own / path).parent.mkdir(parents=True, exist_ok=True)
        for parent in (own / path).relative_to(own).parents:
            (own / parent / "__init__.py").touch()
        (own / path).write_text(text)
    distribution = packages / f"{name}-{version}.dist-info"
    distribution.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (distribution / "METADATA").write_text(metadata)
    script = f'PYTHONPATH={packages} exec {sys.executable} "$@"'
    return executable(folder / "bin" / "python", script)
