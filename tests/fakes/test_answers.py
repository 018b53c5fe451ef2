"""The words in which vLLM releases refuse what does not fit their context.

Those of 0.32 were printed by that release; the older ones are in its public issues (20409, 22208).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.answers import context_refusal, pieces
from tests.fakes.script import ContextLength, ContextStyle

START = "This model's maximum context length is 100 tokens. However, "


def refused(style: ContextStyle, size: int, max_tokens: int | None) -> dict[str, Any] | None:
    body = {"messages": [{"role": "user", "content": "x" * size}], "max_tokens": max_tokens}
    refusal = context_refusal(body, ContextLength(style), 100)
    if refusal is None:
        return None
    assert refusal.status == 400
    value: dict[str, Any] = json.loads(refusal.body)
    return value


@pytest.mark.parametrize(
    ("size", "max_tokens", "end"),
    [
        (
            81,
            20,
            "you requested 101 tokens (81 in the messages, 20 in the completion). "
            "Please reduce the length of the messages or completion. None",
        ),
        (
            100,
            None,
            "you requested 100 tokens in the messages, "
            "Please reduce the length of the messages. None",
        ),
    ],
)
def test_vllm_0_10_refuses_flat(size: int, max_tokens: int | None, end: str) -> None:
    assert refused("vllm-0.10", size, max_tokens) == {
        "object": "error",
        "message": START + end,
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }


@pytest.mark.parametrize(
    ("size", "max_tokens", "message"),
    [
        (
            100,
            1,
            START + "your request has 100 input tokens. "
            "Please reduce the length of the input messages. None",
        ),
        (
            81,
            20,
            "'max_tokens' or 'max_completion_tokens' is too large: 20. This model's maximum "
            "context length is 100 tokens and your request has 81 input tokens "
            "(20 > 100 - 81). None",
        ),
    ],
)
def test_vllm_0_10_2_refuses_nested(size: int, max_tokens: int, message: str) -> None:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    assert refused("vllm-0.10.2", size, max_tokens) == {"error": error}


@pytest.mark.parametrize(
    ("size", "max_tokens", "param", "message"),
    [
        (
            1,
            500,
            "max_tokens",
            "max_tokens=500 cannot be greater than max_model_len=100. "
            "Please request fewer output tokens. (parameter=max_tokens, value=500)",
        ),
        (
            150,
            50,
            "input_tokens",
            START + "your prompt contains at least 101 input tokens, which exceeds this limit "
            "even without any output tokens. Please reduce the length of the input prompt. "
            "(parameter=input_tokens, value=101)",
        ),
        (
            801,
            None,
            "input_text",
            START + "your prompt contains 801 characters (more than 800 characters, which is the "
            "upper bound for 100 input tokens). Please reduce the length of the input prompt. "
            "(parameter=input_text, value=801)",
        ),
        (
            100,
            50,
            "max_tokens",
            "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
        ),
    ],
)
def test_vllm_0_32_refuses_without_the_true_length(
    size: int, max_tokens: int | None, param: str, message: str
) -> None:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": 400}
    assert refused("vllm-new", size, max_tokens) == {"error": error}


@pytest.mark.parametrize(
    ("style", "size", "max_tokens"),
    [
        ("vllm-0.10", 80, 20),
        ("vllm-0.10", 99, None),
        ("vllm-0.10.2", 80, 20),
        ("vllm-0.10.2", 99, None),
        ("vllm-new", 99, 100),  # it shortens the completion by itself
    ],
)
def test_what_fits_is_not_refused(style: ContextStyle, size: int, max_tokens: int | None) -> None:
    assert refused(style, size, max_tokens) is None


def test_template_tokens_count() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 95}], "max_tokens": 1}
    assert context_refusal(body, ContextLength(overhead_tokens=4), 100) is None
    assert context_refusal(body, ContextLength(overhead_tokens=5), 100) is not None


@pytest.mark.parametrize("text", ["", "  ", "one two\n three ", "线程束是什么，为什么"])
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
