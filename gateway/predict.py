"""Owns `POST /predict`: from the request's bytes to the response's, counted and logged.

The contract itself is in contract.py, the batch in fanout.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import anyio.lowlevel
from starlette.requests import Request
from starlette.responses import Response

from gateway import contract
from gateway.answering import Task
from gateway.batch import Batch
from gateway.bodies import Body
from gateway.disconnect import cancel_when_gone
from gateway.errors import RequestTimeout
from gateway.service import Service

ANSWERS_HEADER = "X-Evalgate-Answers"
# A policy's patterns may take 0.1 ms for a prompt, and `GET /` waits meanwhile.
TASKS_AT_ONCE = 100
_log = logging.getLogger("gateway.predict")


class Predict:
    """The endpoint of `/predict`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self._metrics = service.metrics

    async def post(self, request: Request) -> Response:
        """Answer one prompt or a batch; the deadline counts from here."""
        start = anyio.current_time()
        with self._service.bodies.open() as body:
            return await self._answer(request, await self._read(request, body), start)

    async def _answer(self, request: Request, body: bytes, start: float) -> Response:
        asked = contract.parse(body, self._settings.sampling, self._settings.max_batch_prompts)
        with self._service.admission.admit(len(asked.prompts)) as ticket:
            self._metrics.prompts.inc(len(asked.prompts))
            tasks = await self._tasks(asked, request.state.request_id)
            deadline = start + self._settings.predict_deadline_s
            batch = await self._run(request, tasks, deadline, ticket.note_done)
        if batch is None:
            self._metrics.clients_gone.inc()
            _log.info("client left", extra={"fields": {"request_id": request.state.request_id}})
            return Response(status_code=499)  # nobody reads it; the status is for the metrics
        self._report(batch, request.state.request_id, anyio.current_time() - start)
        request.state.is_reported = True
        batch.raise_if_nothing()
        return Response(
            contract.encode(batch.answers, asked.is_batch),
            media_type="application/json",
            headers={ANSWERS_HEADER: " ".join(f"{k}={n}" for k, n in batch.counts().items())},
        )

    async def _read(self, request: Request, body: Body) -> bytes:
        limit_s = self._settings.body_timeout_s
        with anyio.move_on_after(limit_s):
            return await body.read(request)
        raise RequestTimeout(f"the body was not all there within BODY_TIMEOUT_S ({limit_s:g} s)")

    async def _tasks(self, asked: contract.PredictRequest, request_id: str) -> list[Task]:
        tasks: list[Task] = []
        for index, prompt in enumerate(asked.prompts):
            if index % TASKS_AT_ONCE == TASKS_AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()
            name = f"{request_id}-{index}"
            task = self._service.answerer.task(
                prompt, asked.sampling, name, has_own_budget=asked.has_own_budget
            )
            tasks.append(task)
        return tasks

    async def _run(
        self, request: Request, tasks: list[Task], deadline: float, on_done: Callable[[], None]
    ) -> Batch | None:
        """Run the batch while the client is there; None when it left, its calls then cancelled."""
        batch: Batch | None = None
        async with anyio.create_task_group() as watch:
            watch.start_soon(cancel_when_gone, request.receive, watch.cancel_scope)
            batch = await self._service.fanout.run(tasks, deadline, on_done)
            watch.cancel_scope.cancel()
        return batch

    def _report(self, batch: Batch, request_id: str, seconds: float) -> None:
        self._metrics.predict_s.observe(seconds)
        if batch.is_cut:
            self._metrics.deadline_hits.inc()
        fields: dict[str, object] = {
            "request_id": request_id,
            "prompts": len(batch.tasks),
            **batch.counts(),
            "seconds": round(seconds, 3),
        }
        if self._settings.log_prompts:
            fields["exchanges"] = [
                (task.prompt, answer)
                for task, answer in zip(batch.tasks, batch.answers, strict=True)
            ]
        level, message = _summary(batch)
        _log.log(level, message, extra={"fields": fields})


def _summary(batch: Batch) -> tuple[int, str]:
    """Return a batch's log level and message: what kept answers away, when any is missing."""
    if batch.errors:
        return logging.WARNING, f"predict: {batch.errors[min(batch.errors)]}"
    if batch.is_cut:
        return logging.WARNING, "predict: the deadline came first"
    return logging.INFO, "predict"
