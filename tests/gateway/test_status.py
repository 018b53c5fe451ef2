"""The status page's routes: the page itself, and the box to try prompts in."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import anyio
import pytest

from gateway import status_page
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import Gateway, serving, settings_for

pytestmark = pytest.mark.anyio


async def attempt(gateway: Gateway, prompt: Any, **fields: Any) -> dict[str, Any]:
    response = await gateway.client.post("/status/try", json={"prompt": prompt, **fields})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


async def test_the_page_is_one_document_that_may_talk_to_this_service_only(
    calm_gateway: Gateway,
) -> None:
    response = await calm_gateway.get("/status")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    links = re.findall(r"""(?:src|href|action)=["']([^"']+)""", response.text)
    assert {link for link in links if not link.startswith(("data:", "#"))} == {
        *("info", "metrics", "openapi.json")
    }
    assert "{{" not in response.text


async def test_the_page_builds_no_markup_from_text() -> None:
    page = status_page.load().body.decode()
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert way not in page


async def test_every_label_has_its_chinese() -> None:
    """A label without one, or a word of one language only, was seen as a hole in the page."""
    words = (status_page.FOLDER / "words.js").read_text(encoding="utf-8")
    entries = re.findall(r"(\w+): \[\s*(\"[^\"]*\"),\s*(\"[^\"]*\")\]", words)
    assert len(entries) > 80
    for name, english, chinese in entries:
        for place in set(re.findall(r"\{\d\}", english)):
            assert place in chinese, name
    used = set()
    for file in status_page.SCRIPTS:
        text = (status_page.FOLDER / file).read_text(encoding="utf-8")
        used |= set(re.findall(r'say\("(\w+)"', text))
    assert used <= {name for name, *_ in entries}


async def test_switched_off_there_is_nothing_of_it(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, status_page=False)) as gateway:
        for method, path in (
            ("GET", "/status"),
            ("GET", "/status/events"),
            ("POST", "/status/try"),
        ):
            response = await gateway.client.request(method, path)
            assert response.status_code == 404, path
        assert "/status" not in (await gateway.get("/openapi.json")).json()["paths"]
        assert (await gateway.info())["phase"] == "ready"


async def test_requests_are_counted_by_its_routes(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await attempt(gateway, "hello")
        for path in ("/status", "/status/nothing", "/status/"):
            await gateway.get(path)
        sample = gateway.sample
        name = "evalgate_requests_total"
        assert await sample(name, route="/status/try", status="200") == 1
        assert await sample(name, route="/status", status="200") == 1
        assert await sample(name, route="other", status="404") == 2


async def test_a_prompt_that_is_tried_tells_what_the_engine_wrote(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Text("<think>hm</think>\n a warp is 32 threads "))])
    async with serving(settings_for(engine.url)) as gateway:
        told = await attempt(gateway, "what is a warp?")
    [each] = told["answers"]
    assert each["answer"] == "a warp is 32 threads"
    exchange = each["exchange"]
    assert exchange["raw"] == "<think>hm</think>\n a warp is 32 threads "
    assert exchange["finish_reason"] == "stop"
    assert exchange["completion_tokens"] > 0
    assert 0 <= exchange["first_text_s"] <= exchange["seconds"] <= told["seconds"]


async def test_a_list_is_answered_in_order_as_predict_does(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Status(400, "no"), match="bad")])
    prompts = ["one", "", "bad", *(f"question {number}" for number in range(20))]
    async with serving(settings_for(engine.url)) as gateway:
        told = await attempt(gateway, prompts)
        answers = (await gateway.predict(prompts)).json()["response"]
    assert [each["answer"] for each in told["answers"]] == answers
    assert told["answers"][1]["exchange"] is None, "a blank prompt is not asked"
    assert told["answers"][2]["exchange"]["finish_reason"] is None
    for each, answer in zip(told["answers"][3:], answers[3:], strict=True):
        assert each["exchange"]["raw"] == answer


async def test_prompts_that_are_tried_do_not_share_calls(engine: FakeEngine) -> None:
    """Of a shared call only the answers are known, not what the engine wrote for each."""
    await engine.set_script(Script(has_groups=True))
    async with serving(settings_for(engine.url, prompts_per_call=4)) as gateway:
        told = await attempt(gateway, ["question"] * 32)
        assert all(each["exchange"]["raw"] for each in told["answers"])
        [last] = (await gateway.info())["batches"]["last"]
        assert last["is_trial"]


async def test_what_came_until_the_deadline_is_told(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.HalfStream(chunks=2, then="stall"), match="slow")])
    async with serving(settings_for(engine.url, predict_deadline_s=3)) as gateway:
        [each] = (await attempt(gateway, "slow question"))["answers"]
    assert each["answer"]
    assert each["exchange"]["raw"].startswith(each["answer"])
    assert each["exchange"]["finish_reason"] is None


async def test_without_streams_the_raw_completion_is_not_known(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, stream_answers=False)) as gateway:
        [each] = (await attempt(gateway, "hello"))["answers"]
    assert each["answer"]
    assert each["exchange"]["raw"] is None
    assert each["exchange"]["seconds"] >= 0


async def test_it_has_the_limits_of_predict(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, max_batch_prompts=3)) as gateway:
        for body, status in (
            ({"prompt": ["x"] * 4}, 413),
            ({"prompt": 1}, 400),
            ({"prompt": "x", "temperature": 9}, 400),
        ):
            response = await gateway.client.post("/status/try", json=body)
            assert response.status_code == status
            assert set(response.json()) == {"error"}


async def test_only_some_exchanges_of_a_long_list_are_kept(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        told = await attempt(gateway, ["x"] * 250)
    kept = [each for each in told["answers"] if each["exchange"]]
    assert (len(told["answers"]), len(kept)) == (250, 200)
    assert all(each["answer"] for each in told["answers"])


async def test_a_trial_that_is_left_stops_its_calls(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await engine.set_script([Rule(script.Stall())])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attempt, gateway, "stalled")
            await engine.wait_until(lambda stats: stats.running == 1)
            tasks.cancel_scope.cancel()
        await engine.wait_until(lambda stats: stats.running == 0)
        await gateway.wait_for_sample(
            "evalgate_requests_total", 1, route="/status/try", status="499"
        )
