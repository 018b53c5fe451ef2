import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import contract
from gateway.contract import PredictRequest
from gateway.errors import GatewayError, InvalidRequest, RequestTooLarge
from gateway.sampling import Sampling

STEADY = settings(derandomize=True, deadline=None, max_examples=100)
DEFAULTS = Sampling(512, 0.0, 1.0, -1, 1.0, 0.0, ())
MAX_PROMPTS = 5
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "frequency_penalty",
    "stop",
]


def parse(body: bytes) -> PredictRequest:
    return contract.parse(body, DEFAULTS, MAX_PROMPTS)


def parse_fields(**fields: Any) -> PredictRequest:
    return parse(json.dumps(fields).encode())


def refusal(body: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    return str(caught.value)


def test_a_string_is_one_prompt() -> None:
    request = parse_fields(prompt="什么是warp？")
    assert request == PredictRequest(["什么是warp？"], False, DEFAULTS, has_own_budget=False)


@pytest.mark.parametrize("prompts", [[], ["a"], ["a", "b"], ["", " \n", "c"]])
def test_a_list_is_a_batch_of_any_length(prompts: list[str]) -> None:
    request = parse_fields(prompt=prompts)
    assert (request.prompts, request.is_batch) == (prompts, True)


def test_unknown_fields_are_ignored() -> None:
    body = b'{"id": NaN, "prompt": "a", "stream": true, "messages": [{"x": -Infinity}]}'
    assert parse(body) == parse_fields(prompt="a")


def test_null_fields_are_unset() -> None:
    assert parse_fields(prompt="a", **dict.fromkeys(FIELDS)) == parse_fields(prompt="a")


def test_sampling_fields_override_the_defaults() -> None:
    request = parse_fields(prompt="a", temperature=1, max_new_tokens=128.0, stop="。")
    assert request.sampling == Sampling(128, 1.0, 1.0, -1, 1.0, 0.0, ("。",))


def test_a_request_that_names_its_budget_is_told_from_one_that_does_not() -> None:
    assert parse_fields(prompt="a", max_new_tokens=512).has_own_budget
    assert not parse_fields(prompt="a", max_new_tokens=None).has_own_budget


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: Expecting value at line 1 column 1"),
        (b"what is a warp?", "the body is not JSON: Expecting value at line 1 column 1"),
        (b'{"prompt": "a"', "the body is not JSON: Expecting ',' delimiter at line 1 column 15"),
        (b'{"prompt": "a"}{}', "the body is not JSON: Extra data at line 1 column 16"),
        (b"prompt=what", "the body is not JSON: Expecting value at line 1 column 1"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(body: bytes, message: str) -> None:
    assert refusal(body) == message


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (["a"], "a list"),
        ("a", "a string"),
        (1, "a number"),
        (1.5, "a number"),
        (True, "a boolean"),
        (None, "null"),
    ],
)
def test_json_that_is_no_object_is_refused(value: object, kind: str) -> None:
    message = 'the body must be a JSON object like {"prompt": "…"}, got ' + kind
    assert refusal(json.dumps(value).encode()) == message


@pytest.mark.parametrize("fields", [{}, {"Prompt": "a"}, {"prompts": ["a"]}])
def test_a_body_without_prompt_is_refused(fields: dict[str, object]) -> None:
    assert refusal(json.dumps(fields).encode()) == 'the body has no "prompt"'


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (1, "a number"), (False, "a boolean"), ({"a": "b"}, "an object")],
)
def test_a_prompt_of_another_type_is_refused_by_name(value: object, kind: str) -> None:
    message = f"prompt must be a string or a list of strings, got {kind}"
    assert refusal(json.dumps({"prompt": value}).encode()) == message


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([None], "prompt[0] must be a string, got null"),
        (["a", "b", 3], "prompt[2] must be a string, got a number"),
        (["a", ["b"], 3], "prompt[1] must be a string, got a list"),
        (["a", {}], "prompt[1] must be a string, got an object"),
    ],
)
def test_a_prompt_that_is_no_string_is_refused_by_its_index(
    prompts: list[object], message: str
) -> None:
    assert refusal(json.dumps({"prompt": prompts}).encode()) == message


def test_a_sampling_value_out_of_range_is_refused_by_name() -> None:
    body = b'{"prompt": "a", "top_p": 1.5}'
    assert refusal(body) == "top_p must be a number in (0, 1], got 1.5"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_where_it_counts(value: str) -> None:
    body = f'{{"prompt": "a", "temperature": {value}}}'.encode()
    assert refusal(body).startswith("temperature must be a number in [0, 2], got ")


def test_a_batch_over_the_limit_is_too_large() -> None:
    assert len(parse_fields(prompt=["a"] * MAX_PROMPTS).prompts) == MAX_PROMPTS
    with pytest.raises(RequestTooLarge) as caught:
        parse_fields(prompt=["a"] * (MAX_PROMPTS + 1))
    message = "the batch holds 6 prompts, the limit MAX_BATCH_PROMPTS is 5"
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_other_unicode_encodings_are_read(encoding: str) -> None:
    body = '{"prompt": ["什么是warp？", "b"]}'.encode(encoding)
    assert parse(body).prompts == ["什么是warp？", "b"]


