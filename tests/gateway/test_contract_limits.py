"""What bodies may cost that are built to cost much."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest

from gateway.errors import GatewayError
from tests.gateway.test_contract import parse


@pytest.mark.parametrize("field", ["prompt", "stop", "temperature", "unknown"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_no_depth_of_nesting_is_more_than_a_refusal(field: str, opening: str, closing: str) -> None:
    """What was just shallow enough to be parsed was too deep to be shown: a RecursionError."""
    for depth in [*range(800, 1100), *range(1100, 50_000, 1999)]:
        value = opening * depth + "0" + closing * depth
        with contextlib.suppress(GatewayError):
            parse(f'{{"prompt": "a", "{field}": {value}}}'.encode())


@pytest.mark.parametrize(
    "opening", [b'{"prompt": "a", ', b'{"prompt": "\\ud800", '], ids=["whole", "surrogate"]
)
def test_what_is_not_known_is_not_kept(opening: bytes) -> None:
    """A body of empty lists in an unknown field took 35 times its size, and seconds to walk."""
    body = opening + b'"unknown": [' + b"[]," * 500_000 + b"[]]}"
    tracemalloc.start()
    try:
        request = parse(body)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(request.prompts) == 1
    assert kept < 100_000
    if opening.endswith(b'"a", '):
        assert peak < len(body)
