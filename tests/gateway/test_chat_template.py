"""The model's chat template, applied for an engine that applies none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.chat_template import load, plain
from gateway.settings import SettingsError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}[{{ message.content | trim }}]{% endfor %}"
)


def rendered(path: Path, prompt: str, system: str = "", *, enable_thinking: bool = False) -> str:
    render = load(path, system, enable_thinking=enable_thinking)
    assert render is not None
    return render(prompt)


def model(folder: Path, **files: object) -> Path:
    names = {"config": "tokenizer_config.json", "chat": "chat_template.json"}
    for name, content in files.items():
        (folder / names[name]).write_text(json.dumps(content))
    return folder


def test_a_models_own_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    assert rendered(tmp_path, "hi", "Be brief.") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert rendered(tmp_path, "hi", enable_thinking=True).endswith("assistant\n")


@pytest.mark.parametrize(
    "files",
    [
        {"config": {"chat_template": "<{{ messages[0].content }}>"}},
        {"chat": {"chat_template": "<{{ messages[0].content }}>"}},
        {
            "config": {
                "chat_template": [
                    {"name": "tool_use", "template": "no"},
                    {"name": "default", "template": "<{{ messages[0].content }}>"},
                ]
            }
        },
    ],
)
def test_it_is_found_wherever_a_model_keeps_it(tmp_path: Path, files: dict[str, object]) -> None:
    assert rendered(model(tmp_path, **files), "hi") == "<hi>"


def test_a_single_file_will_do(tmp_path: Path) -> None:
    own = tmp_path / "mine.jinja"
    own.write_text("({{ messages[-1].content }})")
    assert rendered(own, "hi") == "(hi)"
    model(tmp_path, config={"chat_template": "<{{ messages[0].content }}>"})
    assert rendered(tmp_path / "tokenizer_config.json", "hi") == "<hi>"


@pytest.mark.parametrize("bos", ["<s>", {"content": "<s>", "lstrip": False}])
def test_special_tokens_are_those_of_the_tokenizer(tmp_path: Path, bos: object) -> None:
    model(tmp_path, config={"chat_template": NO_SYSTEM, "bos_token": bos})
    assert rendered(tmp_path, " hi ") == "<s>[hi]"


def test_a_system_message_that_it_has_no_place_for_comes_before_the_prompt(tmp_path: Path) -> None:
    model(tmp_path, config={"chat_template": NO_SYSTEM})
    assert rendered(tmp_path, "hi", "Be brief.") == "[Be brief.\n\nhi]"


def test_what_is_in_a_prompt_is_no_template(tmp_path: Path) -> None:
    model(tmp_path, config={"chat_template": "<{{ messages[0].content }}>"})
    assert rendered(tmp_path, "{{ 1 + 1 }} {% raw %}") == "<{{ 1 + 1 }} {% raw %}>"


def test_a_template_reaches_nothing_of_ours(tmp_path: Path) -> None:
    escape = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    model(tmp_path, config={"chat_template": escape})
    with pytest.raises(SettingsError, match="CHAT_TEMPLATE=.*unsafe"):
        load(tmp_path, "", enable_thinking=False)


def test_text_in_json_stays_readable(tmp_path: Path) -> None:
    model(tmp_path, config={"chat_template": "{{ messages[0] | tojson }}"})
    assert "你好" in rendered(tmp_path, "你好")


def test_a_model_without_one_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, "", enable_thinking=False) is None
    model(tmp_path, config=["not an object"])
    assert load(tmp_path, "", enable_thinking=False) is None


@pytest.mark.parametrize("text", ["{% if %}", "{{ raise_exception('never') }}"])
def test_one_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    own = tmp_path / "mine.jinja"
    own.write_text(text)
    with pytest.raises(SettingsError, match="CHAT_TEMPLATE="):
        load(own, "Be brief.", enable_thinking=False)


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "missing.jinja", "", enable_thinking=False)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, "", enable_thinking=False)


def test_without_a_template_the_system_message_comes_first() -> None:
    assert plain("Be brief.")("hi") == "Be brief.\n\nhi"
    assert plain("")("hi") == "hi"
