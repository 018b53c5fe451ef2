"""Owns the model's chat template, for engines that apply none: from messages to one prompt.

jinja2 is imported when a template is loaded: engines that speak chat do without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from gateway.settings import SettingsError

# From a prompt to what the engine is sent.
Render = Callable[[str], str]
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def plain(system_message: str) -> Render:
    """Return what puts the system message before the prompt, for a model without a template."""
    head = f"{system_message}\n\n" if system_message else ""
    return lambda prompt: head + prompt


def load(path: Path, system_message: str, *, enable_thinking: bool) -> Render | None:
    """Return the template in a model's folder, a tokenizer_config.json or a Jinja file.

    None where the folder holds none. Raises SettingsError for one that cannot be used.
    """
    try:
        source, tokens = _read(path)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"CHAT_TEMPLATE={str(path)!r}: cannot be read: {exc}") from exc
    if not source:
        return None
    return _compiled(path, source, tokens, system_message, enable_thinking)


def _compiled(
    path: Path, source: str, tokens: dict[str, str], system_message: str, enable_thinking: bool
) -> Render:
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def complain(message: str) -> NoReturn:
        raise TemplateError(message)

    # The environment that transformers compiles templates in: they are written for it.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = complain
    fields = {**tokens, "add_generation_prompt": True, "enable_thinking": enable_thinking}

    def rendering(has_system: bool) -> Render:
        template = environment.from_string(source)
        joined = plain("" if has_system else system_message)
        head = [{"role": "system", "content": system_message}] if has_system else []

        def render(prompt: str) -> str:
            messages = [*head, {"role": "user", "content": joined(prompt)}]
            return template.render(messages=messages, **fields)

        return render

    try:
        return _tried(rendering(has_system=bool(system_message)))
    except TemplateError as exc:
        try:
            # Some models know no system role.
            return _tried(rendering(has_system=False))
        except TemplateError:
            raise SettingsError(f"CHAT_TEMPLATE={str(path)!r}: {exc}") from exc


def _tried(render: Render) -> Render:
    render("?")
    return render


def _read(path: Path) -> tuple[str, dict[str, str]]:
    """Return the template's text, empty when there is none, and the special tokens it may name."""
    if path.is_dir():
        config = _object(path / "tokenizer_config.json")
        tokens = _tokens({**_object(path / "special_tokens_map.json"), **config})
        own = path / "chat_template.jinja"
        if own.is_file():
            return own.read_text(encoding="utf-8"), tokens
        return _template(_object(path / "chat_template.json")) or _template(config), tokens
    if path.suffix == ".json":
        config = _object(path)
        return _template(config), _tokens(config)
    return path.read_text(encoding="utf-8"), _tokens({})


def _object(file: Path) -> dict[str, Any]:
    document = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return document if isinstance(document, dict) else {}


def _template(config: dict[str, Any]) -> str:
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in template}
        template = named.get("default")
    return template if isinstance(template, str) else ""


def _tokens(config: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name in _TOKENS:
        token = config.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        found[name] = token if isinstance(token, str) else ""
    return found
