"""Owns where the status comes from: the gateway's `/info`, or the state file when it is down."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from typing import Any

import msgspec

from launcher.settings import LauncherSettings
from launcher.state import read_state

TIMEOUT_S = 5.0
HIDDEN = "***"


def look(url: str, settings: LauncherSettings) -> dict[str, Any]:
    """Return what is told, by whom: `source` is "gateway" or "state file".

    Without a gateway, `gateway_error` says why; `engine` is None without a state file too.
    """
    try:
        return {"source": "gateway", **_ask(url)}
    except (OSError, HTTPException, ValueError) as exc:
        return _from_state_file(settings, f"{url}: {exc}")


def _ask(url: str) -> dict[str, Any]:
    """Ask past any proxy; raises OSError, HTTPException, or ValueError for what is no gateway."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/info", timeout=TIMEOUT_S) as reply:
        told = json.loads(reply.read())
    if not isinstance(told, dict) or told.get("name") != "evalgate":
        raise ValueError("something else answers there")
    return told


def _from_state_file(settings: LauncherSettings, error: str) -> dict[str, Any]:
    state = read_state(settings.engine_state_file)
    engine = None if state is None else msgspec.to_builtins(state)
    return {
        "source": "state file",
        "gateway_error": error,
        "time": time.time(),
        "phase": "unknown",
        "is_ready": False,
        "reason": "the gateway does not answer",
        "engine": _hide(engine, _secrets(settings)),
        "start": {
            "began_at": state.series_started_at if state else None,
            "budget_s": settings.health_budget_s,
            "expected": None,
        },
    }


def _secrets(settings: LauncherSettings) -> list[str]:
    keys = (settings.engine_api_key, settings.modelscope_api_token)
    return [key.get_secret_value() for key in keys if key is not None]


def _hide(value: Any, secrets: Iterable[str]) -> Any:
    """Return a JSON value without secrets in its texts."""
    if isinstance(value, dict):
        return {key: _hide(each, secrets) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(each, secrets) for each in value]
    if isinstance(value, str):
        for secret in filter(None, secrets):
            value = value.replace(secret, HIDDEN)
    return value
