"""Owns what follows from ENGINE for the gateway: how the engine is asked, where its health is."""

from __future__ import annotations

import logging

from gateway import chat_template
from gateway.completion import RequestEncoder
from gateway.dialects import dialect_of
from gateway.engine_state import read_engine_state
from gateway.generate import GenerateEncoder
from gateway.settings import Settings

_log = logging.getLogger("gateway.lifecycle")

Encoder = RequestEncoder | GenerateEncoder


def encoder_for(settings: Settings) -> Encoder:
    """Return the encoder for the engine; raises SettingsError for a template of no use."""
    if settings.engine_api == "generate":
        return GenerateEncoder(settings.served_model_name, _render(settings))
    return RequestEncoder(
        settings.served_model_name,
        settings.system_message(),
        enable_thinking=settings.enable_thinking,
        is_stream=settings.stream_answers,
        dialect=dialect_of(settings.engine),
    )


def health_paths(settings: Settings) -> tuple[str, ...]:
    """Return the engine's health routes: the first that is there counts."""
    if settings.engine_health_path:
        return (settings.engine_health_path,)
    if settings.engine_api == "generate":
        return ("/v2/health/ready",)
    if settings.engine == "triton":
        return ("/health/ready",)
    # Not every server that others run has the first.
    return ("/health", "/v1/models") if settings.engine == "external" else ("/health",)


def running_engine(settings: Settings) -> str:
    """Return which kind of engine runs now: the launcher may have replaced the one asked for."""
    if settings.engine_url or settings.engine == "external":
        return settings.engine
    state = read_engine_state(settings.engine_state_file) or {}
    return str(state.get("engine") or settings.engine)


def _render(settings: Settings) -> chat_template.Render:
    message = settings.system_message()
    path = settings.chat_template or settings.model_dir
    render = None
    if path is not None:
        render = chat_template.load(path, message, enable_thinking=settings.enable_thinking)
    if render is None:
        _log.warning(
            "no chat template: the engine is sent the bare prompt; name one by CHAT_TEMPLATE"
        )
    return render or chat_template.plain(message)
