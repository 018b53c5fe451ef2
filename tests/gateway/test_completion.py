import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.completion import (
    Completion,
    RequestEncoder,
    context_excess,
    cut_at_stop,
    decode,
    error_message,
)
from gateway.errors import EngineFailure
from gateway.sampling import Sampling

STEADY = settings(derandomize=True, deadline=None, max_examples=100)
SAMPLING = Sampling(512, 0.0, 1.0, -1, 1.05, 0.25, ("。", "\n\n"))
SLOT = "\0prompt\0"


def request(
    prompt: str = "什么是warp？",
    sampling: Sampling = SAMPLING,
    system_message: str = "",
    *,
    enable_thinking: bool = False,
) -> dict[str, Any]:
    encoder = RequestEncoder("model", system_message, enable_thinking=enable_thinking)
    decoded: dict[str, Any] = json.loads(encoder.encode(prompt, sampling))
    return decoded


def response(message: object, **fields: object) -> bytes:
    return json.dumps({"choices": [{"message": message}], **fields}).encode()


# -- the request


def test_a_request_names_all_of_its_sampling() -> None:
    assert request() == {
        "model": "model",
        "messages": [{"role": "user", "content": "什么是warp？"}],
        "max_tokens": 512,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": -1,
        "repetition_penalty": 1.05,
        "frequency_penalty": 0.25,
        "stop": ["。", "\n\n"],
        "chat_template_kwargs": {"enable_thinking": False},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_whole_answer_can_be_asked_for() -> None:
    encoder = RequestEncoder("model", "", enable_thinking=False, is_stream=False)
    assert not {"stream", "stream_options"} & set(json.loads(encoder.encode("q", SAMPLING)))


def test_without_stop_strings_none_are_sent() -> None:
    assert "stop" not in request(sampling=replace(SAMPLING, stop=()))


def test_the_system_message_comes_before_the_prompt() -> None:
    messages = request("q", system_message="简洁地回答。")["messages"]
    assert messages == [
        {"role": "system", "content": "简洁地回答。"},
        {"role": "user", "content": "q"},
    ]


def test_thinking_can_be_turned_on() -> None:
    assert request(enable_thinking=True)["chat_template_kwargs"] == {"enable_thinking": True}


def test_text_that_looks_like_the_slot_is_left_where_it_stands() -> None:
    """A client's stop string that looked like the slot took the prompt's place."""
    told = request("q", replace(SAMPLING, stop=(SLOT, "x")), SLOT)
    assert told["stop"] == [SLOT, "x"]
    assert [message["content"] for message in told["messages"]] == [SLOT, "q"]
    assert request(SLOT)["messages"] == [{"role": "user", "content": SLOT}]


def test_each_of_many_samplings_gets_its_own_request() -> None:
    encoder = RequestEncoder("model", "", enable_thinking=False)
    for budget in range(1, 600):
        sampling = replace(SAMPLING, max_new_tokens=budget)
        assert json.loads(encoder.encode("q", sampling))["max_tokens"] == budget
        assert encoder.encode("q", sampling) == encoder.encode("q", sampling)


@STEADY
@given(prompt=st.text(), system_message=st.text(), stop=st.lists(st.text(min_size=1), max_size=3))
def test_any_text_reaches_the_engine_as_it_is(
    prompt: str, system_message: str, stop: list[str]
) -> None:
    told = request(prompt, replace(SAMPLING, stop=tuple(stop)), system_message)
    contents = [system_message, prompt] if system_message else [prompt]
    assert [message["content"] for message in told["messages"]] == contents
    assert told.get("stop", []) == stop


# -- the response


def test_a_completion_is_decoded() -> None:
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "答案", "tool_calls": []},
                    "finish_reason": "length",
                    "stop_reason": None,
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        }
    ).encode()
    assert decode(body) == Completion("答案", "length", prompt_tokens=7, completion_tokens=2)


@pytest.mark.parametrize(
    "fields", [{}, {"usage": None}, {"usage": {}}, {"usage": {"prompt_tokens": None}}]
)
def test_what_an_engine_does_not_tell_is_zero_or_empty(fields: dict[str, object]) -> None:
    assert decode(response({"content": "a"}, **fields)) == Completion("a", "", 0, 0)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_beside_the_content_is_left_out(field: str) -> None:
    assert decode(response({"content": "a", field: "hm, let me think"})).text == "a"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("content", [None, ""])
