"""The status page as a person meets it: in a start, with a batch, as the engine goes and comes."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from gateway.status_feed import MAX_LISTENERS
from tests.browser.conftest import Opened
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Action, Rule, Script
from tests.fakes.script_json import to_json
from tests.gateway.serving import GatewayProcess, gateway_process
from tests.ports import free_port

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# What sticks out at the right, and is not inside of something that scrolls.
WIDE = """() => [...document.querySelectorAll("body *")].filter(one =>
    one.getBoundingClientRect().right > screen.width + 1
    && !one.closest(".scroll, .log, .sr, .skip, svg")).map(one => one.outerHTML.slice(0, 80))"""
ATTACK = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
PHASES = {"imports": 8.1, "engine process": 6.2}
EXPECTED = {"imports": 8.0, "engine process": 6.0, "weights": 2.0, "until healthy": 4.0}
QUICK = {"PROMPTS_PER_CALL": "1", "BATCH_CONCURRENCY": "8", "WARMUP_BUDGET_S": "10"}


@dataclass
class Service:
    """A gateway with a fake engine and a guardian's state file."""

    gateway: GatewayProcess
    engine: FakeEngine
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def set_script(self, *rules: Rule) -> None:
        self.engine.ask("POST", "script", to_json(Script(rules=rules)))

    def release(self) -> None:
        self.engine.ask("POST", "release")

    def predict(self, prompt: object) -> Any:
        body = json.dumps({"prompt": prompt}).encode()
        with urllib.request.urlopen(f"{self.url}/predict", body, timeout=30) as response:
            return json.loads(response.read())["response"]

    @contextmanager
    def predicting(self, prompts: list[str]) -> Iterator[None]:
        """Have a batch in flight while the block runs; its held prompts are let go at the end."""
        thread = threading.Thread(target=self.predict, args=(prompts,))
        thread.start()
        try:
            yield
        finally:
            deadline = time.monotonic() + 20
            while thread.is_alive() and time.monotonic() < deadline:
                self.release()
                thread.join(0.05)
            assert not thread.is_alive()

    def tell(self, **state: Any) -> None:
        """Write what a guardian would."""
        told = {
            "phase": "running",
            "configuration": "c",
            "model_dir": "/models/qwen3-tuned",
            "accelerator": "MetaX C500",
            "versions": {"vllm": "0.10.2"},
            "rung": "as configured",
            "log_lines": [],
            **state,
        }
        path = self.folder / "engine.json"
        path.with_suffix(".new").write_text(json.dumps(told), encoding="utf-8")
        path.with_suffix(".new").replace(path)


Serve = Callable[..., Service]
Look = Callable[..., Opened]


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


