"""Owns asking for all answers: many at a time, each recorded at once, never asked twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from evaluator.answer_journal import Answered, Journal, JournalError
from evaluator.chat import AskFailed, Sampling
from evaluator.humaneval.problems import Problem

INSTRUCTION = (
    "Complete the following Python function. "
    "Answer with the whole function, imports included, in one Python code block.\n\n"
    "```python\n{prompt}\n```\n"
)


class Lost(Exception):
    """The service does not answer any more; the message says what was seen last."""


class Asks(Protocol):
    """Who is asked."""

    async def ask(self, prompt: str, sampling: Sampling) -> str:
        """Return one answer; raises AskFailed."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what; in seconds."""

    find_model_s: float = 30.0
    """For the engine to name what it serves."""
    request_s: float = 600.0
    backoff_s: tuple[float, ...] = (1.0, 4.0, 16.0, 60.0)
    """Before each further try; an engine that was lost needs a minute to be back."""


def write_prompt(problem: Problem) -> str:
    """Return what a model is asked."""
    return INSTRUCTION.format(prompt=problem.prompt.strip())


def place_of(index: int, samples: int) -> tuple[int, int]:
    """Return which problem, and which of its answers, has this place in the journal."""
    return divmod(index, samples)


async def ask_all(
    asked: Asks,
    problems: Sequence[Problem],
    samples: int,
    sampling: Sampling,
    journal: Journal,
    concurrency: int,
    patience: Patience,
    on_answer: Callable[[], None] = lambda: None,
) -> None:
    """Bring an answer, or its error, for every sample into the journal.

    Raises Lost when the service stops answering, JournalError.
    """
    total = len(problems) * samples
    left = iter([index for index in range(total) if index not in journal.answers])
    failed: list[Exception] = []

    async def work(scope: anyio.CancelScope) -> None:
        for index in left:
            place, sample = place_of(index, samples)
            try:
                answered = await _ask(
                    asked, write_prompt(problems[place]), _seeded(sampling, sample), patience
                )
                journal.add({index: answered})
            except (Lost, JournalError) as exc:
                failed.append(exc)
                scope.cancel()
                return
            on_answer()

    async with anyio.create_task_group() as group:
        for _ in range(min(concurrency, total)):
            group.start_soon(work, group.cancel_scope)
    if failed:
        raise failed[0]


def _seeded(sampling: Sampling, sample: int) -> Sampling:
    """With one seed for all, the samples of a problem would be the same answer."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + sample)


async def _ask(asked: Asks, prompt: str, sampling: Sampling, patience: Patience) -> Answered:
    error = ""
    for pause_s in _pauses(patience):
        await anyio.sleep(pause_s)
        try:
            with anyio.fail_after(patience.request_s):
                return Answered(await asked.ask(prompt, sampling))
        except TimeoutError:
            error = f"no answer within {patience.request_s:g} s"
        except AskFailed as exc:
            if exc.is_final:
                return Answered("", str(exc))
            error = str(exc)
    raise Lost(f"no answer after {len(patience.backoff_s) + 1} tries, the last: {error}")


def _pauses(patience: Patience) -> Iterator[float]:
    yield 0.0
    yield from patience.backoff_s
