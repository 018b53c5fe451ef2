"""The whole service end to end: scripts/serve, supervisord, vLLM with the pocket model, gateway.

One service for the module; the tests run in order, and each leaves it warm for the next.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import openai
import psutil
import pytest

from launcher.pocket import PAIRS, load_pairs
from tests.chaos.matrix import choose
from tests.chaos.real import RealService
from tests.chaos.row import Row
from tests.chaos.runner import once_more_if_late, run_row
from tests.e2e.stack import PATIENCE, REPLY_S, REPOSITORY, Stack, engine_group, running_stack

pytestmark = pytest.mark.e2e

LEARNT = {pair.question: pair.answer for pair in load_pairs(PAIRS)}
# As many as the evaluator's larger set holds.
QUESTIONS = list(islice(cycle(LEARNT), 358))
ANSWERS = [LEARNT[question] for question in QUESTIONS]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.engine_url}/v1", api_key="none") as debugging:
        yield debugging


def test_cold_start_says_503_until_it_is_warm(stack: Stack) -> None:
    stack.wait_for("the gateway", lambda: stack.get("/livez")[0] == 200)
    assert stack.get("/") == (503, {"status": "warming"})
    _, info = stack.get("/info")
    assert info["phase"] in ("starting", "warming")
    assert info["reason"]

    stack.wait_until_warm()

    assert stack.get("/") == (200, {"status": "batch"})
    assert stack.get("/readyz")[0] == 200
    assert stack.engine_state()["phase"] == "running"
    _, info = stack.get("/info")
    assert info["engine"]["pid"] == stack.engine_state()["pid"]
    assert "vllm" in " ".join(info["engine"]["argv"])
    stack.wait_for("the curl line", lambda: "curl -s" in stack.console.read_text(), 5)


def test_one_prompt_gives_the_learnt_answer(stack: Stack) -> None:
    question, answer = next(iter(LEARNT.items()))
    assert stack.predict(question) == answer
    assert stack.predict([question]) == [answer]


def test_358_prompts_at_once_come_back_whole_and_in_order(stack: Stack) -> None:
    assert stack.predict(QUESTIONS) == ANSWERS


def test_single_requests_at_once_each_get_their_own_answer(stack: Stack) -> None:
    with ThreadPoolExecutor(32) as clients:
        assert list(clients.map(stack.predict, QUESTIONS[:96])) == ANSWERS[:96]


def test_fields_of_the_request_reach_the_engine(stack: Stack) -> None:
    question = max(LEARNT, key=lambda question: len(LEARNT[question]))
    short = stack.predict(question, max_new_tokens=5)
    assert short
    assert LEARNT[question].startswith(short)
    assert len(short) < len(LEARNT[question])


def test_prompt_longer_than_the_context_is_shortened_and_answered(stack: Stack) -> None:
    first, second = list(LEARNT)[:2]
    answers = stack.predict([first, "很长的问题 " * 20_000, second])
    assert [answers[0], answers[2]] == [LEARNT[first], LEARNT[second]]
    metrics = _metrics(stack)
    assert metrics["evalgate_prompts_shortened_total"] == 1
    assert metrics['evalgate_answers_total{outcome="failed"}'] == 0


def test_openai_client_debugs_on_the_engines_own_port(client: openai.OpenAI) -> None:
    question, answer = next(iter(LEARNT.items()))
    reply = client.chat.completions.create(
        model="evalgate", temperature=0, messages=[{"role": "user", "content": question}]
    )
    assert reply.choices[0].message.content == answer


def test_openai_client_streams(client: openai.OpenAI) -> None:
    question, answer = next(iter(LEARNT.items()))
    stream = client.chat.completions.create(
        model="evalgate",
        temperature=0,
        stream=True,
        messages=[{"role": "user", "content": question}],
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == answer
    assert len(pieces) > 2


@pytest.mark.parametrize("options", [[], ["--gateway"]])
def test_chat_command_answers(stack: Stack, options: list[str]) -> None:
    question, answer = next(iter(LEARNT.items()))
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "chat", "--temperature", "0", *options, question],
        cwd=stack.folder,
        env=stack.environ,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=True,
    )
    assert done.stdout.strip() == answer


def test_judge_finds_the_learnt_set_learnt(stack: Stack, tmp_path: Path) -> None:
    questions = REPOSITORY / "evaluator/sets/pocket-learnt.jsonl"
    options = ["--questions", str(questions), "--min-accuracy", "0.99"]
    files = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    subprocess.run(
        [sys.executable, "-m", "evaluator", "judge", stack.gateway_url, *options, *files],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=120,
        check=True,
    )
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["mode"] == "batch"
    assert report["official"]["mean"] == report["jieba"]["mean"] == 1.0
    assert report["speed"]["tokens_source"] == "engine metrics"
    assert "<svg" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_restart_of_the_engine_is_not_ready_until_warm_again(stack: Stack) -> None:
    pid = stack.engine_state()["pid"]
    stack.supervisorctl("restart", "engine")
    stack.wait_until_cold()
    assert engine_group(pid) == []
    stack.wait_until_warm()
    assert stack.engine_state()["pid"] != pid
    assert stack.predict(QUESTIONS[:64]) == ANSWERS[:64]


def test_restart_of_the_gateway_leaves_the_engine_alone(stack: Stack) -> None:
    pid = stack.engine_state()["pid"]
    stack.supervisorctl("restart", "gateway")
    stack.wait_until_warm()
    assert stack.engine_state()["pid"] == pid
    assert stack.predict(QUESTIONS[:64]) == ANSWERS[:64]


def test_kill_of_the_api_server_in_mid_batch_loses_nothing(stack: Stack) -> None:
    """A killed API server leaves vLLM's EngineCore running for ever: on a GPU, with its memory."""
    pid = stack.engine_state()["pid"]
    assert len(engine_group(pid)) >= 2
    answers: list[list[str]] = []
    batch = threading.Thread(target=lambda: answers.append(stack.predict(QUESTIONS)))
    batch.start()
    stack.wait_for("work in flight", lambda: _metrics(stack)["evalgate_prompts_in_flight"] > 50, 30)
    psutil.Process(pid).send_signal(signal.SIGKILL)
    stack.wait_until_cold()
    stack.wait_for("the end of its group", lambda: engine_group(pid) == [], 15 * PATIENCE)
    stack.wait_until_warm()
    batch.join(REPLY_S)
    assert answers == [ANSWERS]
    state = stack.engine_state()
    assert state["last_exit"]["signal"] == signal.SIGKILL
    assert _metrics(stack)["evalgate_prompts_requeued_total"] > 0


