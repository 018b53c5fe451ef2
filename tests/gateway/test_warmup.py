import json
import logging
from collections import Counter
from pathlib import Path

import anyio
import pytest

from gateway.errors import (
    EngineBusy,
    EngineFailure,
    EngineNotReady,
    EngineTimeout,
    PromptTooLong,
)
from gateway.warmup import BUILT_IN_PROMPTS, load_prompts, warm_up

PATIENCE_S = 30.0


class Engine:
    """Completes at once, save where a script says otherwise; notes what it was asked."""

    def __init__(self, *, meet: int = 1, errors: dict[int, Exception] | None = None) -> None:
        self.prompts: list[str] = []
        self.peak = 0
        self._in_flight = 0
        self._meet = meet
        self._errors = errors or {}
        self._met = anyio.Event()

    async def complete(self, prompt: str) -> None:
        """Return once `meet` calls are in flight at the same time (the first call: at once)."""
        number = len(self.prompts)
        self.prompts.append(prompt)
        if number in self._errors:
            raise self._errors[number]
        self._in_flight += 1
        self.peak = max(self.peak, self._in_flight)
        if self._in_flight >= self._meet:
            self._met.set()
        if number:
            await self._met.wait()
        self._in_flight -= 1


@pytest.mark.anyio
async def test_one_completion_then_a_wave_as_wide_as_the_batch() -> None:
    engine = Engine(meet=6)
    count = await warm_up(engine.complete, ("a", "b", "c"), width=6, budget_s=PATIENCE_S)
    assert count == 7
    assert engine.peak == 6
    assert engine.prompts[0] == "a"
    assert Counter(engine.prompts[1:]) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.anyio
async def test_an_engine_that_does_not_complete_in_time_is_not_ready() -> None:
    async def never(prompt: str) -> None:
        await anyio.sleep_forever()

    with pytest.raises(EngineTimeout, match=r"no completion within WARMUP_BUDGET_S \(0.05 s\)"):
        await warm_up(never, ("a",), width=4, budget_s=0.05)


@pytest.mark.anyio
async def test_when_the_budget_ends_the_first_success_is_enough() -> None:
    engine = Engine(meet=100)
    assert await warm_up(engine.complete, ("a",), width=4, budget_s=0.1) == 1
    assert len(engine.prompts) == 5


@pytest.mark.anyio
async def test_the_first_completions_error_is_passed_on() -> None:
    engine = Engine(errors={0: EngineFailure("no such model")})
    with pytest.raises(EngineFailure, match="no such model"):
        await warm_up(engine.complete, ("a",), width=4, budget_s=PATIENCE_S)
    assert len(engine.prompts) == 1


@pytest.mark.anyio
async def test_an_engine_lost_in_the_wave_is_not_ready() -> None:
    engine = Engine(errors={2: EngineNotReady("connection reset")})
    with pytest.raises(EngineNotReady, match="connection reset"):
        await warm_up(engine.complete, ("a",), width=4, budget_s=PATIENCE_S)


@pytest.mark.anyio
async def test_a_prompt_that_fails_in_the_wave_is_logged_and_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(errors={2: EngineFailure("garbage")})
    with caplog.at_level(logging.WARNING):
        assert await warm_up(engine.complete, ("a",), width=4, budget_s=PATIENCE_S) == 4
    assert caplog.messages == ["a warm-up prompt failed: garbage"]


