"""Owns the predict phase, in both modes, with the evaluator's rules for what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from evaluator.client import Client, PredictFailed
from evaluator.scoring import aligned

TIME_IS_UP = "not answered: the time was up"


@dataclass(frozen=True)
class Answer:
    """What came back for one question."""

    text: str
    latency_s: float | None = None
    error: str = ""


@dataclass
class Prediction:
    """What the predict phase brought, filled while it runs."""

    answers: list[Answer] = field(default_factory=list)
    post_s: float = 0.0
    """Seconds in POST /predict."""
    problem: str = ""
    warnings: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)


async def predict_batch(
    client: Client, questions: Sequence[str], limit_s: float, into: Prediction
) -> None:
    """Send all questions in one POST; over the limit, or without a valid reply, it has failed."""
    start = anyio.current_time()
    try:
        with anyio.fail_after(limit_s):
            answers = (await client.ask_batch(list(questions))).texts
    except TimeoutError:
        into.problem = f"the one POST with all questions took longer than {limit_s:g} s"
    except PredictFailed as exc:
        into.problem = f"the one POST with all questions failed: {exc}"
    else:
        into.answers, warnings = _fit(answers, len(questions))
        into.warnings += warnings
    finally:
        into.post_s = anyio.current_time() - start


def _fit(answers: Sequence[str], count: int) -> tuple[list[Answer], list[str]]:
    texts, surplus = aligned(answers, count)
    missing = "not answered: the response was too short"
    fitted = [Answer(text) for text in texts[: len(answers)]]
    fitted += [Answer("", error=missing)] * (count - len(fitted))
    if surplus > 0:
        return fitted, [f"{surplus} answers more than questions; the last ones were dropped"]
    if surplus < 0:
        return fitted, [f'{-surplus} answers fewer than questions; "" stands for the last ones']
    return fitted, []


async def predict_single(
    client: Client,
    questions: Sequence[str],
    limit_s: float,
    into: Prediction,
    on_answer: Callable[[int], None] = lambda count: None,
) -> None:
    """Send one POST per question in order; when the total is up, the rest are "".

    A request that fails is "" too, and the next one is sent.
    """
    deadline = anyio.current_time() + limit_s
    for question in questions:
        if anyio.current_time() >= deadline:
            break
        answer = await _ask(client, question, deadline)
        into.answers.append(answer)
        into.post_s += answer.latency_s or 0.0
        on_answer(len(into.answers))
    into.answers += [Answer("", error=TIME_IS_UP)] * (len(questions) - len(into.answers))
    _summarize(into)


async def _ask(client: Client, question: str, deadline: float) -> Answer:
    start = anyio.current_time()
    text = error = ""
    try:
        with anyio.fail_after(deadline - start):
            text = await client.ask_one(question)
    except TimeoutError:
        error = TIME_IS_UP
    except PredictFailed as exc:
        error = str(exc)
    return Answer(text, anyio.current_time() - start, error)


def _summarize(prediction: Prediction) -> None:
    errors = [answer.error for answer in prediction.answers if answer.error]
    late = errors.count(TIME_IS_UP)
    failed = [error for error in errors if error != TIME_IS_UP]
    if failed:
        prediction.seen["failed requests"] = len(failed)
        prediction.warnings.append(
            f'{len(failed)} requests failed and count as ""; the first: {failed[0]}'
        )
    if late:
        prediction.seen["not answered in time"] = late
        prediction.warnings.append(f'{late} questions were not answered in time and count as ""')
