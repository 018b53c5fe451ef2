"""Owns the words for a bad setting: key, value, rule, on one line. It reads no setting."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any

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


def describe(error: Any, secrets: Collection[str]) -> str:
    """Return one line for whoever set the variable; `error` is one of pydantic's."""
    rule = _RULES.get(error["type"])
    if rule is None:
        message = str(error["msg"]).removeprefix("Value error, ")
        rule = message.replace("Input should be", "must be").replace("String should", "must")
    if not error["loc"]:
        return rule
    name = str(error["loc"][0])
    shown = "(hidden)" if name in secrets else repr(error["input"])
    return f"{name.upper()}={shown}: {rule}"