@pytest.fixture
def serve(shared_engine: FakeEngine, tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway, warm unless its engine is another one; keyword arguments are settings."""
    (tmp_path / "last-start.json").write_text(
        json.dumps({"configuration": "c", "phases": EXPECTED}), encoding="utf-8"
    )
    with ExitStack() as stack:

        def start(
            engine: FakeEngine = shared_engine, *, is_warm: bool = True, **more: str
        ) -> Service:
            port = int(more.pop("port", free_port()))
            environment = {
                **QUICK,
                "ENGINE_URL": engine.url,
                "ENGINE_STATE_FILE": str(tmp_path / "engine.json"),
                **more,
            }
            gateway = stack.enter_context(gateway_process(environment, port=port))
            service = Service(gateway, engine, tmp_path)
            if is_warm:
                service.set_script()
                gateway.wait_for_stderr("ready at")
            else:
                wait_until_open(port)
            return service

        yield start


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError("the gateway does not listen")


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Open a service's page, and wait until it is live; keyword arguments are the context's."""
    with ExitStack() as stack:

        def open_one(service: Service, **options: Any) -> Opened:
            context = stack.enter_context(browser.new_context(**{"locale": "en-US", **options}))
            context.set_default_timeout(15_000)
            opened = Opened(context.new_page(), f"{service.url}/status")
            opened.page.on("request", lambda request: opened.requests.append(request.url))
            opened.page.on("console", lambda message: opened.complaints.append(message.text))
            opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
            opened.page.goto(opened.url)
            expect(opened.page.locator("#link")).to_have_attribute("data-state", "live")
            return opened

        yield open_one


def serious(page: Page) -> list[str]:
    """Return what axe-core finds that keeps people out."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]


def hold(match: str, action: Action | None = None) -> Rule:
    return Rule(action or script.Hold(), match=match)


def test_page_talks_to_its_own_service_only_and_complains_of_nothing(
    serve: Serve, look: Look
) -> None:
    service = serve()
    opened = look(service)
    opened.page.fill("#prompt", "hello")
    opened.page.click("#ask")
    expect(opened.page.locator(".answer")).to_be_visible()
    assert {url for url in opened.requests if not url.startswith("data:")} == {
        f"{service.url}/{path}" for path in ("status", "status/events", "status/try")
    }
    assert opened.complaints == []


def test_start_shows_its_phases_and_what_is_left(serve: Serve, look: Look) -> None:
    with FakeEngine.start(Script(health="503")) as engine:
        service = serve(engine, is_warm=False)
        now = time.time()
        starting = {"phase": "starting", "started_at": now - 15, "series_started_at": now - 20}
        service.tell(**starting, message="starting vllm", start_phases={"imports": 8.1})
        page = look(service).page
        expect(page.locator("#phase")).to_have_text("Starting")
        expect(page.locator("#reason")).to_contain_text("starting vllm")
        expect(page.locator("#budget")).to_contain_text("left of the 2 min 50 s until healthy")
        expect(page.locator("#steps span.done")).to_have_text(["imports"])
        service.tell(**starting, start_phases=PHASES)
        expect(page.locator("#progress-text")).to_contain_text("weights")
        expect(page.locator("#steps")).to_contain_text("last time 4.0 s")
        bar = page.locator("#progress-track")
        percent = int(bar.get_attribute("aria-valuenow") or 0)
        assert 65 <= percent <= 85, "14 of 20 s, and what there is of the third phase"
        engine.ask("POST", "script", to_json(Script()))
        expect(page.locator("#phase")).to_have_text("Ready")
        expect(bar).to_be_hidden()


def test_a_start_without_a_last_one_has_no_percentage(serve: Serve, look: Look) -> None:
    with FakeEngine.start(Script(health="503")) as engine:
        service = serve(engine, is_warm=False)
        service.tell(phase="starting", configuration="another", started_at=time.time())
        page = look(service).page
        expect(page.locator("#progress-track.unknown")).to_be_visible()
        assert page.locator("#progress-track").get_attribute("aria-valuenow") is None


def test_an_engine_that_cannot_start_says_why(serve: Serve, look: Look) -> None:
    with FakeEngine.start(Script(health="503")) as engine:
        service = serve(engine, is_warm=False)
        service.tell(phase="failed", message="MODEL_DIR=/nowhere: no such folder")
        page = look(service).page
        expect(page.locator("#phase")).to_have_text("Cannot start")
        expect(page.locator("#phase-card")).to_have_class("card phase lost")
        expect(page.locator("#reason")).to_contain_text("MODEL_DIR=/nowhere")
        expect(page.locator("#progress")).to_be_hidden()


def test_what_runs_is_told(serve: Serve, look: Look) -> None:
    service = serve(MAX_NEW_TOKENS="77")
    service.tell()
    page = look(service).page
    expect(page.locator("#model")).to_have_text("qwen3-tuned")
    expect(page.locator("#facts")).to_contain_text("vllm 0.10.2")
    expect(page.locator("#facts")).to_contain_text("MetaX C500")
    expect(page.locator("#facts")).to_contain_text("GiB free")
    row = page.locator("#settings tr", has_text="MAX_NEW_TOKENS")
    expect(row).to_contain_text("77")
    expect(page.locator("#settings")).not_to_contain_text("TOP_K")
    page.uncheck("#only-set")
    expect(page.locator("#settings")).to_contain_text("TOP_K")


def test_a_batch_fills(serve: Serve, look: Look) -> None:
    service = serve()
    page = look(service).page
    expect(page.locator("#flights")).to_have_text("Nothing is asked right now.")
    service.set_script(hold("held"))
    with service.predicting([*["free"] * 20, *["held"] * 30]):
        expect(page.locator(".flight-head b")).to_have_text("20 / 50")
        for kind, count in (("whole", 20), ("under_way", 8), ("waiting", 22)):
            expect(page.locator(f".keys .{kind} b")).to_have_text(str(count))
        expect(page.locator(".flight .left")).to_contain_text("to the deadline")
        widths = page.eval_on_selector_all(
            ".flight .track i", "parts => parts.map(part => part.getBoundingClientRect().width)"
        )
        assert widths[0] / widths[1] == pytest.approx(20 / 8, rel=0.1)
    expect(page.locator("#flights")).to_have_text("Nothing is asked right now.")
    expect(page.locator("#last tbody tr").first).to_contain_text("50 whole")
    expect(page.locator("#latency-text")).to_contain_text("50 since the start")
    expect(page.locator("#characters-plot polyline")).to_have_count(1)
    page.click("#of-requests")
    expect(page.locator("#latency-text")).to_contain_text("1 since the start")


def test_engine_is_killed_and_comes_back(serve: Serve, look: Look) -> None:
    with FakeEngine.start() as engine:
        service = serve(engine)
        opened = look(service)
        page = opened.page
        expect(page.locator("#phase")).to_have_text("Ready")
        engine.kill()
        service.tell(
            phase="starting",
            message="start 2",
            ladder=[{"rung": "as configured", "reason": "out of memory", "at": 1.0, "lived_s": 9}],
        )
        expect(page.locator("#phase")).to_have_text("Engine lost")
        expect(page.locator("#phase-card")).to_have_class("card phase lost")
        expect(page.locator("#trouble")).to_contain_text("out of memory")
        engine.start_again()
        expect(page.locator("#phase")).to_have_text("Ready")
        expect(page.locator("#facts")).to_contain_text("1 ×")
        assert opened.complaints == []


def test_gateway_goes_and_comes_back(serve: Serve, look: Look) -> None:
    service = serve()
    page = look(service).page
    service.gateway.process.kill()
    service.gateway.process.wait()
    expect(page.locator("#link")).to_have_attribute("data-state", "gone")
    serve(port=str(service.gateway.port))
    expect(page.locator("#link")).to_have_attribute("data-state", "live")


def test_without_a_free_place_the_page_asks_now_and_then(serve: Serve, browser: Browser) -> None:
    service = serve()
    with ExitStack() as stack:
        for _ in range(MAX_LISTENERS):
            connection = HTTPConnection("127.0.0.1", service.gateway.port, timeout=20)
            stack.callback(connection.close)
            connection.request("GET", "/status/events")
            assert connection.getresponse().readline()
        page = stack.enter_context(browser.new_context(locale="en-US")).new_page()
        page.goto(f"{service.url}/status")
        expect(page.locator("#link")).to_have_text("every few seconds")
        expect(page.locator("#phase")).to_have_text("Ready")
        service.predict(["one", "two"])
        expect(page.locator("#last tbody tr")).to_have_count(1)


def test_a_prompt_is_tried(serve: Serve, look: Look) -> None:
    service = serve()
    service.set_script(Rule(script.Text("<think>hm</think>\nA warp is 32 threads.")))
    page = look(service).page
    page.fill("#prompt", "what is a warp?")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".asked")).to_have_text("what is a warp?")
    expect(page.locator(".answer")).to_have_text("A warp is 32 threads.")
    expect(page.locator(".result .chips")).to_contain_text("completion tokens")
    expect(page.locator(".result pre")).to_be_hidden()
    page.click(".result summary")
    expect(page.locator(".result pre")).to_contain_text("<think>hm</think>")
    expect(page.locator("#try-note")).to_contain_text("1 answered in")


@pytest.mark.parametrize("text", ["one\n\n two \nthree", '["one", "two", "three"]'])
def test_a_list_is_tried(serve: Serve, look: Look, text: str) -> None:
    page = look(serve()).page
    page.fill("#prompt", text)
    page.check("#is-list")
    page.click("#ask")
    expect(page.locator(".asked")).to_have_text(["one", "two", "three"])
    expect(page.locator(".answer")).to_have_count(3)


def test_what_cannot_be_answered_says_why(serve: Serve, look: Look) -> None:
    service = serve()
    opened = look(service)
    page = opened.page
    page.click("#ask")
    expect(page.locator("#try-note.bad")).to_have_text("Write a prompt first.")
    service.set_script(Rule(script.Status(400, "the paper is out")))
    page.fill("#prompt", "hello")
    page.click("#ask")
    expect(page.locator("#try-note.bad")).to_contain_text("the paper is out")
    expect(page.locator("#ask")).to_be_enabled()


def test_a_trial_can_be_stopped(serve: Serve, look: Look) -> None:
    service = serve()
    service.set_script(Rule(script.Stall()))
    page = look(service).page
    page.fill("#prompt", "hello")
    page.click("#ask")
    expect(page.locator("#try-note")).to_contain_text("Asking…")
    page.click("#stop")
    expect(page.locator("#try-note")).to_have_text("Stopped.")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#flights")).to_have_text("Nothing is asked right now.")


def test_no_text_from_outside_runs(serve: Serve, look: Look) -> None:
    service = serve(SYSTEM_PROMPT=ATTACK)
    service.tell(
        model_dir=f"/models/{ATTACK.replace('/', '')}",
        accelerator=ATTACK,
        versions={ATTACK: ATTACK},
        log_lines=[ATTACK, f"ERROR {ATTACK}"],
        argv=[ATTACK],
        ladder=[{"rung": ATTACK, "reason": ATTACK, "at": 1.0, "lived_s": 1}],
        last_exit={"reason": ATTACK, "at": 1.0, "lived_s": 1},
        start_phases={ATTACK: 1.0},
    )
    service.set_script(Rule(script.Status(400, ATTACK), match="bad"))
    service.predict(["fine", f"bad {ATTACK}"])
    opened = look(service)
    page = opened.page
    page.fill("#prompt", ATTACK)
    page.click("#ask")
    expect(page.locator(".asked")).to_have_text(ATTACK)
    expect(page.locator("#log")).to_contain_text(ATTACK)
    expect(page.locator("#last")).to_contain_text(ATTACK)
    expect(page.locator("#settings")).to_contain_text(ATTACK)
    page.click(".result summary")
    expect(page.locator(".result pre")).to_contain_text(ATTACK)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0
    assert opened.complaints == []


def test_the_policy_stops_a_script_that_is_not_the_pages(serve: Serve, look: Look) -> None:
    """The second wall: even markup that gets through neither runs nor loads."""
    opened = look(serve())
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=https://example.org/x>");
        }"""
    )
    assert opened.page.evaluate("window.hacked") is None
    expect(opened.page.locator("img")).to_have_js_property("complete", True)
    assert len([text for text in opened.complaints if "Content Security Policy" in text]) == 2


