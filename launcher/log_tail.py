"""Owns turning an engine's raw output into lines fit for a state file: pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A progress bar without an end, or a dumped request, must not fill the state file.
MAX_LINE_CHARS = 500
_MAX_PENDING_BYTES = 64 * 1024

# Progress bars return the carriage instead of ending the line.
_LINE_END = re.compile(rb"[\r\n]+")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class LineSplitter:
    """Collects bytes and gives back whole lines, without colours, shortened, none blank."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = secrets
        self._pending = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that `chunk` completes."""
        *whole, self._pending = _LINE_END.split(self._pending + chunk)
        if len(self._pending) > _MAX_PENDING_BYTES:
            whole.append(self._pending)
            self._pending = b""
        return self._clean(whole)

    def flush(self) -> list[str]:
        """Return what came after the last line end."""
        rest, self._pending = self._pending, b""
        return self._clean([rest])

    def _clean(self, raw: list[bytes]) -> list[str]:
        lines = (_ANSI.sub("", line.decode("utf-8", "replace")).rstrip() for line in raw)
        return [self._hide(line)[:MAX_LINE_CHARS] for line in lines if line.strip()]

    def _hide(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


def redact_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """Return `argv` with API keys hidden: all values after --api-key, up to the next flag."""
    shown: list[str] = []
    is_key = False
    for arg in argv:
        if arg.startswith("-"):
            name, equals, _ = arg.partition("=")
            is_key = name.replace("_", "-") == "--api-key"
            shown.append(f"{name}=***" if is_key and equals else arg)
        else:
            shown.append("***" if is_key else arg)
    return tuple(shown)
