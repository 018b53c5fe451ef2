"""The live feed: what it sends, to how many, and that it ends."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from gateway.status_feed import MAX_LISTENERS, Feed
from tests.fakes.running import FakeEngine
from tests.gateway.serving import Gateway, client_of, gateway_process, serving, settings_for
from tests.turns import let_others_run

pytestmark = pytest.mark.anyio


def decoded(event: bytes) -> dict[str, Any]:
    data = event.decode().removeprefix("data: ").removesuffix("\n\n")
    assert "\n" not in data
    told: dict[str, Any] = json.loads(data)
    return told


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))

    async with gateway.client.stream("GET", "/status/events") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events(response)


async def test_an_event_holds_what_has_changed_since() -> None:
    state: dict[str, Any] = {"a": 1, "b": [1], "same": {"c": 2}}
    feed = Feed(lambda: state, interval_s=0)
    version, event = feed.event(0)
    assert decoded(event) == {"a": 1, "b": [1], "same": {"c": 2}}
    state = {"a": 1, "b": [1, 2], "same": state["same"]}
    later, event = feed.event(version)
    assert decoded(event) == {"b": [1, 2]}
    assert decoded(feed.event(later)[1]) == {}
    assert decoded(feed.event(version)[1]) == {"b": [1, 2]}, "to one that missed an event"
    assert decoded(feed.event(0)[1]) == state


async def test_many_listeners_look_once() -> None:
    looks = 0

    def describe() -> dict[str, Any]:
        nonlocal looks
        looks += 1
        return {}

    feed = Feed(describe, interval_s=60)
    for _ in range(5):
        feed.event(0)
    assert looks == 1


async def test_what_utf8_cannot_hold_is_sent_all_the_same() -> None:
    assert decoded(Feed(lambda: {"a": "\ud800\u2028\n"}).event(0)[1]) == {"a": "?\u2028\n"}


async def test_a_closed_feed_ends_its_streams() -> None:
    feed = Feed(dict, interval_s=60)
    went_on: list[bool] = []

    async def wait() -> None:
        went_on.append(await feed.wait())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await let_others_run()
        assert not went_on
        feed.close()
    assert went_on == [False]
    assert feed.is_full


async def test_the_stream_begins_with_everything_and_goes_on_with_changes(
    engine: FakeEngine,
) -> None:
    async with serving(settings_for(engine.url)) as gateway, listening(gateway) as events:
        with anyio.fail_after(10):
            first = await anext(events)
            await gateway.predict(["one", "two"])
            info = await gateway.info()
            assert set(first) == set(info)
            assert first["phase"] == "ready"
            assert "settings" not in (second := await anext(events))
            while "batches" not in second:
                second = await anext(events)
            assert second["batches"]["last"][0]["prompts"] == 2


async def test_nobody_looks_once_the_page_is_closed(engine: FakeEngine) -> None:
    """A place is free again: that a listener has left is noticed without writing to it."""
    async with serving(settings_for(engine.url)) as gateway:
        most = await gateway.sample("evalgate_tasks") + 2
        for _ in range(MAX_LISTENERS + 4):
            async with listening(gateway) as events:
                await anext(events)
            with anyio.fail_after(5):
                while await gateway.sample("evalgate_tasks") > most:  # noqa: ASYNC110
                    await anyio.sleep(0.01)


async def test_there_is_a_bound_on_listeners_and_info_is_still_told(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway, anyio.create_task_group() as tasks:

        async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with listening(gateway) as events:
                await anext(events)
                task_status.started()
                await anyio.sleep_forever()

        for _ in range(MAX_LISTENERS):
            await tasks.start(listen)
        refused = await gateway.get("/status/events")
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "10"
        assert refused.json()["error"]["type"] == "Overloaded"
        assert (await gateway.info())["phase"] == "ready"
        tasks.cancel_scope.cancel()


async def test_head_of_the_feed_takes_no_place(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        response = await gateway.client.head("/status/events")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")


async def test_an_open_page_does_not_hold_up_a_shutdown(engine: FakeEngine) -> None:
    environment = {"ENGINE_URL": engine.url, "GRACE_PERIOD_S": "60"}
    with gateway_process(environment) as process:
        await anyio.to_thread.run_sync(process.wait_for_stderr, "ready at")
        async with (
            client_of(process.port) as client,
            listening(Gateway(process.port, client)) as it,
        ):
            await anext(it)
            process.signal(signal.SIGTERM)
            assert [event async for event in it] == [], "the stream is ended, not cut"
        assert await anyio.to_thread.run_sync(process.wait) == -signal.SIGTERM