def test_no_secret_is_on_the_page(serve: Serve, look: Look) -> None:
    service = serve(ENGINE_API_KEY="open-sesame", MODELSCOPE_API_TOKEN="ms-0123-token")
    service.tell(log_lines=["key open-sesame", "token ms-0123-token"], message="open-sesame")
    page = look(service).page
    expect(page.locator("#log")).to_contain_text("token ***")
    page.uncheck("#only-set")
    expect(page.locator("#settings")).to_contain_text("***")
    content = page.content()
    assert "open-sesame" not in content
    assert "ms-0123-token" not in content


def test_language_follows_the_browser_and_the_button(serve: Serve, look: Look) -> None:
    opened = look(serve(), locale="zh-CN")
    page = opened.page
    expect(page.locator("#phase")).to_have_text("就绪")
    expect(page.locator("#batch-title")).to_have_text("正在处理的批次")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#prompt")).to_have_attribute("placeholder", "什么是 warp？")
    page.click("#language")
    expect(page.locator("#phase")).to_have_text("Ready")
    expect(page.locator("#batch-title")).to_have_text("Batch in flight")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert opened.complaints == []


def test_dark_mode_changes_colours(serve: Serve, look: Look) -> None:
    service = serve()
    colours = """[...document.querySelectorAll("body, .card, #phase, #ask, .line")].map(
        one => [getComputedStyle(one).backgroundColor, getComputedStyle(one).color,
                getComputedStyle(one).stroke].join())"""
    light = look(service, color_scheme="light").page.evaluate(colours)
    dark = look(service, color_scheme="dark").page.evaluate(colours)
    assert len(light) == len(dark) > 10
    assert all(one != other for one, other in zip(light, dark, strict=True))


