"""Raw output as lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launcher.log_tail import LineSplitter, redact_argv


def test_lines_are_whole_clean_and_not_blank() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"\x1b[36mone\x1b[0m\n\n  \ntw") == ["one"]
    assert splitter.feed("o 你".encode()[:4]) == []
    assert splitter.feed("o 你".encode()[4:] + b"\nrest") == ["two 你"]
    assert splitter.flush() == ["rest"]
    assert splitter.flush() == []


def test_a_progress_bar_is_a_line_per_step() -> None:
    assert LineSplitter().feed(b" 10%|#\r 20%|##\r\n") == [" 10%|#", " 20%|##"]


def test_long_lines_are_shortened_and_endless_ones_cut() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * 1000 + b"\n") == ["x" * 500]
    assert splitter.feed(b"y" * 70_000) == ["y" * 500]
    assert splitter.feed(b"z\n") == ["z"]


def test_secrets_are_hidden() -> None:
    assert LineSplitter(["sesame"]).feed(b"key=sesame!\n") == ["key=***!"]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_chunks_make_no_difference(data: bytes, size: int) -> None:
    whole, parts = LineSplitter(), LineSplitter()
    lines = [line for i in range(0, len(data), size) for line in parts.feed(data[i : i + size])]
    assert lines + parts.flush() == whole.feed(data) + whole.flush()


def test_api_keys_on_a_command_line_are_hidden() -> None:
    assert redact_argv(["p", "--api-key", "a", "b", "--port", "1"]) == (
        *("p", "--api-key", "***", "***", "--port", "1"),
    )
    assert redact_argv(["--api_key=a", "x"])[0] == "--api_key=***"
    assert redact_argv(["--port=1", "x"]) == ("--port=1", "x")
