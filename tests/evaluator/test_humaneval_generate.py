from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from evaluator.answer_journal import JournalError
from evaluator.chat import Sampling
from evaluator.humaneval import problems as problem_set
from evaluator.humaneval import samples
from evaluator.humaneval.generate_command import Options, run
from evaluator.humaneval.generating import Patience
from evaluator.service import CannotRun
from tests.evaluator.judging import REPOSITORY
from tests.fakes.running import FakeEngine
from tests.fakes.script import EmptyChoices, Garbage, NullContent, Rule, Status, Text
from tests.fakes.service import FakeService
from tests.fakes.service import Rule as ServiceRule

QUICK = Patience(request_s=5, backoff_s=(0.01, 0.01))
CODE = "```python\ndef f(x):\n    return x\n```"


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


@pytest.fixture
def engine(shared: FakeEngine) -> FakeEngine:
    use(shared)
    shared.ask("POST", "reset_stats")
    return shared


def use(engine: FakeEngine, *rules: Rule) -> None:
    from tests.fakes.running import as_script
    from tests.fakes.script_json import to_json

    engine.ask("POST", "script", to_json(as_script([*rules, Rule(Text(CODE))])))


def generate(url: str, out: Path, **changes: object) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    printed = StringIO()
    options = Options(url, out, **{"limit": 3, "patience": QUICK, **changes})  # type: ignore[arg-type]
    return run(options, Console(file=printed, width=200)), printed.getvalue()


def test_every_problem_gets_its_answers(engine: FakeEngine, tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    code, printed = generate(engine.url, out, samples=2, concurrency=4)
    assert (code, "6 answers" in printed) == (0, True)
    made = samples.read(out)
    ids = ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert [(one.task_id, one.sample) for one in made] == [(i, n) for i in ids for n in (0, 1)]
    assert {one.completion for one in made} == {"\ndef f(x):\n    return x\n"}
    assert {one.answer for one in made} == {CODE}
    assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]
    assert list(json.loads(out.read_text().split("\n")[0]))[:2] == ["task_id", "completion"]


def test_concurrency_is_held_and_used(engine: FakeEngine, tmp_path: Path) -> None:
    from tests.fakes.script import Delay

    use(engine, Rule(Delay(0.05)))
    generate(engine.url, tmp_path / "s", samples=4, concurrency=3)
    assert engine.read_stats().peak_running == 3


def test_what_is_asked(engine: FakeEngine, tmp_path: Path) -> None:
    sampling = Sampling(0.8, 0.9, 77, 5, 10, False)
    generate(
        engine.url + "/v1",
        tmp_path / "s",
        limit=1,
        sampling=sampling,
        key="k",
        samples=2,
        concurrency=1,
    )
    stats = engine.read_stats()
    body = stats.last_body
    assert body["model"] == "fake-model"
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.8, 0.9, 77)
    assert (body["top_k"], body["seed"]) == (5, 11)
    assert stats.last_headers["authorization"] == "Bearer k"
    prompt = problem_set.load(limit=1)[0].prompt
    assert prompt.strip() in body["messages"][0]["content"]


def test_defaults_leave_the_rest_to_the_service(engine: FakeEngine, tmp_path: Path) -> None:
    generate(engine.url, tmp_path / "s", limit=1, model="other")
    stats = engine.read_stats()
    assert sorted(stats.last_body) == ["max_tokens", "messages", "model", "temperature", "top_p"]
    assert stats.last_body["model"] == "other"
    assert "authorization" not in stats.last_headers


def test_through_the_gateway(tmp_path: Path) -> None:
    with FakeService(answer=lambda prompt: CODE).running_in_a_thread() as service:
        code, _ = generate(
            service.url, tmp_path / "s", through="gateway", sampling=Sampling(top_k=3)
        )
        assert (code, len(service.posts)) == (0, 3)
    assert samples.read(tmp_path / "s")[0].completion == "\ndef f(x):\n    return x\n"


def test_gateway_that_answers_nonsense(tmp_path: Path) -> None:
    rules = [ServiceRule("garbage")]
    with FakeService(rules).running_in_a_thread() as service:
        code, printed = generate(service.url, tmp_path / "s", through="gateway")
    assert (code, "not the expected reply" in printed) == (1, True)