def test_ctrl_c_leaves_nothing_running(stack: Stack) -> None:
    stack.wait_until_warm()
    processes = stack.processes()
    assert len(processes) >= 4  # supervisord, gateway, guardian, engine and its own
    assert stack.interrupt() == 0
    gone, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert len(gone) == len(processes)
    assert not (stack.folder / "run/supervisor.sock").exists()
    assert stack.get("/livez") == (0, None)


def test_second_start_trains_and_downloads_nothing(stack: Stack) -> None:
    stack.console.write_text("")
    stack.start()
    stack.wait_until_warm()
    console = stack.console.read_text()
    assert "installing" not in console
    assert "training" not in console
    assert stack.predict(QUESTIONS[:64]) == ANSWERS[:64]


@pytest.fixture(scope="module")
def service(stack: Stack) -> Iterator[RealService]:
    """Return what the fault matrix asks for a stack; the one that is here, when its rows run."""
    lent = RealService(stack)
    try:
        yield lent
    finally:
        lent.close()


@pytest.mark.parametrize("row", choose(["real"], is_quick=True), ids=lambda row: row.name)
def test_a_fault_of_the_real_engine_loses_nothing(row: Row, service: RealService) -> None:
    result = once_more_if_late(lambda: run_row(row, service))
    assert result.is_good, result


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("TEMPERATURE", "3", "TEMPERATURE='3': Input should be less than or equal to 2"),
        ("MAX_MODEL_LEN", "many", "MAX_MODEL_LEN='many': must be an integer"),
        ("MODEL_DIR", "/no/such/folder", "MODEL_DIR=/no/such/folder"),
    ],
)
def test_bad_setting_stops_the_start_with_one_clear_line(name: str, value: str, line: str) -> None:
    with running_stack(**{name: value}) as stack:
        assert stack.process is not None
        assert stack.process.wait(60) == 3
        assert line in stack.console.read_text().splitlines()[-1]


def _metrics(stack: Stack) -> dict[str, float]:
    text = stack.text("/metrics")
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_questions_are_the_repositorys_own() -> None:
    rows = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 60
    assert {row["question"] for row in rows} == set(LEARNT)