def fill(service: Service, page: Page) -> None:
    """Put something into every part of the page."""
    page.fill("#prompt", "one\ntwo")
    page.check("#is-list")
    page.click("#ask")
    expect(page.locator(".result")).to_have_count(2)
    for summary in page.locator("summary:visible").all():
        summary.click()


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark", "locale": "zh-CN"},
        {"color_scheme": "light", **PHONE},
    ],
    ids=["light", "dark-zh", "phone"],
)
def test_axe_finds_nothing_serious(serve: Serve, look: Look, options: dict[str, Any]) -> None:
    service = serve()
    service.set_script(Rule(script.Status(400, "no"), match="bad"), hold("held"))
    service.predict(["fine", "bad"])
    service.tell(
        log_lines=["INFO line", "WARNING line", "ERROR line"],
        argv=["python", "-m", "vllm"],
        start_phases=PHASES,
    )
    page = look(service, **options).page
    fill(service, page)
    with service.predicting(["free", *["held"] * 20]):
        expect(page.locator(".keys .under_way")).to_be_visible()
        assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_start(serve: Serve, look: Look, scheme: str) -> None:
    with FakeEngine.start(Script(health="503")) as engine:
        service = serve(engine, is_warm=False)
        now = time.time()
        # Little is left: the line turns red.
        service.tell(
            phase="starting", started_at=now - 15, series_started_at=now - 160, start_phases=PHASES
        )
        page = look(service, color_scheme=scheme).page
        expect(page.locator("#budget.short")).to_be_visible()
        assert serious(page) == []


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_overflows_sideways(serve: Serve, look: Look, width: int) -> None:
    wide = "x" * 300 + " https://example.org/" + "y" * 300
    service = serve(SYSTEM_PROMPT=wide)
    service.tell(
        model_dir=wide,
        accelerator=wide,
        log_lines=[wide],
        argv=[wide],
        last_exit={"reason": wide, "at": 1.0, "lived_s": 1},
        start_phases={wide: 2.0, **PHASES},
    )
    service.set_script(Rule(script.Status(400, wide), match="bad"))
    service.predict(["fine", "bad"])
    size = {"width": width, "height": 740}
    page = look(service, **{**PHONE, "viewport": size, "screen": size}).page
    expect(page.locator("#last")).to_contain_text(wide[:200])
    page.fill("#prompt", wide)
    page.click("#ask")
    expect(page.locator(".result")).to_have_count(1)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert page.evaluate(WIDE) == []
    assert page.evaluate(OVERFLOW) == 0


