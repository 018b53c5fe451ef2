"""The wait for a starting engine."""

from __future__ import annotations

import re

import anyio
import pytest

from launcher.startup import wait_until_ready
from tests.fakes.running import FakeEngine
from tests.fakes.script import Script
from tests.ports import free_port


async def wait(url: str, is_stopping: list[bool]) -> bool:
    return await wait_until_ready(
        url,
        "/health",
        poll_s=0.02,
        progress_s=0.05,
        is_stopping=lambda: is_stopping[0],
        last_log_line=lambda: "loading",
        on_poll=lambda: None,
    )


@pytest.mark.anyio
async def test_it_ends_with_the_first_sign_of_health(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with FakeEngine.start(Script(health="503")) as engine:

        async def get_healthy() -> None:
            while not caplog.messages:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            await engine.set_script(Script())

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(get_healthy)
                assert await wait(engine.url, [False])
    assert caplog.messages
    assert all(re.fullmatch(r"starting, \d+ s: loading", told) for told in caplog.messages)


@pytest.mark.anyio
async def test_a_stop_ends_it() -> None:
    assert not await wait(f"http://127.0.0.1:{free_port()}", [True])


@pytest.mark.anyio
async def test_health_after_a_stop_is_none() -> None:
    is_stopping = [False]

    def stop() -> None:
        is_stopping[0] = True

    with FakeEngine.start() as engine:
        assert not await wait_until_ready(
            engine.url,
            "/health",
            poll_s=0.02,
            progress_s=10,
            is_stopping=lambda: is_stopping[0],
            last_log_line=lambda: "",
            on_poll=stop,
        )
