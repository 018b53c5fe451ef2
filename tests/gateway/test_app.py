from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from gateway.app import create_app
from gateway.policy import PolicyError
from gateway.settings import SettingsError
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import Gateway, serving, settings_for, wait_until

pytestmark = pytest.mark.anyio


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, type and message; every error has this one form."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return response.status_code, body["error"]["type"], body["error"]["message"]


async def test_unknown_path_is_404(calm_gateway: Gateway) -> None:
    status, kind, message = error_of(await calm_gateway.get("/v1/models"))
    assert (status, kind) == (404, "NotFound")
    assert "/v1/models" in message


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", {"POST"}),
        ("PUT", "/predict", {"POST"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("DELETE", "/info", {"GET", "HEAD"}),
    ],
)
async def test_wrong_method_is_405_and_names_the_right_ones(
    calm_gateway: Gateway, method: str, path: str, allowed: set[str]
) -> None:
    response = await calm_gateway.client.request(method, path)
    status, kind, message = error_of(response)
    assert (status, kind) == (405, "MethodNotAllowed")
    assert f"{method} {path}" in message
    assert set(response.headers["allow"].split(", ")) == allowed


async def test_head_of_the_root_is_answered(calm_gateway: Gateway) -> None:
    response = await calm_gateway.client.head("/")
    assert (response.status_code, response.content) == (200, b"")


async def test_metrics_are_prometheus_text(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await gateway.predict(["one", "two", ""])
        await gateway.predict("three")
        response = await gateway.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain; version=")
        for name, value in {
            "evalgate_prompts_total": 4,
            "evalgate_queue_wait_seconds_count": 3,
            "evalgate_prompt_seconds_count": 3,
            "evalgate_predict_seconds_count": 2,
            "evalgate_prompts_in_flight": 0,
            "evalgate_deadline_hits_total": 0,
        }.items():
            assert await gateway.sample(name) == value, name
        assert await gateway.sample("evalgate_requests_total", route="/predict", status="200") == 2
        assert await gateway.sample("evalgate_tokens_total", kind="completion") == 9


async def test_info_tells_what_runs_without_secrets(engine: FakeEngine, tmp_path: Path) -> None:
    state = {"phase": "serving", "pid": 4711, "log": ["line 1", "行 2"]}
    state_file = tmp_path / "engine.json"
    state_file.write_text(json.dumps(state), encoding="utf-8")
    settings = settings_for(
        engine.url, engine_state_file=state_file, engine_api_key="open sesame", top_k=40
    )
    async with serving(settings) as gateway:
        response = await gateway.get("/info")
    assert "open sesame" not in response.text
    told = response.json()
    assert told["engine"] == state
    assert (told["phase"], told["is_ready"], told["reason"]) == ("ready", True, "")
    assert told["engine_url"] == engine.url
    assert told["settings"]["ENGINE_API_KEY"] == {"value": "***", "is_default": False}
    assert told["settings"]["TOP_K"] == {"value": 40, "is_default": False}
    assert told["settings"]["TOP_P"] == {"value": 1.0, "is_default": True}


@pytest.mark.parametrize(
    "state",
    [None, b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"log": ["\\ud800"]}', b"0" * 300_000],
    ids=["none", "empty", "cut", "list", "binary", "deep", "surrogate", "huge"],
)
async def test_info_tolerates_any_engine_state(
    engine: FakeEngine, tmp_path: Path, state: bytes | None
) -> None:
    state_file = tmp_path / "engine.json"
    if state is not None:
        state_file.write_bytes(state)
    settings = settings_for(engine.url, engine_state_file=state_file)
    async with serving(settings, is_warm=False) as gateway:
        response = await gateway.get("/info")
    assert response.status_code == 200
    engine_state = response.json()["engine"]
    assert engine_state is None or engine_state == {"log": ["?"]}


async def test_info_shows_the_last_errors(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Status(500, "out of paper"), match="bad")])
    async with serving(settings_for(engine.url)) as gateway:
        await gateway.predict("bad")
        [*_, last] = (await gateway.info())["last_errors"]
    assert (last["level"], "out of paper" in last["message"]) == ("WARNING", True)


async def test_openapi_names_only_routes_that_are_there(calm_gateway: Gateway) -> None:
    document = (await calm_gateway.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    for path, operations in document["paths"].items():
        for method in operations:
            response = await calm_gateway.client.request(method, path)
            assert response.status_code not in (404, 405), (method, path)


async def test_defect_is_a_500_without_a_traceback(engine: FakeEngine) -> None:
    """A setting of the wrong type stands in for a defect: validation does not let one through."""
    settings = settings_for(engine.url).model_copy(update={"predict_deadline_s": "soon"})
    async with serving(settings) as gateway:
        response = await gateway.predict("hello")
        assert error_of(response) == (500, "GatewayError", "internal error, see the gateway's log")
        assert "Traceback" not in response.text and "TypeError" not in response.text
        assert await gateway.sample("evalgate_requests_total", route="/predict", status="500") == 1
        assert (await gateway.get("/")).status_code == 200, "it goes on serving"


async def test_defect_is_logged_with_its_traceback(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(engine.url).model_copy(update={"predict_deadline_s": "soon"})
    async with serving(settings) as gateway:
        await gateway.predict("hello")
    assert "TypeError" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"system_prompt_file": Path("no/such/file")}, SettingsError),
        ({"policy_file": Path("no/such/file")}, PolicyError),
    ],
)
def test_unusable_file_is_told_before_anything_is_served(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="no/such/file"):
        create_app(settings_for("http://127.0.0.1:1", **changes))


async def test_on_ready_is_called_once(own_engine: Any) -> None:
    calls: list[str] = []
    engine = own_engine(Script())
    app = create_app(settings_for(engine.url), on_ready=lambda: calls.append("ready"))
    async with app.router.lifespan_context(app):
        await wait_until(lambda: bool(calls))
        engine.kill()
        await anyio.to_thread.run_sync(engine.start_again)
        await engine.wait_until(lambda stats: stats.requests == 9)
    assert calls == ["ready"]


async def test_stopping_hastens_batches(engine: FakeEngine) -> None:
    is_stopping = False
    app = create_app(
        settings_for(engine.url, grace_period_s=1, predict_deadline_s=60),
        is_stopping=lambda: is_stopping,
    )
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await engine.set_script([Rule(script.Stall(), match="stall")])
            prompts = ["stall", "question"]
            responses: list[httpx.Response] = []

            async def ask() -> None:
                responses.append(await client.post("/predict", json={"prompt": prompts}))

            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    group.start_soon(ask)
                    await engine.wait_until(
                        lambda stats: set(prompts) <= set(stats.by_prompt) and stats.running == 1
                    )
                    is_stopping = True
    assert responses[0].json() == {"response": ["", "answer to: question"]}


async def test_lifespan_ends_while_the_port_is_held(engine: FakeEngine) -> None:
    await engine.set_script(Script(health="503"))
    app = create_app(settings_for(engine.url, hold_port_until_warm=True), is_stopping=lambda: True)
    with anyio.fail_after(5):
        async with app.router.lifespan_context(app):
            pass


async def test_long_path_is_shown_cut(calm_gateway: Gateway) -> None:
    told = (await calm_gateway.get("/" + "x" * 5000)).json()["error"]["message"]
    assert len(told) < 300