def test_reasoning_is_the_text_when_the_budget_left_no_other(
    field: str, content: str | None
) -> None:
    assert decode(response({"content": content, field: "so far"})).text == "so far"


def test_an_empty_completion_is_a_completion() -> None:
    assert decode(response({"content": ""})).text == ""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not a chat completion"),
        (b"<html>Bad Gateway</html>", "not a chat completion"),
        (b'{"choices": [{"message": {"content": "a', "not a chat completion"),
        (b'{"choices": [{"message": {"content": "\xff"}}]}', "not a chat completion"),
        (b'{"choices": [{"message": {"content": "\\ud800"}}]}', "not a chat completion"),
        (b'{"choices": [{"message": {"content": 1}}]}', "not a chat completion"),
        (b'{"choices": [{"message": null}]}', "not a chat completion"),
        (b'{"choices": [{"text": "a completion of the other route"}]}', "not a chat completion"),
        (b'{"choices": {}}', "not a chat completion"),
        (b'{"response": "a"}', "not a chat completion"),
        (b"[]", "not a chat completion"),
        (b'{"choices": []}', "holds no choices"),
        (b'{"choices": [{"message": {"content": null}}]}', "has null content"),
        (b'{"choices": [{"message": {"role": "assistant"}}]}', "has null content"),
    ],
)
def test_what_is_no_completion_never_becomes_an_answer(body: bytes, told: str) -> None:
    with pytest.raises(EngineFailure, match=told):
        decode(body)


@pytest.mark.parametrize("start", [b'{"choices":', b'{"x":'])
def test_endless_nesting_is_no_completion(start: bytes) -> None:
    with pytest.raises(EngineFailure, match="not a chat completion"):
        decode(start + b"[" * 100_000)


@STEADY
@given(
    st.binary()
    | st.builds(response, st.dictionaries(st.sampled_from(["content", "role"]), st.text()))
)
def test_any_body_is_decoded_or_an_engine_failure(body: bytes) -> None:
    try:
        assert decode(body).text.encode()
    except EngineFailure as exc:
        assert str(exc).startswith("the engine's answer")
    except AssertionError:
        assert decode(body).text == ""