def test_keyboard_alone_reaches_the_box_and_the_log(serve: Serve, look: Look) -> None:
    service = serve()
    service.tell(log_lines=[f"line {number}" for number in range(40)])
    page = look(service).page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("hello")
    for name in ("is-list", "max-tokens", "ask"):
        page.keyboard.press("Tab")
        expect(page.locator(f"#{name}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_be_visible()
    page.locator("#log").focus()
    page.keyboard.press("Home")
    expect(page.locator("#log")).to_have_js_property("scrollTop", 0)


def test_the_log_stays_where_somebody_reads_it(serve: Serve, look: Look) -> None:
    service = serve()
    lines = [f"line {number}" for number in range(40)]
    service.tell(log_lines=lines)
    page = look(service).page
    expect(page.locator("#log")).to_contain_text("line 39")
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 5"
    assert page.locator("#log").evaluate(at_end)
    service.tell(log_lines=[*lines, "line 40"])
    expect(page.locator("#log")).to_contain_text("line 40")
    assert page.locator("#log").evaluate(at_end), "it follows"
    page.locator("#log").evaluate("log => { log.scrollTop = 50; }")
    service.tell(log_lines=[*lines, "line 40", "line 41"])
    expect(page.locator("#log")).to_contain_text("line 41")
    assert page.locator("#log").evaluate("log => log.scrollTop") == 50
