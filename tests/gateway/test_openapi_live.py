"""What the gateway answers, over a socket, against what its description says."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from openapi_schema_validator import OAS31Validator

from gateway.openapi import document
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Action, Rule, Script
from tests.gateway.serving import Gateway, serving, settings_for

pytestmark = pytest.mark.anyio
DOCUMENT = document("1.2.3")


def described(path: str, method: str, status: int) -> dict[str, Any]:
    """Return what the description says of a response."""
    response = DOCUMENT["paths"][path][method]["responses"][str(status)]
    return followed(response)


def followed(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        *_, kind, name = value["$ref"].split("/")
        value = DOCUMENT["components"][kind][name]
    return value


def conforms(response: httpx.Response, description: dict[str, Any]) -> None:
    """Assert that media type, body and headers are as described."""
    [(media_type, content)] = description["content"].items()
    assert response.headers["content-type"].partition(";")[0] == media_type
    body = response.json() if media_type == "application/json" else response.text
    # References in a schema lead to the root of the whole document.
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    OAS31Validator(schema).validate(body)
    for name, reference in description["headers"].items():
        header = followed(reference)
        assert name in response.headers or not header["required"]
        if name in response.headers:
            told = response.headers[name]
            value = int(told) if header["schema"]["type"] == "integer" else told
            OAS31Validator(header["schema"]).validate(value)


def check(response: httpx.Response, path: str, method: str, status: int) -> None:
    assert response.status_code == status, response.text
    conforms(response, described(path, method, status))


@pytest.mark.parametrize("path", DOCUMENT["paths"])
async def test_every_route_answers_as_described(calm_gateway: Gateway, path: str) -> None:
    if path != "/predict":
        check(await calm_gateway.get(path), path, "get", 200)
    method = next(iter(DOCUMENT["paths"][path]))
    check(await calm_gateway.client.delete(path), path, method, 405)


@pytest.mark.parametrize("path", ["/", "/readyz"])
async def test_a_gateway_that_warms_up_answers_as_described(engine: FakeEngine, path: str) -> None:
    await engine.set_script(Script(health="503"))
    async with serving(settings_for(engine.url), is_warm=False) as gateway:
        check(await gateway.get(path), path, "get", 503)


async def test_an_unknown_path_is_answered_as_described(calm_gateway: Gateway) -> None:
    response = await calm_gateway.get("/nope")
    assert response.status_code == 404
    conforms(response, DOCUMENT["components"]["responses"]["Error404"])


@pytest.mark.parametrize(
    ("prompt", "status"), [("a", 200), (["a", ""], 200), ([], 200), ([1], 400), (["a"] * 11, 413)]
)
async def test_predict_answers_as_described(engine: FakeEngine, prompt: Any, status: int) -> None:
    async with serving(settings_for(engine.url, max_batch_prompts=10)) as gateway:
        check(await gateway.predict(prompt), "/predict", "post", status)


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (script.Status(400, "no"), 400),
        (script.Garbage(), 502),
        (script.Reset("after_headers"), 503),
        (script.Stall(), 504),
    ],
    ids=["refuses", "garbage", "gone", "stalls"],
)
async def test_a_failing_engine_is_told_as_described(
    engine: FakeEngine, action: Action, status: int
) -> None:
    deadline_s = 2.0 if status == 504 else 15.0
    settings = settings_for(engine.url, predict_deadline_s=deadline_s, max_engine_attempts=1)
    async with serving(settings) as gateway:
        await engine.set_script([Rule(action)])
        check(await gateway.predict(["a", "b"]), "/predict", "post", status)


async def test_too_much_is_told_as_described(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, max_open_prompts=2)) as gateway:
        await engine.set_script([Rule(script.Hold())])
        async with anyio.create_task_group() as group:
            group.start_soon(gateway.predict, ["a", "b"])
            await engine.wait_until(lambda stats: stats.running == 2)
            response = await gateway.predict("c")
            await engine.release()
    check(response, "/predict", "post", 429)
    assert int(response.headers["retry-after"]) > 0
