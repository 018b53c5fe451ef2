"""Owns what nobody who looks may see: values of secret variables, credentials in URLs, keys.

Pure: it is handed the environment, and changes no value that it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
# MAX_NEW_TOKENS and its like are no secrets.
_SECRET_NAME = re.compile(r"TOKEN(?!S)|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
# Shorter ones are switches and numbers of variables that only sound like a secret.
_LEAST_CHARS = 6
_URL_PASSWORD = re.compile(r"://[^/\s]*?:([^/\s]+)@")
_PATTERNS = (
    re.compile(r"(?<=://)[^/\s]*@"),
    re.compile(r"(?<=bearer )[^\s\"',]+", re.IGNORECASE),
    re.compile(r"(?<=api[-_]key[=:])[^\s\"',]+", re.IGNORECASE),
    # As OpenAI's, Hugging Face's, GitHub's and ModelScope's look.
    re.compile(r"\b(?:sk-|hf_|gh[pousr]_)[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bms-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
)
_REPLACEMENTS = (f"{HIDDEN}@", *[HIDDEN] * (len(_PATTERNS) - 1))


class Redaction:
    """Hides the secrets that it knows, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one may hold another.
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def hide(self, text: str) -> str:
        """Return a text without its secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, replacement in zip(_PATTERNS, _REPLACEMENTS, strict=True):
            text = pattern.sub(replacement, text)
        return text

    def shown(self, value: Any) -> Any:
        """Return a JSON value whose texts hold no secret, however deep."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, dict):
            return {self.shown(key): self.shown(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.shown(each) for each in value]
        return value


def secrets_of(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the values of secret variables, and the passwords in URLs of any."""
    named = {
        value
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _LEAST_CHARS
    }
    passwords = {
        each
        for value in environ.values()
        for password in _URL_PASSWORD.findall(value)
        for each in (password, unquote(password))
        if len(each) >= _LEAST_CHARS
    }
    return frozenset(named | passwords)
