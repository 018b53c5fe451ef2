import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.sampling import MAX_STOP_STRINGS, RANGES, Sampling, override

STEADY = settings(derandomize=True, deadline=None)
DEFAULTS = Sampling(
    max_new_tokens=512,
    temperature=0.0,
    top_p=1.0,
    top_k=-1,
    repetition_penalty=1.0,
    frequency_penalty=0.0,
    stop=("###",),
)
INTEGERS = [name for name, limits in RANGES.items() if limits.is_integer]
FRACTIONS = [name for name, limits in RANGES.items() if not limits.is_integer]


def field_of(sampling: Sampling, name: str) -> float:
    value: float = getattr(sampling, name)
    return value


def test_no_field_leaves_the_defaults() -> None:
    assert override(DEFAULTS, {}) == DEFAULTS


def test_null_is_unset() -> None:
    assert override(DEFAULTS, dict.fromkeys([*RANGES, "stop"])) == DEFAULTS


def test_unknown_fields_are_ignored() -> None:
    assert override(DEFAULTS, {"prompt": "x", "top_x": "y", "seed": 1}) == DEFAULTS


def test_every_field_can_be_set() -> None:
    fields = {
        "max_new_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "repetition_penalty": 1.1,
        "frequency_penalty": -0.5,
    }
    assert override(DEFAULTS, {**fields, "stop": ["a", "b"]}) == Sampling(
        7, 0.5, 0.9, 40, 1.1, -0.5, ("a", "b")
    )


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_kept(name: str) -> None:
    limits = RANGES[name]
    assert field_of(override(DEFAULTS, {name: limits.high}), name) == limits.high
    if limits.is_low_open:
        with pytest.raises(InvalidRequest, match=f"^{name} must be"):
            override(DEFAULTS, {name: limits.low})
    else:
        assert field_of(override(DEFAULTS, {name: limits.low}), name) == limits.low


@pytest.mark.parametrize("name", RANGES)
def test_a_value_outside_its_range_is_refused(name: str) -> None:
    limits = RANGES[name]
    for value in (limits.low - 1, limits.high + 1, 10**400, -(10**400), math.inf, math.nan):
        with pytest.raises(InvalidRequest, match=f"^{name} must be"):
            override(DEFAULTS, {name: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", 3, "temperature must be a number in [0, 2], got 3"),
        ("temperature", True, "temperature must be a number in [0, 2], got True"),
        ("temperature", "1", "temperature must be a number in [0, 2], got '1'"),
        ("top_p", 0, "top_p must be a number in (0, 1], got 0"),
        ("top_k", -2, "top_k must be an integer in [-1, 1e+06], got -2"),
        ("max_new_tokens", 12.5, "max_new_tokens must be an integer in [1, 131072], got 12.5"),
        ("max_new_tokens", 0, "max_new_tokens must be an integer in [1, 131072], got 0"),
        ("frequency_penalty", [1], "frequency_penalty must be a number in [-2, 2], got [1]"),
        ("stop", "", "stop must be a non-empty string or a list of such, got ''"),
        ("stop", ["a", ""], "stop must be a non-empty string or a list of such, got ['a', '']"),
        ("stop", ["a", 1], "stop must be a non-empty string or a list of such, got ['a', 1]"),
        ("stop", {"a": 1}, "stop must be a non-empty string or a list of such, got {'a': 1}"),
        ("stop", False, "stop must be a non-empty string or a list of such, got False"),
    ],
)
def test_the_message_names_field_rule_and_value(field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        override(DEFAULTS, {field: value})
    assert str(caught.value) == message


def test_a_long_value_is_shown_shortened() -> None:
    with pytest.raises(InvalidRequest) as caught:
        override(DEFAULTS, {"temperature": "x" * 10_000})
    assert len(str(caught.value)) < 120
    assert "xxx...xxx" in str(caught.value)


@pytest.mark.parametrize("name", RANGES)
def test_a_boolean_is_no_number(name: str) -> None:
    for value in (True, False):
        with pytest.raises(InvalidRequest, match=name):
            override(DEFAULTS, {name: value})


@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_may_be_written_as_a_float(name: str) -> None:
    value = field_of(override(DEFAULTS, {name: 128.0}), name)
    assert (value, type(value)) == (128, int)


@pytest.mark.parametrize("name", FRACTIONS)
def test_a_fraction_may_be_written_as_an_integer(name: str) -> None:
    value = field_of(override(DEFAULTS, {name: 1}), name)
    assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize(
    ("given_stop", "stop"), [("a", ("a",)), (["a"], ("a",)), (["a", "\n"], ("a", "\n")), ([], ())]
)
def test_stop_is_a_string_or_a_list(given_stop: object, stop: tuple[str, ...]) -> None:
    assert override(DEFAULTS, {"stop": given_stop}).stop == stop


def test_too_many_stop_strings_are_refused() -> None:
    assert len(override(DEFAULTS, {"stop": ["x"] * MAX_STOP_STRINGS}).stop) == MAX_STOP_STRINGS
    with pytest.raises(InvalidRequest, match=r"^stop must hold at most 16 strings, got 17$"):
        override(DEFAULTS, {"stop": ["x"] * (MAX_STOP_STRINGS + 1)})


@STEADY
@given(
    name=st.sampled_from([*RANGES, "stop"]),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text() | st.integers()),
)
def test_any_value_is_taken_or_refused_by_name(name: str, value: object) -> None:
    try:
        sampling = override(DEFAULTS, {name: value})
    except InvalidRequest as exc:
        assert str(exc).startswith(name)
    else:
        assert all(
            limits.holds(field_of(sampling, each)) and math.isfinite(field_of(sampling, each))
            for each, limits in RANGES.items()
        )
