"""Owns the question which hardware is here, answered from device files and the vendors' tools.

It imports nothing that talks to a driver: a second process on a MetaX card may be refused.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import anyio

log = logging.getLogger(__name__)

# Where drivers put their tool when it is not on PATH, as in the vendors' images.
_TOOL_FOLDERS = "/opt/mxdriver/bin:/opt/maca/bin:/usr/local/sbin"
# The tools answer within a second; a driver that hangs must not hold up the start.
TOOL_TIMEOUT_S = 10.0


class Accelerator(str, Enum):
    """The kinds of hardware that an engine is chosen and configured for."""

    METAX = "MetaX"
    NVIDIA = "NVIDIA"
    ASCEND = "Ascend"
    MOORE_THREADS = "Moore Threads"
    CPU = "CPU"


NO_BFLOAT16 = "no bfloat16"

# MetaX first: its cards show up as CUDA devices to everything else.
_DEVICE_FILES = (
    (Accelerator.METAX, "mxcd"),
    (Accelerator.NVIDIA, "nvidia[0-9]*"),
    (Accelerator.NVIDIA, "nvidiactl"),
    (Accelerator.ASCEND, "davinci[0-9]*"),
    (Accelerator.MOORE_THREADS, "mtgpu*"),
)


@dataclass(frozen=True)
class _Tool:
    argv: tuple[str, ...]
    # Finds the name of one device per match.
    device: re.Pattern[str]


_TOOLS = {
    Accelerator.METAX: _Tool(("mx-smi", "-L"), re.compile(r"GPU\s*#?\d+:?\s+(\S[^\n(]*?)\s{2,}")),
    Accelerator.NVIDIA: _Tool(
        ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        re.compile(r"^(\S.*?)\s*$", re.MULTILINE),
    ),
    Accelerator.ASCEND: _Tool(
        ("npu-smi", "info"),
        re.compile(r"^\|\s*\d+\s+(\w+)\s*\|\s*(?:OK|Warning|Alarm|Critical)\b", re.MULTILINE),
    ),
}


def detect(root: Path = Path("/")) -> Accelerator:
    """Tell the hardware from the device files below `root`."""
    for accelerator, pattern in _DEVICE_FILES:
        if any((root / "dev").glob(pattern)):
            return accelerator
    return Accelerator.CPU


def tool_of(accelerator: Accelerator) -> str | None:
    """Return the vendor's program that names the cards; None when none is known."""
    tool = _TOOLS.get(accelerator)
    return None if tool is None else tool.argv[0]


async def describe(
    accelerator: Accelerator, search_path: str | None = None, root: Path = Path("/")
) -> str:
    """Name and count the devices on one line, as far as the vendor's tool tells.

    `search_path` is a PATH; unset, the process's own and the folders of known drivers.
    """
    if accelerator is Accelerator.CPU:
        lacking = "" if has_bfloat16(_cpuinfo(root)) else f", {NO_BFLOAT16}"
        return f"CPU ({len(os.sched_getaffinity(0))} cores{lacking})"
    tool = _TOOLS.get(accelerator)
    names = [] if tool is None else await _device_names(tool, search_path)
    if not names:
        return str(accelerator.value)
    counts = {name: names.count(name) for name in names}
    return f"{accelerator.value} ({', '.join(f'{n} x {name}' for name, n in counts.items())})"


def has_bfloat16(cpuinfo: str) -> bool:
    """Tell from /proc/cpuinfo whether the processor computes in bfloat16; unsure is yes."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is None or not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags[1].split())


def _cpuinfo(root: Path) -> str:
    try:
        return (root / "proc" / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


async def _device_names(tool: _Tool, search_path: str | None) -> list[str]:
    known = f"{os.environ.get('PATH', os.defpath)}:{_TOOL_FOLDERS}"
    program = shutil.which(tool.argv[0], path=known if search_path is None else search_path)
    if program is None:
        return []
    try:
        with anyio.fail_after(TOOL_TIMEOUT_S):
            done = await anyio.run_process(
                [program, *tool.argv[1:]], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
            )
    except (OSError, TimeoutError, subprocess.CalledProcessError) as exc:
        log.warning("%s gave no answer: %s", tool.argv[0], exc or type(exc).__name__)
        return []
    return [match[1] for match in tool.device.finditer(done.stdout.decode(errors="replace"))]
