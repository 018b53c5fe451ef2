import json

import pytest

from gateway.errors import (
    EngineFailure,
    EngineLost,
    EngineNotReady,
    EngineTimeout,
    GatewayError,
    InvalidRequest,
    Overloaded,
    PromptTooLong,
    RequestTimeout,
    RequestTooLarge,
    encode_error,
)


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (GatewayError("x"), 500, "GatewayError"),
        (InvalidRequest("x"), 400, "InvalidRequest"),
        (PromptTooLong("x"), 400, "PromptTooLong"),
        (RequestTimeout("x"), 408, "RequestTimeout"),
        (RequestTooLarge("x"), 413, "RequestTooLarge"),
        (Overloaded("x", retry_after_s=3), 429, "Overloaded"),
        (EngineFailure("x"), 502, "EngineFailure"),
        (EngineNotReady("x"), 503, "EngineNotReady"),
        (EngineLost("x"), 503, "EngineLost"),
        (EngineTimeout("x"), 504, "EngineTimeout"),
    ],
)
def test_every_error_has_a_status_and_is_named_after_its_class(
    error: GatewayError, status: int, name: str
) -> None:
    assert (error.status, error.type) == (status, name)
    assert isinstance(error, GatewayError)


def test_a_prompt_too_long_is_an_invalid_request_and_carries_the_counts() -> None:
    error = PromptTooLong("no room", context_tokens=4096, prompt_tokens=5000)
    assert isinstance(error, InvalidRequest)
    assert (str(error), error.context_tokens, error.prompt_tokens) == ("no room", 4096, 5000)


def test_counts_that_the_engine_does_not_tell_are_zero() -> None:
    error = PromptTooLong("no room")
    assert (error.context_tokens, error.prompt_tokens) == (0, 0)


def test_an_error_body_is_json_with_type_message_and_request_id() -> None:
    body = json.loads(encode_error("InvalidRequest", '提示 "x"\n', "id-1"))
    assert body == {
        "error": {"type": "InvalidRequest", "message": '提示 "x"\n', "request_id": "id-1"}
    }


def test_an_error_body_without_a_request_id_names_none() -> None:
    assert json.loads(encode_error("X", "y")) == {"error": {"type": "X", "message": "y"}}
