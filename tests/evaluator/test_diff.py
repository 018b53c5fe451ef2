from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.diff import Marked, Piece, differences


def joined(pieces: Marked) -> str:
    return "".join(piece.text for piece in pieces)


def same(pieces: Marked) -> str:
    return "".join(piece.text for piece in pieces if piece.is_same)


def different(pieces: Marked) -> list[str]:
    return [piece.text for piece in pieces if not piece.is_same]


def test_a_word_that_differs_is_marked_on_both_sides() -> None:
    reference, answer = differences("用 block 编号乘以大小", "用 block 编号加上大小")
    assert reference == (
        Piece("用 block 编号", True),
        Piece("乘以", False),
        Piece("大小", True),
    )
    assert different(answer) == ["加上"]


def test_equal_texts_have_one_piece() -> None:
    piece = (Piece("warp 由 32 个 thread 组成", True),)
    assert differences("warp 由 32 个 thread 组成", "warp 由 32 个 thread 组成") == (piece, piece)


def test_case_does_not_differ_and_is_kept() -> None:
    reference, answer = differences("GPU 调度", "gpu 调度")
    assert reference == (Piece("GPU 调度", True),)
    assert answer == (Piece("gpu 调度", True),)


def test_empty_sides_have_no_pieces() -> None:
    assert differences("", "") == ((), ())
    assert differences("线程", "") == ((Piece("线程", False),), ())
    assert differences("", "线程") == ((), (Piece("线程", False),))


def test_what_is_missing_at_the_end_is_marked() -> None:
    reference, answer = differences("合并访问，减少事务。", "合并访问")
    assert different(reference) == ["，减少事务。"]
    assert different(answer) == []


def test_a_blank_between_two_differences_belongs_to_them() -> None:
    reference, _ = differences("a red fox ran", "a blue dog ran")
    assert different(reference) == ["red fox"]


def test_a_blank_at_the_edge_is_same() -> None:
    reference, _ = differences(" red", " blue")
    assert reference == (Piece(" ", True), Piece("red", False))


@given(st.text(max_size=60), st.text(max_size=60))
def test_pieces_are_the_texts_and_what_is_same_is_same(reference: str, answer: str) -> None:
    a, b = differences(reference, answer)
    assert (joined(a), joined(b)) == (reference, answer)
    assert all(piece.text for piece in (*a, *b))
    assert all(one.is_same is not other.is_same for one, other in zip(a, a[1:], strict=False))
    if not any(character.isspace() for character in reference + answer):
        assert same(a).lower() == same(b).lower()


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("的" * 4000, "的" * 2000 + "地" + "的" * 1999),
        ("a b " * 2000, "b b a " * 1300),
        ("执行同一条指令，" * 400 + "完", "而且" + "执行同一条指令。" * 400),
    ],
)
def test_runaway_answers_are_compared_in_bounded_time(reference: str, answer: str) -> None:
    """difflib's exact search is cubic in repeated words: it took minutes for texts like these."""
    start = time.monotonic()
    a, b = differences(reference, answer)
    assert time.monotonic() - start < 10
    assert (joined(a), joined(b)) == (reference, answer)
