"""Owns the warm-up: which prompts it sends, and how it proves that completions come back."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from gateway.engine import Engine
from gateway.errors import (
    EngineBusy,
    EngineNotReady,
    EngineTimeout,
    GatewayError,
    PromptTooLong,
)
from gateway.sampling import Sampling

_log = logging.getLogger("gateway.lifecycle")

BUILT_IN_PROMPTS = (
    "什么是CUDA中的warp？",
    "请写一个向量加法的核函数，并说明线程索引是如何计算的。",
    "为什么矩阵乘法要使用共享内存分块？请详细解释其原理和对访存次数的影响。",
    "What does occupancy mean on a GPU?",
    "如何减少线程束分化？",
    "请比较页锁定内存和可分页内存在数据传输上的区别。",
    "Explain the difference between a stream and an event.",
    "量化为什么可以提高大模型推理的速度？",
)
_TEXT_KEYS = ("prompt", "question", "instruction", "query", "input", "text", "问题")


async def warm_up(
    complete: Callable[[str], Awaitable[object]],
    prompts: tuple[str, ...],
    *,
    width: int,
    budget_s: float,
    is_wave_first: bool = False,
) -> int:
    """Ask for one completion, then for `width` at once; return how many came back.

    `is_wave_first` leaves out the one: TecoInferenceEngine wants as many requests at once as
    FT_CB_BATCH_SIZE says before any other.

    An engine that batches compiles or allocates for a batch size when it first meets it, so the
    wave is as wide as a real batch. When the budget (seconds) ends, the one success is enough.
    Raises EngineNotReady when the engine is lost meanwhile, EngineTimeout when the first does not
    come in time, and the first completion's own error.
    """
    deadline = anyio.current_time() + budget_s
    late = EngineTimeout(f"no completion within WARMUP_BUDGET_S ({budget_s:g} s)")
    if not is_wave_first:
        with anyio.CancelScope(deadline=deadline) as scope:
            await _ask_first(complete, prompts[0])
        if scope.cancelled_caught:
            raise late
    wave = _Wave(complete)
    with anyio.CancelScope(deadline=deadline):
        async with anyio.create_task_group() as group:
            for prompt in itertools.islice(itertools.cycle(prompts), width):
                group.start_soon(wave.ask, prompt)
    wave.check()
    if is_wave_first and not wave.succeeded:
        raise wave.error or late
    return wave.succeeded + (not is_wave_first)


async def grouped_wave(
    engine: Engine, prompts: tuple[str, ...], sampling: Sampling, width: int, size: int
) -> None:
    """Ask for `width` completions at once, `size` to a call.

    Raises EngineLost or EngineNotReady when the engine is lost, else what any of the calls raised.
    A prompt that does not fit says nothing of calls: it is none of these errors.
    """
    errors: list[GatewayError] = []

    async def ask(part: tuple[str, ...]) -> None:
        try:
            if len(part) == 1:
                await engine.complete(part[0], sampling, "warm-up")
            else:
                await engine.complete_group(part, sampling, "warm-up")
        except PromptTooLong:
            pass
        except GatewayError as exc:
            errors.append(exc)

    waiting = tuple(itertools.islice(itertools.cycle(prompts), width))
    async with anyio.create_task_group() as group:
        for start in range(0, width, size):
            group.start_soon(ask, waiting[start : start + size])
    for error in sorted(errors, key=lambda error: not _is_lost(error)):
        raise error


async def _ask_first(complete: Callable[[str], Awaitable[object]], prompt: str) -> None:
    try:
        await complete(prompt)
    except PromptTooLong as exc:
        _log.warning("the first warm-up prompt does not fit, a built-in one serves: %s", exc)
        await complete(BUILT_IN_PROMPTS[0])


def _is_lost(error: GatewayError) -> bool:
    """Whether nobody answered: an engine that answers that it is busy is there."""
    return isinstance(error, EngineNotReady) and not isinstance(error, EngineBusy)


class _Wave:
    """Counts what the concurrent calls of a wave came to."""

    def __init__(self, complete: Callable[[str], Awaitable[object]]) -> None:
        self._complete = complete
        self._lost: GatewayError | None = None
        self.succeeded = 0
        self.error: GatewayError | None = None

    async def ask(self, prompt: str) -> None:
        try:
            await self._complete(prompt)
            self.succeeded += 1
        except GatewayError as exc:
            if _is_lost(exc):
                self._lost = exc
                return
            # Of a wave that is too wide for it an engine answers as much as it can.
            self.error = exc
            _log.warning("a warm-up prompt failed: %s", exc)

    def check(self) -> None:
        if self._lost is not None:
            raise self._lost


def load_prompts(path: Path | None, limit: int) -> tuple[str, ...]:
    """Read up to `limit` prompts: JSON lines, a JSON list, or plain lines.

    Warm-up data only makes the warm-up more like the batch: when it cannot be used, that is
    logged and the built-in prompts serve.
    """
    if path is None:
        return BUILT_IN_PROMPTS
    try:
        prompts = _parse(path.read_text(encoding="utf-8-sig"))[:limit]
    except (OSError, UnicodeDecodeError) as exc:
        _log.warning("WARMUP_DATA_PATH=%s cannot be read, built-in prompts serve: %s", path, exc)
        return BUILT_IN_PROMPTS
    if not prompts:
        _log.warning("WARMUP_DATA_PATH=%s holds no prompt, built-in prompts serve", path)
    return tuple(prompts) or BUILT_IN_PROMPTS


def _parse(text: str) -> list[str]:
    try:
        document = json.loads(text)
        items = document if isinstance(document, list) else [document]
    except (ValueError, RecursionError):
        items = [_line(line) for line in text.splitlines()]
    return [prompt for prompt in map(_prompt_of, items) if prompt.strip()]


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def _prompt_of(item: Any) -> str:
    if isinstance(item, dict):
        if isinstance(item.get("messages"), list):
            turns = [turn for turn in item["messages"] if isinstance(turn, dict)]
            user = [turn.get("content") for turn in turns if turn.get("role") == "user"]
            item = user[-1] if user else ""
        else:
            item = next((item[key] for key in _TEXT_KEYS if key in item), "")
    # A lone surrogate, which JSON can spell and UTF-8 cannot carry, becomes "?".
    return item.encode("utf-8", "replace").decode("utf-8") if isinstance(item, str) else ""
