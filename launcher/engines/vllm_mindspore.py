"""Owns the command line of vllm-mindspore: vLLM's own arguments behind a command of its own.

Checked against vllm-mindspore's source (vllm_mindspore/scripts.py and entrypoints/__main__.py); not
run here, for want of an Ascend card.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launcher.engines import vllm
from launcher.engines.base import Argv
from launcher.engines.kind import Place
from launcher.ladder import Rung
from launcher.model_parts import Parts
from launcher.settings import LauncherSettings

SCRIPT = "vllm-mindspore"
# What `vllm-mindspore` runs.
NEW = ("-m", "vllm_mindspore.scripts", "serve")
# It runs a copy of vLLM's module as a child that it tells nothing, and ends with 0 whatever became
# of it.
OLD = ("-m", "vllm_mindspore.entrypoints", vllm.MODULE)


def argv(settings: LauncherSettings, place: Place, rung: Rung, parts: Parts) -> Argv:
    """Return the command line, in the newer form where it is installed."""
    command = vllm.argv(settings, *place, rung, parts)
    model = str(place.model_dir)
    python, _, _, _, _, *options = command.args
    if is_old(place.python):
        return replace(command, args=(python, *OLD, "--model", model, *options))
    return replace(command, args=(python, *NEW, model, *options))


def is_old(python: Path) -> bool:
    """Whether only the older module is there, beside this interpreter."""
    return not (python.parent / SCRIPT).exists()


KIND = replace(
    vllm.KIND,
    name="vllm-mindspore",
    title="vllm-mindspore",
    package="vllm_mindspore",
    distributions=("vllm-mindspore", "vllm_mindspore"),
    argv=argv,
    # The older module cannot be asked: it hands its arguments to another process.
    flags_module="vllm_mindspore.scripts",
    flags_arguments=("serve", "model"),
    is_wrapper=is_old,
)
