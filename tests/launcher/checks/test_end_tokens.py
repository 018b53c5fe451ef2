import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.checks import end_tokens
from launcher.checks.end_tokens import EndTokens
from launcher.checks.result import Status

QWEN_TEMPLATE = "{{ '<|im_start|>' }}…{{ '<|im_end|>' }}"
ADDED = {"1": {"content": "<|endoftext|>"}, "2": {"content": "<|im_end|>"}, "x": {}}
CHAT: dict[str, dict[str, Any]] = {
    "config.json": {"eos_token_id": 2},
    "generation_config.json": {"eos_token_id": [2, 1]},
    "tokenizer_config.json": {
        "eos_token": "<|im_end|>",
        "chat_template": QWEN_TEMPLATE,
        "added_tokens_decoder": ADDED,
    },
}


def model(folder: Path, files: Mapping[str, object], **more: str) -> Path:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    for name, text in more.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_chat_model_ends_where_its_template_does(tmp_path: Path) -> None:
    tokens = end_tokens.read(model(tmp_path, CHAT))
    assert tokens.by_file == {
        "generation_config.json": {1, 2},
        "config.json": {2},
        "tokenizer": {2},
    }
    row = end_tokens.check_tokens(tokens)
    assert row.status is Status.OK
    assert "generation_config.json: 1, 2" in row.observed
    assert "<|im_end|>" in row.observed


def test_a_base_model_s_end_token_under_a_chat_template_is_a_warning(tmp_path: Path) -> None:
    """Fine-tuned from a base model: eos is still <|endoftext|>, and answers never end."""
    files = {
        "config.json": {"eos_token_id": 1},
        "generation_config.json": {"eos_token_id": 1},
        "tokenizer_config.json": {
            **CHAT["tokenizer_config.json"],
            "eos_token": {"content": "<|endoftext|>"},
        },
    }
    row = end_tokens.check_tokens(end_tokens.read(model(tmp_path, files)))
    assert row.status is Status.WARNING
    assert "the template ends a turn with <|im_end|> (2)" in row.observed
    assert "add 2 to eos_token_id in generation_config.json" in row.advice


def test_files_that_disagree_are_a_warning(tmp_path: Path) -> None:
    files = {**CHAT, "generation_config.json": {"eos_token_id": 1}}
    row = end_tokens.check_tokens(end_tokens.read(model(tmp_path, files)))
    assert row.status is Status.WARNING
    assert "disagree" in row.observed


def test_numbers_come_from_tokenizer_json_as_well(tmp_path: Path) -> None:
    files = {
        "config.json": {"text_config": {"eos_token_id": 7}},
        "tokenizer_config.json": {"eos_token": "</s>"},
        "tokenizer.json": {"added_tokens": [{"id": 7, "content": "</s>"}, {"id": "?"}, 3]},
    }
    tokens = end_tokens.read(model(tmp_path, files, chat_template__jinja="a</s>"))
    assert tokens == EndTokens(
        {"config.json": frozenset({7}), "tokenizer": frozenset({7})}, "</s>", 7
    )


@pytest.mark.parametrize(
    "template", [[{"name": "default", "template": QWEN_TEMPLATE}, "?"], QWEN_TEMPLATE]
)
def test_templates_of_every_kind_are_read(tmp_path: Path, template: object) -> None:
    files = {"tokenizer_config.json": {"chat_template": template}}
    assert end_tokens.read(model(tmp_path, files)).turn_end == "<|im_end|>"


def test_a_template_in_a_json_file_is_read(tmp_path: Path) -> None:
    files = {"chat_template.json": {"chat_template": QWEN_TEMPLATE}}
    assert end_tokens.read(model(tmp_path, files)).turn_end == "<|im_end|>"


@pytest.mark.parametrize("marker", ["<|return|>", "<|channel|>"])
def test_the_end_of_a_channel_is_no_turn_s(tmp_path: Path, marker: str) -> None:
    """The advice for gpt-oss would have ended its answers after the first thought."""
    files = {
        "generation_config.json": {"eos_token_id": [200002, 199999]},
        "tokenizer_config.json": {
            "eos_token": "<|return|>",
            "chat_template": f"<|start|>assistant{marker}…<|end|>",
            "added_tokens_decoder": {
                "200002": {"content": "<|return|>"},
                "200007": {"content": "<|end|>"},
            },
        },
    }
    tokens = end_tokens.read(model(tmp_path, files))
    assert (tokens.turn_end, tokens.turn_end_id) == (None, None)
    assert end_tokens.check_tokens(tokens).status is Status.OK


def test_a_folder_that_tells_nothing_is_not_judged(tmp_path: Path) -> None:
    files = {"config.json": {"eos_token_id": True}, "tokenizer_config.json": {"chat_template": 3}}
    tokens = end_tokens.read(model(tmp_path, files))
    assert end_tokens.check_tokens(tokens).status is Status.SKIPPED
    assert end_tokens.check_tokens(None, "not here").observed == "not checked: not here"


def test_a_template_whose_end_is_not_known_leaves_the_files_to_agree() -> None:
    tokens = EndTokens({"config.json": frozenset({7})}, None, None)
    assert end_tokens.check_tokens(tokens).observed == "config.json: 7"


def test_a_model_without_a_chat_template_fails(tmp_path: Path) -> None:
    assert end_tokens.check_template(tmp_path).status is Status.FAILURE
    assert end_tokens.check_template(tmp_path, is_named=True).status is Status.OK
    assert end_tokens.check_template(model(tmp_path, CHAT)).status is Status.OK
    assert end_tokens.check_template(None, "not here").status is Status.SKIPPED
