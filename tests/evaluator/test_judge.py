from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from evaluator import engine_tokens
from evaluator.interrupts import Interrupts
from evaluator.judge import Outcome, Plan, judge
from evaluator.report import PhaseReport
from evaluator.service import CannotRun
from evaluator.tracks import Limits
from tests.evaluator.judging import (
    PYTHON,
    QUESTIONS,
    Remembering,
    is_alive,
    plan,
    service_command,
)
from tests.evaluator.test_engine_tokens import write_tokenizer
from tests.fakes.service import Action, FakeService, Rule
from tests.ports import free_port

pytestmark = pytest.mark.anyio
SHORT = Limits(build_s=0.3, health_s=3, predict_s=0.3)


async def run(made: Plan) -> Outcome:
    return await judge(made, Remembering(), Interrupts())


def names(outcome: Outcome) -> list[str]:
    return [phase.name for phase in outcome.report.phases]


async def test_batch_that_is_right(tmp_path: Path) -> None:
    watcher = Remembering()
    async with FakeService().running() as service:
        made = plan(service.url, tmp_path / "a", warnings=("leak: …",))
        outcome = await judge(made, watcher, Interrupts())
    report = outcome.report
    assert (report.name, report.url, report.track) == ("test", service.url, "metax")
    assert (report.question_set, report.mode) == ("set.jsonl", "batch")
    assert (report.problems, report.warnings) == ((), ("leak: …",))
    assert names(outcome) == ["health", "predict"]
    assert report.official is not None
    assert report.jieba is not None
    assert (report.official.mean, report.jieba.mean) == (1.0, 1.0)
    assert report.official.interval.low == 1.0
    assert report.grade.startswith("ranked")
    assert [record.answer for record in report.records] == [q.reference for q in QUESTIONS]
    assert [record.latency_s for record in report.records] == [None] * 3
    assert report.speed is not None
    assert report.speed.characters == 3 * len("answer to q0")
    assert report.speed.tokens is None
    assert outcome.log is None
    assert not outcome.is_interrupted
    assert watcher.told == [
        "begin health",
        "end health",
        "begin predict",
        "one POST with 3 questions",
        "end predict",
    ]


async def test_single_with_a_failing_request(tmp_path: Path) -> None:
    rules = [Rule("status", match="q1")]
    async with FakeService(rules, ["503", "ok"]).running() as service:
        outcome = await run(plan(service.url, tmp_path / "a"))
    report = outcome.report
    assert (report.mode, report.problems) == ("single", ())
    assert report.phases[0].seen == {"status 503": 1}
    assert report.phases[0].seconds >= 0.5
    assert report.phases[1].started_s >= report.phases[0].seconds
    assert [record.official for record in report.records] == [1.0, 0.0, 1.0]
    assert report.records[1].error.startswith("status 500")
    assert all(record.latency_s for record in report.records)
    assert report.official is not None
    assert report.official.mean == pytest.approx(2 / 3)
    assert len(report.warnings) == 1


async def test_service_that_never_gets_healthy_fails(tmp_path: Path) -> None:
    async with FakeService(health=["warming"]).running() as service:
        outcome = await run(plan(service.url, tmp_path / "a", limits=SHORT))
    report = outcome.report
    assert names(outcome) == ["health"]
    assert report.problems == (
        'health: not healthy within the limit; the last look saw: status "warming"',
    )
    assert (report.official, report.speed, report.records, report.grade) == (None, None, (), "")
    assert report.mode == ""


@pytest.mark.parametrize("action", ["stall", "status", "garbage", "cut"])
async def test_batch_that_fails_is_not_scored(tmp_path: Path, action: Action) -> None:
    limits = Limits(build_s=30, health_s=30, predict_s=0.3 if action == "stall" else 30)
    async with FakeService([Rule(action)]).running() as service:
        outcome = await run(plan(service.url, tmp_path / "a", limits=limits))
    (problem,) = outcome.report.problems
    assert problem.startswith("predict: the one POST with all questions ")
    assert outcome.report.official is None
    assert outcome.report.records == ()


