"""Installations of an engine, made of a few files around the Python that runs the tests."""

from __future__ import annotations

import sys
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
    packages = folder / "lib" / "site-packages"
    entrypoints = packages / "vllm" / "entrypoints" / "openai"
    entrypoints.mkdir(parents=True)
    for package in (packages / "vllm", entrypoints.parent, entrypoints):
        (package / "__init__.py").touch()
    (entrypoints / "api_server.py").write_text(server)
    distribution = packages / "vllm-1.2.3.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 1.2.3\n")
    script = f'PYTHONPATH={packages} exec {sys.executable} "$@"'
    return executable(folder / "bin" / "python", script)
