"""A stand-in for the engine's interpreter: the launcher asks and starts it as it does vLLM's.

It tells that it has vLLM, which arguments that knows, and runs the fake engine as the server.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from launcher.engines import vllm
from tests.fakes.interpreters import executable

REPOSITORY = Path(__file__).absolute().parents[2]
_INSTALLED = {
    "packages": ["vllm"],
    "versions": {"vllm": "0.0.fake"},
    "mtimes": [],
    "python": "fake",
}
_FLAGS = sorted({*vllm.STABLE_FLAGS, "--port", "--model"})


def engine_python(path: Path, *arguments: str) -> Path:
    """Write the interpreter; the fake engine gets `arguments` beside those of the launcher."""
    own = " ".join(f"'{argument}'" for argument in arguments)
    fake = f'"{sys.executable}" -m tests.fakes.engine'
    return executable(
        path,
        f"""\
case "$1 $2" in
"-c "*EVALGATE-INSTALLED*) echo 'EVALGATE-INSTALLED {json.dumps(_INSTALLED)}' ;;
"-c "*EVALGATE-FLAGS*) echo 'EVALGATE-FLAGS {json.dumps(_FLAGS)}' ;;
"-m {vllm.MODULE}") shift 2 && PYTHONPATH="{REPOSITORY}" exec {fake} {own} "$@" ;;
*) echo "unexpected: $*" >&2 && exit 9 ;;
esac""",
    )
