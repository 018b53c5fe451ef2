"""The engine that needs no vLLM, for real: chosen, and as the ladder's last rung.

`transformers serve` with the pocket model on a CPU, under scripts/serve and supervisord.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from launcher.pocket import PAIRS, load_pairs
from tests.e2e.stack import PATIENCE, Stack, running_stack
from tests.fakes.running import FakeEngine

pytestmark = pytest.mark.e2e

LEARNT = {pair.question: pair.answer for pair in load_pairs(PAIRS)}
QUESTIONS = list(itertools.islice(LEARNT, 24))
ANSWERS = [LEARNT[question] for question in QUESTIONS]
# What a wheel for another machine says when it is imported; nothing that the ladder knows.
BROKEN = 'raise ImportError("libcudart.so.12: cannot open shared object file")\n'
QUICK = {"WARMUP_BUDGET_S": str(10 * PATIENCE), "BATCH_CONCURRENCY": "32"}


def assert_transformers_answers(stack: Stack) -> None:
    state = stack.engine_state()
    assert state["engine"] == "transformers"
    assert "transformers.cli.transformers" in state["argv"]
    assert stack.predict(QUESTIONS) == ANSWERS
    assert stack.predict(QUESTIONS[0]) == ANSWERS[0]


def test_transformers_answers_the_learnt_questions() -> None:
    with running_stack(ENGINE="transformers", **QUICK) as stack:
        stack.wait_until_warm()
        assert_transformers_answers(stack)
        assert stack.predict(QUESTIONS[0], max_new_tokens=3) != ANSWERS[0]
        _, info = stack.get("/info")
        assert info["engine"]["rung"] == "as configured"
        assert stack.interrupt() == 0


def test_the_ladder_falls_back_to_transformers_when_vllm_does_not_start(tmp_path: Path) -> None:
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text(BROKEN)
    with running_stack(PYTHONPATH=str(tmp_path), **QUICK) as stack:
        stack.wait_until_warm()
        assert_transformers_answers(stack)
        state = stack.engine_state()
        assert state["rung"] == "transformers serve"
        reasons = {step["reason"] for step in state["ladder"]}
        assert reasons == {"ImportError: libcudart.so.12: cannot open shared object file"}


def test_an_external_engine_is_served_without_one_of_ours() -> None:
    with (
        FakeEngine.start() as engine,
        running_stack(ENGINE="external", ENGINE_URL=f"{engine.url}/v1", **QUICK) as stack,
    ):
        stack.wait_until_warm()
        assert stack.predict(["a", "b"]) == ["answer to: a", "answer to: b"]
        assert stack.engine_state()["phase"] == "external"
        assert not (stack.folder / ".engine").exists()
        assert "ENGINE=external brings its own model" in stack.console.read_text()
        assert stack.interrupt() == 0
        assert engine.read_stats().pid == engine.pid
