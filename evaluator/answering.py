"""Owns the asking of `evaluator answer`: chunks, retries, one by one, and when to give up.

The invariant: what the journal holds is never asked again, and a question is only given up when
the service is well otherwise, so that a service that is down or broken costs no answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio

from evaluator.answer_journal import Answered, Journal
from evaluator.client import Answers, Client, PredictFailed
from evaluator.health import INTERVAL_S, Health, wait_until_healthy
from evaluator.phases import describe_seen

# Statuses that say something about the prompt: trying again would change nothing.
_PROMPTS_OWN_FAULT = (400, 413, 422)
MAX_FAILED_IN_A_ROW = 5
"""One poison question is likely, several beside each other are a service in trouble."""


class ServiceLost(Exception):
    """The service is down or broken; the message says what was seen last."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what; all in seconds."""

    request_s: float = 360.0
    """For one POST."""
    recovery_s: float = 300.0
    """For the service to be healthy, at first and after a failure: an engine loads for minutes."""
    chunk_backoff_s: tuple[float, ...] = (1.0, 4.0)
    """Before each further try of a chunk; then its questions are asked one by one."""
    question_backoff_s: tuple[float, ...] = (1.0,)
    """The same for a question alone; then its answer is ""."""
    look_interval_s: float = INTERVAL_S


class Asker:
    """Asks one service; `on_wait` is told what is seen while it is not healthy."""

    def __init__(
        self,
        client: Client,
        patience: Patience,
        on_wait: Callable[[str], None] = lambda seen: None,
    ) -> None:
        self._client = client
        self._patience = patience
        self._on_wait = on_wait
        self._given_up: dict[int, Answered] = {}
        """Not recorded before the service has shown that it can answer others."""

    async def answer_all(
        self,
        questions: Sequence[str],
        journal: Journal,
        chunk: int,
        on_answers: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring an answer, or its error, for every question into the journal.

        `chunk` questions go into one POST; with 1, each is sent as a string, not as a list of
        one. Raises ServiceLost, JournalError.
        """
        left = [index for index in range(len(questions)) if index not in journal.answers]
        if left:
            await self._wait_for_service()
        for indices in _cut(left, chunk):
            prompts = {index: questions[index] for index in indices}
            answers = await self._ask_chunk(prompts) if chunk > 1 else {}
            if answers:
                self._add(journal, answers)
                on_answers()
            for index in indices:
                if index not in answers:
                    self._record(journal, index, *await self._ask_alone(prompts[index]))
                    on_answers()
        if self._given_up:
            if not _is_proven(journal):
                raise self._lost("not one question was answered", self._given_up)
            journal.add(self._given_up)
            self._given_up.clear()
            on_answers()

    def _add(self, journal: Journal, answers: Mapping[int, Answered]) -> None:
        """Record answers, and what was given up before if they show that others are answered."""
        is_shown = any(known.answer for known in answers.values())
        journal.add({**self._given_up, **answers} if is_shown else answers)
        if is_shown:
            self._given_up.clear()

    def _record(self, journal: Journal, index: int, answered: Answered, status: int) -> None:
        is_own_fault = status in _PROMPTS_OWN_FAULT and _is_proven(journal)
        if not answered.error or is_own_fault:
            self._add(journal, {index: answered})
            return
        self._given_up[index] = answered
        if len(self._given_up) >= MAX_FAILED_IN_A_ROW:
            raise self._lost(f"{MAX_FAILED_IN_A_ROW} questions in a row failed", self._given_up)

    def _lost(self, what: str, failed: Mapping[int, Answered]) -> ServiceLost:
        last = failed[max(failed)].error
        return ServiceLost(f"{self._client.url}: {what}, the last one with: {last}")

    async def _ask_chunk(self, prompts: Mapping[int, str]) -> dict[int, Answered]:
        """Return the answers to a chunk; those that are not there have to be asked one by one."""
        for pause_s in (0.0, *self._patience.chunk_backoff_s):
            await anyio.sleep(pause_s)
            try:
                with anyio.fail_after(self._patience.request_s):
                    answers = await self._client.ask_batch(list(prompts.values()))
            except TimeoutError:
                pass
            except PredictFailed as exc:
                if exc.status in _PROMPTS_OWN_FAULT:
                    return {}
            else:
                if len(answers.texts) == len(prompts):
                    return _take(prompts, answers)
            await self._wait_for_service()
        return {}

    async def _ask_alone(self, prompt: str) -> tuple[Answered, int]:
        """Return the answer, or the last error with the status that it came with."""
        error, status = "", 0
        for pause_s in (0.0, *self._patience.question_backoff_s):
            await anyio.sleep(pause_s)
            try:
                with anyio.fail_after(self._patience.request_s):
                    return Answered(await self._client.ask_one(prompt)), 200
            except TimeoutError:
                error, status = f"no answer within {self._patience.request_s:g} s", 0
            except PredictFailed as exc:
                error, status = str(exc), exc.status
                if exc.status in _PROMPTS_OWN_FAULT:
                    break
            await self._wait_for_service()
        return Answered("", error), status

    async def _wait_for_service(self) -> None:
        health = Health()
        limit_s = self._patience.recovery_s
        await wait_until_healthy(
            self._client,
            health,
            anyio.current_time() + limit_s,
            on_look=lambda: self._on_wait(describe_seen(health.seen)),
            interval_s=self._patience.look_interval_s,
        )
        if health.problem:
            raise ServiceLost(f"{self._client.url}: {health.problem} ({limit_s:g} s)")


def _cut(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (indices[start : start + size] for start in range(0, len(indices), size))


def _take(prompts: Mapping[int, str], answers: Answers) -> dict[int, Answered]:
    """Keep what is whole: an empty answer may stand for a failure, and any may be the cut one."""
    if answers.ended.get("partial"):
        return {}
    return {
        index: Answered(text)
        for (index, prompt), text in zip(prompts.items(), answers.texts, strict=True)
        if text or not prompt.strip()
    }


def _is_proven(journal: Journal) -> bool:
    """Whether the service has answered anything at all; an empty answer shows nothing."""
    return any(known.answer for known in journal.answers.values())
