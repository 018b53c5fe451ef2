"""Owns the form of the log lines and where they go.

Everything goes to standard output (under supervisord a file that rotates); the few lines of the
life cycle go to standard error as well, which is the console that a person watches.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

LIFECYCLE = "gateway.lifecycle"


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a record carries as `fields` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class PlainFormatter(logging.Formatter):
    """`time LEVEL message key=value …`, times in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message with the record's `fields` behind it."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        tail = "".join(
            f" {key}={value!r}" if _needs_quotes(value) else f" {key}={value}"
            for key, value in fields.items()
        )
        return super().formatMessage(record) + tail


def _needs_quotes(value: object) -> bool:
    """Tell whether a value as it is would look like several, or break the line."""
    return isinstance(value, str) and (" " in value or not value or not value.isprintable())


def set_up(level: str, form: str) -> None:
    """Point the root logger at standard output and the life cycle also at standard error."""
    everything = logging.StreamHandler(sys.stdout)
    everything.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [everything]
    root.setLevel(level.upper())
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("gateway: %(message)s"))
    logging.getLogger(LIFECYCLE).handlers[:] = [console]
    # One line per request would be one too many: `/` is asked twice a second.
    logging.getLogger("uvicorn.access").disabled = True
