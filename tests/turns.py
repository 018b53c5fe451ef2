"""Lets other tasks go on: what a test waits for when nothing tells that they have."""

from anyio.lowlevel import checkpoint


async def let_others_run() -> None:
    """Give every other task of the event loop some turns, enough to reach what it waits on.

    Not anyio.wait_all_tasks_blocked: a service that runs in the same loop is never wholly blocked,
    and that function then turns for ever.
    """
    for _ in range(100):
        await checkpoint()
