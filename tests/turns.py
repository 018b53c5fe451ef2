"""Lets other tasks go on: what a test waits for when nothing tells that they have."""

from anyio.lowlevel import checkpoint


async def let_others_run() -> None:
    """Give every other task of the event loop some turns, enough to reach what it waits on.

    Not anyio.wait_all_tasks_blocked: that waits for a moment in which the whole loop is idle, and a
    service may share the loop. A test that used it was once seen to outlast its five seconds.
    """
    for _ in range(100):
        await checkpoint()
