"""The engine's output on its way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from launcher.log_pump import LogPump
from launcher.log_tail import LineSplitter
from tests.turns import let_others_run


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    source, writer = os.pipe()
    yield source, writer
    os.close(source)


@pytest.mark.anyio
async def test_bytes_go_on_unchanged_and_lines_are_kept(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    kept: list[str] = []
    sink = os.open(tmp_path / "sink", os.O_CREAT | os.O_WRONLY)
    pump = LogPump(pipe[0], LineSplitter(), kept.extend, sink)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pump.run)
        for chunk in (b"one\n", b"tw", b"o\n\xff end"):
            os.write(pipe[1], chunk)
            await let_others_run()
        os.close(pipe[1])
        await pump.wait_until_drained(5)
    os.close(sink)
    assert (tmp_path / "sink").read_bytes() == b"one\ntwo\n\xff end"
    assert kept == ["one", "two", "\ufffd end"]


@pytest.mark.anyio
async def test_a_log_that_cannot_be_written_is_told_once_and_reading_goes_on(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[str] = []
    full = os.open("/dev/full", os.O_WRONLY)
    pump = LogPump(pipe[0], LineSplitter(), kept.extend, full)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pump.run)
        for line in (b"one\n", b"two\n"):
            os.write(pipe[1], line)
            await let_others_run()
        os.close(pipe[1])
    os.close(full)
    assert kept == ["one", "two"]
    assert caplog.messages == [
        "cannot write the engine's log: [Errno 28] No space left on device; going on without it"
    ]


@pytest.mark.anyio
async def test_an_open_pipe_is_not_waited_for_for_ever(pipe: tuple[int, int]) -> None:
    pump = LogPump(pipe[0], LineSplitter(), lambda lines: None)
    with anyio.fail_after(5):
        await pump.wait_until_drained(0.05)
    os.close(pipe[1])
