"""A console that can be opened by its name, for real descriptors."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from launcher.console import openable

pytestmark = pytest.mark.anyio


def by_name(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


async def test_what_can_be_opened_is_taken_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        async with openable(file.fileno()) as output:
            assert output == file.fileno()


async def test_a_socket_gets_what_is_written_to_what_stands_for_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(OSError, match="No such device"):
            by_name(theirs.fileno()).write_text("a line\n")
        async with openable(theirs.fileno()) as output:
            by_name(output).write_text("a line\n")
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(100) == b"a line\n"
        assert ours.recv(100) == b""


async def test_who_keeps_it_open_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with openable(theirs.fileno(), patience_s=0.1) as output:
            kept = os.dup(output)
        with pytest.raises(BrokenPipeError):
            os.write(kept, b"too late")
        os.close(kept)