def test_engine_that_is_lost_leaves_what_was_answered(engine: FakeEngine, tmp_path: Path) -> None:
    use(engine, Rule(Text(CODE), times=2), Rule(Status(503)))
    out = tmp_path / "s"
    code, printed = generate(engine.url, out, concurrency=1)
    assert code == 1
    assert "no answer after 3 tries, the last: status 503" in printed
    assert "2 of 3 are there; the same command goes on from there" in printed
    assert not out.exists()
    use(engine)
    engine.ask("POST", "reset_stats")
    assert generate(engine.url, out)[0] == 0
    assert engine.read_stats().requests == 1
    assert len(samples.read(out)) == 3


def test_short_trouble_is_waited_out(engine: FakeEngine, tmp_path: Path) -> None:
    use(engine, Rule(Status(500), times=1), Rule(Garbage(), times=1))
    assert generate(engine.url, tmp_path / "s", concurrency=1)[0] == 0
    assert engine.read_stats().requests == 5


def test_answer_without_a_choice_is_asked_again(engine: FakeEngine, tmp_path: Path) -> None:
    use(engine, Rule(EmptyChoices()))
    code, printed = generate(engine.url, tmp_path / "s", limit=1)
    assert (code, "no choices" in printed) == (1, True)


def test_answer_that_never_comes(engine: FakeEngine, tmp_path: Path) -> None:
    from tests.fakes.script import Stall

    use(engine, Rule(Stall()))
    patience = Patience(request_s=0.1, backoff_s=(0.01,))
    code, printed = generate(engine.url, tmp_path / "s", limit=1, patience=patience)
    assert (code, "no answer within 0.1 s" in printed) == (1, True)


def test_refused_prompt_is_given_up_and_told(engine: FakeEngine, tmp_path: Path) -> None:
    use(engine, Rule(Status(400, "too long"), match="separate_paren_groups"))
    code, printed = generate(engine.url, tmp_path / "s")
    assert code == 1
    assert "1 problems got no answer; the first, HumanEval/1: status 400" in printed
    made = samples.read(tmp_path / "s")
    assert ["too long" in one.error for one in made] == [False, True, False]


def test_empty_answer_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    use(engine, Rule(NullContent()))
    code, printed = generate(engine.url, tmp_path / "s")
    assert (code, "3 of them hold no code" in printed) == (0, True)


def test_other_settings_do_not_go_on_with_the_same_file(engine: FakeEngine, tmp_path: Path) -> None:
    use(engine, Rule(Text(CODE), times=1), Rule(Status(503)))
    generate(engine.url, tmp_path / "s", concurrency=1)
    with pytest.raises(JournalError, match="move it away to begin anew"):
        generate(engine.url, tmp_path / "s", sampling=Sampling(temperature=1.0))


def test_finished_file_is_not_overwritten(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(CannotRun, match="is there already"):
        generate(engine.url, tmp_path / "s")
    assert (tmp_path / "s").read_text() == "mine"


def test_no_service_at_all(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="http://127.0.0.1:1: ConnectError"):
        generate("http://127.0.0.1:1", tmp_path / "s")


def test_engine_that_hangs_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        with pytest.raises(CannotRun, match=f"{url}/v1/models: no answer within 0.1 s"):
            generate(url, tmp_path / "s", patience=Patience(find_model_s=0.1))


def test_interrupt_keeps_what_is_there(engine: FakeEngine, tmp_path: Path) -> None:
    from tests.fakes.script import Stall

    use(engine, Rule(Text(CODE), times=2), Rule(Stall()))
    out = tmp_path / "samples.jsonl"
    words = ["humaneval", "generate", engine.url, "-o", str(out), "--limit", "5"]
    program = subprocess.Popen(
        [sys.executable, "-m", "evaluator", *words, "--concurrency", "1"],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while engine.read_stats().requests < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a poll, bounded by the deadline
    program.send_signal(signal.SIGINT)
    printed, _ = program.communicate(timeout=30)
    assert program.returncode == 130
    assert "2 of 5 are there" in printed
    use(engine)
    assert generate(engine.url, out, limit=5)[0] == 0
    assert len(samples.read(out)) == 5