def test_broken_utf8_costs_only_its_own_characters() -> None:
    body = b'{"prompt": ["a\xff\xfeb", "\xe4\xbd", "\xe4\xbd\xa0"]}'
    assert parse(body).prompts == ["a\ufffd\ufffdb", "\ufffd", "你"]


def test_lone_surrogates_are_replaced_wherever_they_stand() -> None:
    body = (
        rb'{"prompt": ["\ud83d\ude00", "a\ud800b", "\udc00"], "stop": ["\ud800"],'
        rb' "\ud800": {"x": ["\udfff", 1, null]}}'
    )
    request = parse(body)
    assert request.prompts == ["😀", "a\ufffdb", "\ufffd"]
    assert request.sampling.stop == ("\ufffd",)


def test_nul_is_a_character_like_any_other() -> None:
    assert parse(rb'{"prompt": "a\u0000b"}').prompts == ["a\0b"]


@pytest.mark.parametrize("opening", [b"[", b'{"prompt": ', b'{"a":['])
def test_endless_nesting_is_refused(opening: bytes) -> None:
    assert refusal(opening * 200_000) == "the body is not usable JSON: it is nested too deeply"


@pytest.mark.parametrize("digits", [30, 400, 4_000, 100_000])
def test_a_huge_integer_is_refused(digits: int) -> None:
    message = refusal(b'{"prompt": "a", "top_k": ' + b"9" * digits + b"}")
    assert message.startswith(("top_k must be an integer", "the body is not usable JSON"))
    assert len(message) < 300


def test_answers_are_encoded_as_utf8_in_order() -> None:
    assert contract.encode(["答", "b"], is_batch=True) == '{"response":["答","b"]}'.encode()
    assert contract.encode(["a"], is_batch=True) == b'{"response":["a"]}'
    assert contract.encode([], is_batch=True) == b'{"response":[]}'
    assert contract.encode(["答"], is_batch=False) == '{"response":"答"}'.encode()


@STEADY
@given(st.binary(max_size=64))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    try:
        parse(body)
    except GatewayError as exc:
        assert str(exc)


@STEADY
@given(JSON | st.fixed_dictionaries({"prompt": JSON}, optional=dict.fromkeys(FIELDS, JSON)))
def test_any_json_is_parsed_or_refused(document: object) -> None:
    try:
        request = parse(json.dumps(document).encode())
    except GatewayError as exc:
        assert str(exc)
    else:
        assert all(isinstance(prompt, str) for prompt in request.prompts)


@STEADY
@given(data=st.data(), prompts=st.lists(st.text(), max_size=MAX_PROMPTS))
def test_a_mutated_body_is_parsed_or_refused(data: st.DataObject, prompts: list[str]) -> None:
    body = bytearray(
        json.dumps(
            {"prompt": prompts, "temperature": 0.5, "stop": ["。"]},
            ensure_ascii=data.draw(st.booleans()),
        ).encode()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        request = parse(bytes(body))
    except GatewayError as exc:
        assert str(exc)
    else:
        for prompt in request.prompts:
            prompt.encode()


@STEADY
@given(st.lists(st.text(), max_size=MAX_PROMPTS))
def test_what_is_asked_and_what_is_answered_survive_the_wire(texts: list[str]) -> None:
    assert parse_fields(prompt=texts).prompts == texts
    assert json.loads(contract.encode(texts, is_batch=True)) == {"response": texts}


@STEADY
@given(name=st.sampled_from(FIELDS[:-1]), value=st.integers(-3, 131073) | st.floats(-3, 3))
def test_the_schema_tells_what_is_taken(name: str, value: float) -> None:
    rule = contract.schema()["properties"][name]
    is_typed = "number" in rule["type"] or float(value).is_integer()
    is_above = value >= rule["minimum"] if "minimum" in rule else value > rule["exclusiveMinimum"]
    try:
        parse_fields(prompt="a", **{name: value})
    except InvalidRequest:
        assert not (is_typed and is_above and value <= rule["maximum"])
    else:
        assert is_typed
        assert is_above
        assert value <= rule["maximum"]


def test_the_schema_names_every_field_and_requires_the_prompt() -> None:
    schema = contract.schema()
    assert set(schema["properties"]) == {"prompt", *FIELDS}
    assert schema["required"] == ["prompt"]


def test_the_response_schema_tells_one_answer_from_many() -> None:
    schema = contract.response_schema()
    assert set(schema["properties"]) == set(schema["required"]) == {"response"}
    kinds = [choice["type"] for choice in schema["properties"]["response"]["oneOf"]]
    assert kinds == ["string", "array"]
