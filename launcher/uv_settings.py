"""Owns the translation of pip's settings for uv, which reads none of them; pure functions.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.errors import LauncherError

_LINE = re.compile(r"(?P<scope>global|install|:env:)\.(?P<name>[\w-]+)=(?P<value>['\"].*)")
# As pip has it: what is told to the command wins over the general, the environment over both.
_SCOPES = ("global", "install", ":env:")
# Where pip's list of several values is one of uv's, with what stands between them there.
_LISTS = {
    "index-url": ("UV_INDEX_URL", " "),
    "extra-index-url": ("UV_EXTRA_INDEX_URL", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "build-constraint": ("UV_BUILD_CONSTRAINT", " "),
}
_VALUES = {"cert": "SSL_CERT_FILE", "client-cert": "SSL_CLIENT_CERT"}
_TIMEOUTS = frozenset({"timeout", "default-timeout"})
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_OF_NO_ACCOUNT = frozenset(
    {
        "break-system-packages",
        "cache-dir",
        "config-file",
        "disable-pip-version-check",
        "no-color",
        "no-input",
        "no-warn-script-location",
        "progress-bar",
        "quiet",
        "require-virtualenv",
        "retries",
        "root-user-action",
        "use-feature",
        "user",
        "verbose",
    }
)
_FALSE = frozenset({"", "0", "false", "no", "off", "n", "f"})


class Untranslatable(LauncherError):
    """Pip is told something here that uv would not heed."""


@dataclass(frozen=True)
class UvSettings:
    """What uv is told in place of pip's settings."""

    environ: Mapping[str, str]
    arguments: tuple[str, ...] = ()


def read(listing: str) -> dict[str, str]:
    """Read what `pip config list` prints: each setting as an install would find it."""
    lines = [match for line in listing.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    lines.sort(key=lambda match: _SCOPES.index(match["scope"]))
    return {match["name"]: str(ast.literal_eval(match["value"])) for match in lines}


def translate(settings: Mapping[str, str]) -> UvSettings:
    """Say to uv what pip is told; raises Untranslatable, with the setting's name."""
    # pip trusts what the machine trusts; uv by default what it brings along.
    environ = {} if settings.get("cert") else {"UV_SYSTEM_CERTS": "1"}
    arguments: list[str] = []
    for name, value in settings.items():
        if name in ("no-index", "pre"):
            if value.strip().lower() not in _FALSE:
                arguments += ["--no-index"] if name == "no-index" else ["--prerelease", "allow"]
        else:
            environ.update(_variables(name, value))
    return UvSettings(environ, tuple(arguments))


def _variables(name: str, value: str) -> dict[str, str]:
    if name in _OF_NO_ACCOUNT or not value.strip():
        return {}
    if name in _LISTS:
        variable, separator = _LISTS[name]
        return {variable: separator.join(value.split())}
    if name in _VALUES:
        return {_VALUES[name]: value}
    if name in _TIMEOUTS:
        return {"UV_HTTP_TIMEOUT": _whole_seconds(value)}
    if name == "proxy":
        return dict.fromkeys(_PROXIES, value if "://" in value else f"http://{value}")
    raise Untranslatable(f"pip is told {name} here, which uv does not know")


def _whole_seconds(value: str) -> str:
    try:
        return str(max(1, round(float(value))))
    except ValueError as exc:
        raise Untranslatable(f"pip is told a timeout of {value} here") from exc
