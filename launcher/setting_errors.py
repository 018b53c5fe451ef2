"""Owns the words for a bad setting: key, value, rule, on one line. It reads no setting."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

# Pydantic's own words are for programmers; these are for whoever set the variable.
_RULES = {
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}


def splittable(text: str) -> str:
    """Return `text` if a shell could split it into arguments; raises ValueError."""
    try:
        shlex.split(text)
    except ValueError as exc:
        raise ValueError(f"must be arguments as a shell would read them: {exc}") from exc
    return text


def connectable(url: str) -> str:
    """Return `url` if it has a host and a port that can be asked, or is empty; else ValueError."""
    try:
        parts = urlsplit(url)
        is_so = parts.hostname is not None and parts.port != 0
    except ValueError:
        is_so = False  # its words would repeat a part of the URL, which may hold a password
    if url and not is_so:
        raise ValueError("must have a host, and no port or one from 1 to 65535")
    return url


def describe(error: Any, secrets: Collection[str]) -> str:
    """Return one line for whoever set the variable; `error` is one of pydantic's."""
    rule = _RULES.get(error["type"])
    if rule is None:
        message = str(error["msg"]).removeprefix("Value error, ")
        rule = message.replace("Input should be", "must be").replace("String should", "must")
    if not error["loc"]:
        return rule
    name = str(error["loc"][0])
    is_secret = name in secrets or (name.endswith("_url") and "@" in str(error["input"]))
    shown = "(hidden)" if is_secret else repr(error["input"])
    return f"{name.upper()}={shown}: {rule}"
