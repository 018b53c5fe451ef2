"""The JSON of Triton's generate extension."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.completion import Completion
from gateway.errors import EngineFailure
from gateway.generate import GenerateEncoder, without_echo
from tests.gateway.serving import SAMPLING

GIVEN = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def encoder() -> GenerateEncoder:
    return GenerateEncoder("my model", lambda prompt: f"<{prompt}>")


def sent(**sampling: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encoder().encode("hi", replace(SAMPLING, **sampling)))
    return fields


def decoded(text: object, **sampling: Any) -> Completion:
    body = json.dumps({"model_name": "m", "text_output": text}).encode()
    return encoder().decode(body, "hi", replace(SAMPLING, **sampling))


def test_the_model_is_in_the_path() -> None:
    assert encoder().path == "/v2/models/my%20model/generate"


def test_greedy_is_a_choice_among_one() -> None:
    assert sent() == {"text_input": "<hi>", "max_tokens": 64, "stream": False, "top_k": 1}


def test_sampling_is_sent_as_far_as_it_is_on() -> None:
    fields = sent(
        temperature=0.5, top_p=0.9, top_k=7, repetition_penalty=1.1, frequency_penalty=0.2
    )
    assert {name: fields[name] for name in fields if name not in ("text_input", "stream")} == {
        "max_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
    }
    assert "top_k" not in sent(temperature=0.5)


def test_an_answer_is_what_comes_after_the_prompt() -> None:
    assert decoded("<hi> there").text == " there"
    assert decoded("there").text == "there"
    assert decoded(["there", "not here"]).text == "there"


def test_an_echo_may_lack_the_special_tokens() -> None:
    assert without_echo(f"{GIVEN}42", GIVEN) == "42"
    assert without_echo("user\nhi\nassistant\n42", GIVEN) == "42"
    assert without_echo("42", GIVEN) == "42"
    assert without_echo("42", "") == "42"


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"text_output": null}', b"\xff"])
def test_anything_else_is_a_failure_and_no_answer(body: bytes) -> None:
    with pytest.raises(EngineFailure, match="no text_output"):
        encoder().decode(body, "hi", SAMPLING)


def test_it_takes_one_prompt_per_call() -> None:
    with pytest.raises(EngineFailure) as failure:
        encoder().encode_group(["a", "b"], SAMPLING)
    assert not failure.value.can_pass