async def test_tokens_of_the_tokenizer_win_over_those_of_the_metrics(tmp_path: Path) -> None:
    metrics = ["vllm:generation_tokens_total 5", "vllm:generation_tokens_total 47"]
    async with FakeService(metrics=list(metrics)).running() as service:
        speed = (await run(plan(service.url, tmp_path / "a"))).report.speed
        assert speed is not None
        assert (speed.tokens, speed.tokens_source) == (42, "engine metrics")
    tokenizer = engine_tokens.load_tokenizer(write_tokenizer(tmp_path))
    async with FakeService(metrics=list(metrics)).running() as service:
        speed = (await run(plan(service.url, tmp_path / "a", tokenizer=tokenizer))).report.speed
        assert speed is not None
        assert (speed.tokens, speed.tokens_source) == (9, "tokenizer")


async def test_build_and_start(tmp_path: Path) -> None:
    port = free_port()
    watcher = Remembering()
    made = plan(
        f"http://127.0.0.1:{port}",
        tmp_path / "a",
        build="echo building",
        start=service_command(port, "--warming", "1", "--child"),
    )
    outcome = await judge(made, watcher, Interrupts())
    report = outcome.report
    assert report.problems == ()
    assert names(outcome) == ["build", "health", "predict"]
    build, health, predict = report.phases
    assert build.started_s < health.started_s < predict.started_s
    assert health.seen["status 503"] == 1
    assert (tmp_path / "a.build.log").read_text() == "building\n"
    said = (tmp_path / "a.service.log").read_text()
    assert not is_alive(int(re.findall(r"child (\d+)", said)[0]))
    assert watcher.told[-2:] == ["begin stopping the service", "end"]
    with pytest.raises(OSError):
        await anyio.connect_tcp("127.0.0.1", port)


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        ("echo no such package; exit 1", "build: exit code 1"),
        ("echo no such package; sleep 600", "build: took longer than 3 s"),
    ],
)
async def test_build_that_fails_ends_the_run(tmp_path: Path, build: str, problem: str) -> None:
    limits = Limits(build_s=3 if "sleep" in build else 30, health_s=30, predict_s=30)
    url = f"http://127.0.0.1:{free_port()}"
    outcome = await run(plan(url, tmp_path / "a", limits=limits, build=build, start="true"))
    assert outcome.report.problems == (problem,)
    assert names(outcome) == ["build"]
    assert outcome.log is not None
    assert outcome.log.lines == ("no such package",)
    assert not (tmp_path / "a.service.log").exists()