# -- errors


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no such model", "type": "NotFoundError"}}', "no such model"),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long"),
        (b'{"error": "model not loaded"}', "model not loaded"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"error": null, "message": "too long"}', "too long"),
        (b'{"error": {"code": 1}}', "{'code': 1}"),
        (b'["a"]', "['a']"),
        (b"null", "None"),
        ("内部错误\n".encode(), "内部错误"),
        (b" Internal Server Error\n", "Internal Server Error"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_message_of_an_error_body_is_found(body: bytes, message: str) -> None:
    assert error_message(body) == message


def test_a_long_error_message_is_shortened() -> None:
    assert error_message(json.dumps({"message": "x" * 10_000}).encode()) == "x" * 600
    assert error_message(b"[" * 200_000) == "[" * 300


@STEADY
@given(st.binary())
def test_any_error_body_has_a_message(body: bytes) -> None:
    assert len(error_message(body)) <= 600


VLLM_0_10 = [
    (
        "This model's maximum context length is 4096 tokens. However, you requested 5512 tokens "
        "(5000 in the messages, 512 in the completion). Please reduce the length of the messages "
        "or completion.",
        (4096, 5000),
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context "
        "length is 4096 tokens and your request has 4000 input tokens (512 > 4096 - 4000).",
        (4096, 4000),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your request has 5000 input "
        "tokens. Please reduce the length of the input messages.",
        (4096, 5000),
    ),
    (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make "
        "sure that `max_model_len` is no smaller than the number of text tokens.",
        (4096, 5000),
    ),
]
# Where it cut the tokenizing short, the count that it tells is a lower bound and of no use.
VLLM_0_16 = [
    (
        "You passed 3585 input tokens and requested 512 output tokens. However, the model's "
        "context length is only 4096 tokens, resulting in a maximum input length of 3584 tokens. "
        "Please reduce the length of the input prompt. (parameter=input_tokens, value=3585)",
        (4096, 0),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 512 output "
        "tokens and your prompt contains at least 3585 input tokens, for a total of at least 4097 "
        "tokens. Please reduce the length of the input prompt or the number of requested output "
        "tokens. (parameter=input_tokens, value=3585)",
        (4096, 0),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 512 output "
        "tokens and your prompt contains 5000 input tokens, for a total of 5512 tokens (5000 + "
        "512 = 5512 > 4096). Please reduce the length of the input prompt.",
        (4096, 5000),
    ),
]
VLLM_0_32 = [
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains at "
        "least 4097 input tokens, which exceeds this limit even without any output tokens. Please "
        "reduce the length of the input prompt. (parameter=input_tokens, value=4097)",
        (4096, 0),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains 5000 "
        "input tokens, which exceeds this limit even without any output tokens. Please reduce the "
        "length of the input prompt. (parameter=input_tokens, value=5000)",
        (4096, 5000),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains 99999 "
        "characters (more than 65536 characters, which is the upper bound for 4096 input tokens). "
        "Please reduce the length of the input prompt. (parameter=input_text, value=99999)",
        (4096, 0),
    ),
    (
        "The decoder prompt (length 4096) plus the number of requested output tokens (at least 1) "
        "is longer than the maximum model length of 4096. Make sure that `max_model_len` is no "
        "smaller than the number of text tokens (prompt + requested output tokens).",
        (4096, 4096),
    ),
    ("Input length (5000) exceeds model's maximum context length (4096).", (4096, 5000)),
    (
        "max_tokens=5000 cannot be greater than max_model_len=4096. Please request fewer output "
        "tokens. (parameter=max_tokens, value=5000)",
        (4096, 0),
    ),
    (
        "max_tokens=5000 cannot be greater than max_model_len=max_total_tokens=4096. Please "
        "request fewer output tokens.",
        (4096, 0),
    ),
]
SGLANG = [
    (
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        (4096, 5000),
    ),
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You "
        "requested a total of 4512 tokens: 4000 tokens from the input messages and 512 tokens for "
        "the completion. Please reduce the number of tokens in the input messages or the "
        "completion to fit within the limit.",
        (4096, 4000),
    ),
    (
        "Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens). Use a "
        "shorter input or enable --allow-auto-truncate.",
        (4090, 5000),
    ),
]
OTHERS = [
    (
        "This model's maximum context length is 4097 tokens. However, your messages resulted in "
        "5000 tokens. Please reduce the length of the messages.",
        (4097, 5000),
    ),
    (
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in "
        "300000 tokens. Please reduce the length of the messages.",
        (272000, 300000),
    ),
    ("context_length_exceeded", (0, 0)),
    ("request (5000 tokens) exceeds the available context size (4096 tokens)", (4096, 5000)),
    ("the request exceeds the available context size, try increasing it", (0, 0)),
]


@pytest.mark.parametrize(
    ("message", "counts"), [*VLLM_0_10, *VLLM_0_16, *VLLM_0_32, *SGLANG, *OTHERS]
)
def test_a_refusal_for_the_context_is_read_with_its_exact_counts(
    message: str, counts: tuple[int, int]
) -> None:
    assert context_excess(message) == counts


@pytest.mark.parametrize(
    "message",
    [
        "",
        "The model `evalgate` does not exist.",
        "temperature must be non-negative, got -1.0.",
        "max_tokens must be an integer",
        "top_p must be in (0, 1], got 1.5.",
        "stop cannot contain an empty string.",
        "Internal Server Error",
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "The decoder prompt cannot be empty",
        "Requests exceed the configured limit of 100 per minute.",
        "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]",
    ],
)
def test_a_refusal_for_another_reason_is_not_about_the_context(message: str) -> None:
    assert context_excess(message) is None


@STEADY
@given(st.text() | st.from_regex(r"(context length|model length|max_model_len=)[ (is]{0,4}\d{0,9}"))
def test_any_message_is_read(message: str) -> None:
    counts = context_excess(message)
    assert counts is None or all(count >= 0 for count in counts)


def test_the_first_stop_string_ends_a_text() -> None:
    assert cut_at_stop("one two three", ("three", "two")) == "one "
    assert cut_at_stop("one", ("two",)) == "one"
    assert cut_at_stop("one", ()) == "one"
