"""Owns what SGLang's log lines mean for a failed start, or a death: pure functions of one line.

The texts are those of SGLang 0.5.23's source.
"""

from __future__ import annotations

import re

from launcher.engines.base import Symptom
from launcher.engines.vllm_errors import MAX_TEXT_CHARS

_NO_ROOM = re.compile(r"Not enough memory\. Please try to increase --mem-fraction-static")
_CAPTURING = re.compile(r"Capture (?:\w+ )*(?:cuda|CUDA) ?graph (?:\w+ )*begin")
_CAPTURE_FAILED = re.compile(r"Capture (?:\w+ )*(?:cuda|CUDA) ?graph failed")
_MEMORY = re.compile(r"\b\w+ out of memory\b|OutOfMemoryError\b")
_UNSUPPORTED = re.compile(r"Model architectures? .{1,200} (?:are|is) not supported")
_OTHER = re.compile(r"(?:^|[\s.])[A-Z]\w*(?:Error|Exception): \S")
_DEATH = re.compile(r"Scheduler hit an exception|SIGQUIT received|Received sigquit from a child")
_PREFIX = re.compile(r"^\[\d{4}-\d\d-\d\d[^\]]*\]\s*")


def read_symptom(line: str) -> Symptom | None:
    """Return what a line of the log tells about a failure; most lines tell nothing."""
    text = _PREFIX.sub("", line).strip()[:MAX_TEXT_CHARS]
    if _NO_ROOM.search(line):
        return Symptom("memory", text, memory_share=0.95)
    if _CAPTURE_FAILED.search(line):
        return Symptom("graphs", text)
    if _CAPTURING.search(line):
        return Symptom("capturing", "")
    if _MEMORY.search(line):
        return Symptom("graphs", text)
    if _UNSUPPORTED.search(line):
        return Symptom("final", text)
    return Symptom("other", text) if _OTHER.search(line) else None


def tells_death(line: str) -> bool:
    """Tell whether a line says that the scheduler is dead, whatever its HTTP server still does."""
    return _DEATH.search(line) is not None