async def test_service_that_dies_at_its_start_is_not_waited_for(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with anyio.fail_after(20):
        outcome = await run(plan(url, tmp_path / "a", start="echo CUDA out of memory; exit 3"))
    assert outcome.report.problems == ("health: the service ended with exit code 3",)
    assert outcome.log is not None
    assert outcome.log.lines == ("CUDA out of memory",)


async def test_service_that_dies_under_the_batch_is_named(tmp_path: Path) -> None:
    port = free_port()
    start = service_command(port, "--crash-on-predict", "7")
    outcome = await run(plan(f"http://127.0.0.1:{port}", tmp_path / "a", start=start))
    (problem,) = outcome.report.problems
    assert problem.startswith("predict: the one POST with all questions failed: connection cut")
    assert problem.endswith("; the service ended with exit code 7")
    assert outcome.log is not None
    assert outcome.log.lines[-1] == "crashed as told"


async def test_service_that_lives_on_after_a_failed_batch_is_not_said_to_have_ended(
    tmp_path: Path,
) -> None:
    port = free_port()
    start = service_command(port, "--delay-s", "600")
    limits = Limits(build_s=30, health_s=30, predict_s=0.3)
    made = plan(f"http://127.0.0.1:{port}", tmp_path / "a", start=start, limits=limits)
    outcome = await run(made)
    assert outcome.report.problems[0].endswith("longer than 0.3 s")


async def test_command_that_leaves_a_daemon_is_warned_of(tmp_path: Path) -> None:
    port = free_port()
    start = f"({service_command(port)}) & echo pid $!"
    outcome = await run(plan(f"http://127.0.0.1:{port}", tmp_path / "a", start=start))
    assert outcome.report.problems == ()
    assert "had ended by itself, with exit code 0" in outcome.report.warnings[0]
    pid = int((tmp_path / "a.service.log").read_text().split()[1])
    assert not is_alive(pid)


async def test_stranger_at_the_url_is_not_judged_instead(tmp_path: Path) -> None:
    async with FakeService().running() as service:
        with pytest.raises(CannotRun, match=rf"something is at {service.url} already \(healthy\)"):
            await run(plan(service.url, tmp_path / "a", start="true"))
    async with FakeService(health=["stall"]).running() as service:
        with pytest.raises(CannotRun, match=r"already \(timeout\)"):
            await run(plan(service.url, tmp_path / "a", start="true"))


class Interrupting(Remembering):
    """A watcher that presses Ctrl-C when it is told something."""

    def __init__(self, is_time: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_time = is_time

    def begin(self, name: str, limit_s: float | None) -> None:
        self.note(f"begin {name}")

    def note(self, text: str) -> None:
        super().note(text)
        if self._is_time(text):
            os.kill(os.getpid(), signal.SIGINT)


async def test_interrupt_in_the_single_mode_scores_what_is_there(tmp_path: Path) -> None:
    watcher = Interrupting(lambda text: text == "2 of 3 questions")
    rules = [Rule("stall", match="q2")]
    async with FakeService(rules, ["ok"]).running() as service:
        with anyio.fail_after(20):
            outcome = await judge(plan(service.url, tmp_path / "a"), watcher, Interrupts())
    report = outcome.report
    assert outcome.is_interrupted
    assert report.problems == ("predict: interrupted",)
    assert [record.id for record in report.records] == ["0", "1"]
    assert report.official is not None
    assert report.official.mean == 1.0
    assert report.grade == ""
    assert report.warnings == ("interrupted after 2 answers; only they are scored",)


async def test_interrupt_stops_the_service(tmp_path: Path) -> None:
    port = free_port()
    watcher = Interrupting(lambda text: "503" in text)
    start = service_command(port, "--warming", "1000", "--child")
    made = plan(f"http://127.0.0.1:{port}", tmp_path / "a", start=start)
    with anyio.fail_after(30):
        outcome = await judge(made, watcher, Interrupts())
    assert outcome.report.problems == ("health: interrupted",)
    assert outcome.log is None
    said = (tmp_path / "a.service.log").read_text()
    assert not is_alive(int(re.findall(r"child (\d+)", said)[0]))


async def test_second_interrupt_kills_a_service_that_takes_its_time(tmp_path: Path) -> None:
    watcher = Interrupting(lambda text: "refused" in text or "stopping" in text)
    url = f"http://127.0.0.1:{free_port()}"
    start = f"exec {PYTHON} -c 'import signal as s; s.signal(s.SIGTERM, s.SIG_IGN); s.pause()'"
    made = plan(url, tmp_path / "a", start=start, stop_grace_s=600)
    with anyio.fail_after(30):
        outcome = await judge(made, watcher, Interrupts())
    assert outcome.is_interrupted


async def test_interrupt_between_the_phases(tmp_path: Path) -> None:
    class AtTheEndOfHealth(Remembering):
        def end(self, phase: PhaseReport | None) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    async with FakeService([Rule("stall")]).running() as service:
        with anyio.fail_after(20):
            made = plan(service.url, tmp_path / "a")
            outcome = await judge(made, AtTheEndOfHealth(), Interrupts())
    assert outcome.is_interrupted
    assert outcome.report.problems[-1].endswith("interrupted")


async def test_interrupt_after_the_last_answer_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    watcher = Interrupting(lambda text: "stopping" in text)
    made = plan(f"http://127.0.0.1:{port}", tmp_path / "a", start=service_command(port))
    outcome = await judge(made, watcher, Interrupts())
    assert not outcome.is_interrupted
    assert outcome.report.problems == ()
