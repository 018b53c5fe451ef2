"""The gateway as a process, and clients that send it anything but what they should.

`HOSTILE_SCALE=20 pytest -s` of this file tries twenty times as many generated cases, and prints
how many there were.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.attacks import BODIES, BROKEN, CHUNKED, CUT, REQUESTS
from tests.gateway.hostile import (
    GOOD_BODY,
    MAX_BODY_BYTES,
    SCALE,
    Reply,
    Target,
    Wire,
    head,
    post,
    under_attack,
)

PAUSE_S = 0.002
SEEDS = [
    GOOD_BODY,
    b'{"prompt": "a", "temperature": 0.5, "top_k": 10, "stop": ["\\u3002", "x"]}',
    rb'{"prompt": ["\ud83d\ude00", "\\\"", ""], "max_new_tokens": 128, "top_p": 1e-1}',
    b'{"prompt": "a", "id": [null, true, -0.0, {"b": {}}], "repetition_penalty": 1.0}',
]
# What turns up in attacks more often than in random bytes.
TOKENS = [b"\0", b"[", b"]", b"{", b"}", b'"', b"\\", b"\\ud800", b"\xff", b"\xed\xa0\x80", b","]
TOKENS += [b":", b"-", b"1e999", b"NaN", b"9" * 400, b"null", b"\xef\xbb\xbf", b"\r\n", b"[" * 2000]
HTTP_TOKENS = [*TOKENS, b" ", b"\r\n\r\n", b"\n", b"\r", b"Content-Length: 1\r\n", b"HTTP/1.1"]
HTTP_TOKENS += [b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"%"]


def generated(examples: int) -> settings:
    """Return the settings of a search: always the same one, unless a person asked for more."""
    return settings(
        derandomize=SCALE == 1,
        database=None,
        deadline=None,
        max_examples=examples * SCALE,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes], tokens: list[bytes]) -> bytes:
    """Cut, overwrite, repeat and spike what was valid."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from([0, 0, 1, 1, 2, 8, 40]))
        new = draw(st.sampled_from(tokens) | st.binary(max_size=4) | st.just(bytes(data[at:])))
        data[at : at + size] = new[:4096]
    return bytes(data)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with under_attack("bytes") as target:
        yield target


def expect(wire: Wire) -> Reply:
    """Return the next reply, which has to come, and to be one that a client may see."""
    reply = wire.reply()
    assert reply is not None
    reply.check()
    return reply


def expect_usable(wire: Wire) -> None:
    """Assert that the connection carries another request."""
    wire.send(head("GET", "/livez"))
    assert expect(wire).status == 200


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_answered_or_refused(target: Target, name: str) -> None:
    body, status = BODIES[name]
    with target.wire() as wire:
        wire.send(post(body))
        reply = expect(wire)
        assert reply.status == status, reply.body[:500]
        expect_usable(wire)
    target.check()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_strange_request_is_answered(target: Target, name: str) -> None:
    request = REQUESTS[name]
    with target.wire() as wire:
        wire.send(request.data)
        assert tuple(expect(wire).status for _ in request.statuses) == request.statuses
        expect_usable(wire)
    target.check()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused_and_the_connection_closed(target: Target, name: str) -> None:
    with target.wire() as wire:
        wire.send(BROKEN[name])
        replies = wire.replies()
    # A request whose body breaks may have got its own refusal first.
    assert all(reply.status == 400 for reply in replies)
    assert replies[-1].is_plain_refusal
    target.check()


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("is_rude", [False, True], ids=["close", "reset"])
def test_a_client_that_stops_half_way_is_let_go(target: Target, name: str, is_rude: bool) -> None:
    with target.wire() as wire:
        wire.send(CUT[name])
        if is_rude:
            wire.reset()
        else:
            wire.end()
            assert wire.replies() == []
    target.check()


def test_a_client_that_leaves_before_the_answer_is_let_go(target: Target) -> None:
    for _ in range(50):
        with target.wire() as wire:
            wire.send(post(GOOD_BODY))
            wire.reset()
    target.check()


def test_http_1_0_is_answered_once(target: Target) -> None:
    with target.wire() as wire:
        wire.send(b"GET /livez HTTP/1.0\r\n\r\n" * 3)
        [reply] = wire.replies()
    assert reply.status == 200
    target.check()


def test_a_body_shorter_than_it_says_waits_for_the_rest(target: Target) -> None:
    with target.wire() as wire, target.wire() as other:
        wire.send(head("POST", "/predict", f"Content-Length: {len(GOOD_BODY) + 2}") + GOOD_BODY)
        other.send(head("GET", "/livez"))
        assert expect(other).status == 200
        wire.send(b"  ")
        assert expect(wire).status == 200
    target.check()


def test_a_body_longer_than_it_says_is_no_second_request(target: Target) -> None:
    with target.wire() as wire:
        wire.send(head("POST", "/predict", "Content-Length: 5") + GOOD_BODY)
        replies = wire.replies()
    assert [reply.status for reply in replies] in ([400], [400, 400])
    assert replies[-1].is_plain_refusal
    target.check()


@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 10**12, 2**63 - 1])
@pytest.mark.parametrize("expectation", [(), ("Expect: 100-continue",)], ids=["", "asked"])
def test_a_length_over_the_limit_is_refused_unread(
    target: Target, length: int, expectation: tuple[str, ...]
) -> None:
    with target.wire() as wire:
        wire.send(head("POST", "/predict", f"Content-Length: {length}", *expectation))
        assert expect(wire).status == 413
    target.check()


def test_chunks_over_the_limit_are_refused_as_they_come(target: Target) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with target.wire() as wire:
        wire.send(CHUNKED)
        for _ in range(MAX_BODY_BYTES // 0x10000 + 1):
            wire.send(chunk)
        assert expect(wire).status == 413
    target.check()


@pytest.mark.parametrize("data", [post(GOOD_BODY), CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"])
def test_a_slow_client_is_waited_for_and_holds_nobody_up(target: Target, data: bytes) -> None:
    with target.wire() as wire:
        wire.trickle(data[:-1], PAUSE_S)
        target.check()
        wire.send(data[-1:])
        assert expect(wire).status == (200 if data.startswith(post(GOOD_BODY)[:40]) else 400)
        expect_usable(wire)


def test_many_clients_that_only_begin_hold_nobody_up(target: Target) -> None:
    wires = [target.wire() for _ in range(200)]
    for number, wire in enumerate(wires):
        wire.send(post(GOOD_BODY)[: number + 1])
    target.check()
    for wire in wires:
        wire.reset()
    target.check()


@generated(500)
@given(body=mutated(SEEDS, TOKENS) | st.binary(max_size=200))
def test_a_generated_body_is_answered_or_refused(target: Target, body: bytes) -> None:
    with target.wire() as wire:
        wire.send(post(body))
        assert expect(wire).status in (200, 400, 413)
        expect_usable(wire)
    target.check()


@generated(500)
@given(
    data=mutated([post(body) for body in SEEDS] + list(CUT.values()), HTTP_TOKENS)
    | st.binary(max_size=200)
)
def test_generated_bytes_are_answered_refused_or_dropped(target: Target, data: bytes) -> None:
    with target.wire() as wire:
        wire.send(data)
        wire.end()
        for reply in wire.replies():
            reply.check()
    target.check()
