"""Owns the questions whether a model has a chat template, and stops where its turns end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.checks.result import Result, failure, ok, skipped, warning
from launcher.model_folder import has_chat_template, read_object

TEMPLATE_NAME = "chat template"
TOKENS_NAME = "end tokens"
# What chat templates end a turn with, by family: Qwen and Yi, Llama 3, Gemma, Phi, InternLM,
# DeepSeek, Llama 2 and Mistral, GLM (whose turns end where the next begins).
TURN_ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<eoa>",
    "<｜end▁of▁sentence｜>",
    "</s>",
    "<|user|>",
)
# gpt-oss ends each channel with <|end|>, also its thoughts, and the turn with <|return|>.
_CHANNEL_END = "<|end|>"
_WITH_CHANNELS = ("<|channel|>", "<|return|>")


@dataclass(frozen=True)
class EndTokens:
    """The end tokens that a model's files name, each by the file that names it."""

    by_file: Mapping[str, frozenset[int]]
    # Where a turn ends by the template, and that token's number; None when not found.
    turn_end: str | None
    turn_end_id: int | None


def check_template(folder: Path | None, why_not: str = "", *, is_named: bool = False) -> Result:
    """Tell whether the model can be chatted with; `is_named`: the settings bring a template."""
    if is_named:
        return ok(TEMPLATE_NAME, "--chat-template in ENGINE_EXTRA_ARGS")
    if folder is None:
        return skipped(TEMPLATE_NAME, why_not)
    if has_chat_template(folder):
        return ok(TEMPLATE_NAME, "there")
    return failure(
        TEMPLATE_NAME,
        "none: neither chat_template.jinja nor chat_template in tokenizer_config.json",
        "copy it from the model that yours was trained from; without one vLLM answers no chat",
    )


def check_tokens(tokens: EndTokens | None, why_not: str = "") -> Result:
    """Tell whether generation ends where the template's turns do."""
    if tokens is None or not tokens.by_file:
        return skipped(TOKENS_NAME, why_not or "no file of the model names one")
    told = "; ".join(f"{file}: {_shown(ids)}" for file, ids in tokens.by_file.items())
    if tokens.turn_end_id is not None and tokens.turn_end_id not in _stops(tokens.by_file):
        return warning(
            TOKENS_NAME,
            f"{told}, but the template ends a turn with {tokens.turn_end} ({tokens.turn_end_id})",
            f"add {tokens.turn_end_id} to eos_token_id in generation_config.json: without it "
            "answers run on until MAX_NEW_TOKENS",
        )
    if not frozenset.intersection(*tokens.by_file.values()):
        return warning(
            TOKENS_NAME,
            f"the files disagree: {told}",
            "make eos_token_id the same in generation_config.json, config.json and the tokenizer",
        )
    end = f"; the template ends a turn with {tokens.turn_end}" if tokens.turn_end else ""
    return ok(TOKENS_NAME, f"{told}{end}")


def read(folder: Path) -> EndTokens:
    """Gather what the files in `folder` name; what is missing or unreadable is left out."""
    tokenizer_config = read_object(folder / "tokenizer_config.json") or {}
    numbers = _numbers(folder, tokenizer_config)
    by_file = {}
    for name in ("generation_config.json", "config.json"):
        ids = frozenset(_ids(read_object(folder / name) or {}))
        if ids:
            by_file[name] = ids
    eos = _text(tokenizer_config.get("eos_token"))
    if eos in numbers:
        by_file["tokenizer"] = frozenset({numbers[eos]})
    template = _template(folder, tokenizer_config)
    turn_end = _turn_end(template)
    turn_end_id = numbers.get(turn_end) if turn_end is not None else None
    return EndTokens(by_file, turn_end, turn_end_id)


def _turn_end(template: str) -> str | None:
    has_channels = any(marker in template for marker in _WITH_CHANNELS)
    known = [marker for marker in TURN_ENDS if not (has_channels and marker == _CHANNEL_END)]
    return next((marker for marker in known if marker in template), None)


def _stops(by_file: Mapping[str, frozenset[int]]) -> frozenset[int]:
    """What vLLM stops at: the tokenizer's, and generation_config's, else config's."""
    told = by_file.get("generation_config.json", by_file.get("config.json", frozenset()))
    return told | by_file.get("tokenizer", frozenset())


def _ids(config: Mapping[str, Any]) -> Iterator[int]:
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        value = part.get("eos_token_id")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int) and not isinstance(one, bool):
                yield one


def _numbers(folder: Path, tokenizer_config: Mapping[str, Any]) -> dict[str, int]:
    """The special tokens' numbers, from whichever file of the tokenizer tells them."""
    told = tokenizer_config.get("added_tokens_decoder")
    numbers = {
        _text(token): int(number)
        for number, token in (told.items() if isinstance(told, dict) else ())
        if str(number).isdigit()
    }
    added = (read_object(folder / "tokenizer.json") or {}).get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            numbers.setdefault(_text(token), token["id"])
    return numbers


def _text(token: object) -> str:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str:
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    other = read_object(folder / "chat_template.json") or {}
    template = tokenizer_config.get("chat_template") or other.get("chat_template")
    if isinstance(template, list):  # several, each with a name
        return "\n".join(str(one.get("template")) for one in template if isinstance(one, dict))
    return template if isinstance(template, str) else ""


def _shown(ids: Iterable[int]) -> str:
    return ", ".join(str(one) for one in sorted(ids))