# -- the prompts


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ('{"prompt": "a"}\n{"prompt": "b"}\n', ("a", "b")),
        ('{"question": "a", "answer": "x"}\n{"问题": "b"}\n', ("a", "b")),
        ('{"instruction": "a", "input": "", "output": "x"}', ("a",)),
        (
            '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"},'
            ' {"role": "assistant", "content": "x"}, {"role": "user", "content": "b"}, 1]}',
            ("b",),
        ),
        ('["a", {"prompt": "b"}, " ", 3, null, {"x": "y"}, {"prompt": 1}]', ("a", "b")),
        ('[{"messages": []}, {"messages": [{"role": "user"}]}, "a"]', ("a",)),
        ("什么是warp？\n\n  \nWhat is a block?\n", ("什么是warp？", "What is a block?")),
        ('{"prompt": "a"}\n{"prompt": "cut\n"c"', ("a", '{"prompt": "cut', "c")),
        ('\ufeff{"prompt": "a"}\n{"prompt": "b"}', ("a", "b")),
        ('{"prompt": "a\\ud800"}', ("a?",)),
    ],
)
def test_prompts_are_read_from_json_lines_a_json_list_or_plain_lines(
    tmp_path: Path, text: str, prompts: tuple[str, ...]
) -> None:
    path = tmp_path / "questions"
    path.write_text(text, encoding="utf-8")
    assert load_prompts(path, limit=10) == prompts


def test_endless_nesting_is_a_plain_line(tmp_path: Path) -> None:
    """It stopped the start of the gateway."""
    path = tmp_path / "questions"
    path.write_text("[" * 100_000 + "\na", encoding="utf-8")
    assert load_prompts(path, limit=10) == ("[" * 100_000, "a")


def test_no_more_prompts_are_read_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps([f"question {n}" for n in range(10)]), encoding="utf-8")
    assert load_prompts(path, limit=3) == ("question 0", "question 1", "question 2")


def test_without_a_file_the_built_in_prompts_serve() -> None:
    assert load_prompts(None, limit=1) == BUILT_IN_PROMPTS
    assert all(prompt.strip() for prompt in BUILT_IN_PROMPTS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("问题".encode("gbk"), "cannot be read"),
        (b"", "holds no prompt"),
        (b'{"data": [1, 2]}', "holds no prompt"),
        (b"42", "holds no prompt"),
    ],
)
def test_a_file_of_no_use_is_logged_and_the_built_in_prompts_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, told: str
) -> None:
    path = tmp_path / "questions"
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert load_prompts(path, limit=10) == BUILT_IN_PROMPTS
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"WARMUP_DATA_PATH={path} {told}")


@pytest.mark.anyio
async def test_a_wave_that_must_come_first_comes_alone() -> None:
    engine = Engine()
    width, ask = 4, engine.complete
    count = await warm_up(ask, ("a",), width=width, budget_s=PATIENCE_S, is_wave_first=True)
    assert (count, len(engine.prompts)) == (width, width)


@pytest.mark.anyio
async def test_a_wave_without_a_single_answer_is_no_warmth() -> None:
    errors: dict[int, Exception] = {number: EngineFailure("no") for number in range(2)}
    engine = Engine(errors=errors)
    with pytest.raises(EngineFailure, match="no"):
        await warm_up(engine.complete, ("a",), width=2, budget_s=PATIENCE_S, is_wave_first=True)

    async def never(prompt: str) -> None:
        await anyio.sleep_forever()

    with pytest.raises(EngineTimeout):
        await warm_up(never, ("a",), width=2, budget_s=0.05, is_wave_first=True)


@pytest.mark.anyio
async def test_an_engine_that_takes_fewer_at_once_than_the_wave_has_is_warm() -> None:
    """A router that bounds its queue never took the whole wave, and the gateway never got warm."""
    engine = Engine(errors={3: EngineBusy("the engine answered 429: slow down")})
    assert await warm_up(engine.complete, ("a",), width=8, budget_s=PATIENCE_S) == 8


@pytest.mark.anyio
async def test_a_first_prompt_that_does_not_fit_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(errors={0: PromptTooLong("too long")})
    assert await warm_up(engine.complete, ("huge",), width=2, budget_s=PATIENCE_S) == 3
    assert engine.prompts[:2] == ["huge", BUILT_IN_PROMPTS[0]]
    assert "does not fit" in caplog.text
