"""Owns a console that supervisord can open by its name; scripts/console is the same for sh."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

# What stops all of a service at once must not cost the last lines.
_PASS_ON = ("/bin/sh", "-c", "trap '' HUP INT TERM; exec cat")
# It ends once nobody holds the pipe: the last lines come by then. Who outlives supervisord is left.
PATIENCE_S = 5.0


@asynccontextmanager
async def openable(output: int, patience_s: float = PATIENCE_S) -> AsyncIterator[int]:
    """Yield `output`, or where that is a socket, a pipe to it for the length of the block.

    supervisord opens /dev/stderr anew for its programs; of a socket, as systemd's journal is one,
    the kernel refuses that, and no program would be started.
    """
    if not stat.S_ISSOCK(os.fstat(output).st_mode):
        yield output
        return
    read_end, write_end = os.pipe()
    try:
        passing_on = await anyio.open_process(
            _PASS_ON, stdin=read_end, stdout=output, stderr=output, start_new_session=True
        )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    try:
        yield write_end
    finally:
        os.close(write_end)
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(patience_s):
                await passing_on.wait()
            if passing_on.returncode is None:
                passing_on.kill()
                await passing_on.wait()
