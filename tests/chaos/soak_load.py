"""The mixed load of a soak: one round after the other, each of them checked, and a sample after it.

Must not judge growth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import psutil

from tests.chaos.client import Post, Reply, connect, exchange, metric
from tests.chaos.judging import judge, wholes
from tests.chaos.polling import NotSeen, wait_for
from tests.chaos.result import Run
from tests.chaos.soak_service import SoakService
from tests.chaos.trend import Measure
from tests.e2e.stack import DEADLINE_S

NUM_BATCH = 60
NUM_SINGLE = 20
NUM_LEAVING = 5
BAD_BODIES = (b"{", b"[]", b'{"prompt": 5}', b'{"prompt": [1]}', b"\xff\x00", b'{"prompt": "x')
# Python and the allocator give memory back by the page and by the arena; files come by the
# connections kept to the engine, tasks by what is under way when the sample is taken.
MEASURES = (
    Measure("gateway memory", "MB", bound_per_hour=20, noise=1.0),
    Measure("gateway files", "", bound_per_hour=0, noise=3),
    Measure("gateway threads", "", bound_per_hour=0, noise=1),
    Measure("gateway tasks", "", bound_per_hour=0, noise=3),
    Measure("guardian memory", "MB", bound_per_hour=20, noise=1.0),
    Measure("engine processes", "", bound_per_hour=0, noise=1),
)


@dataclass(frozen=True)
class Sample:
    """One look between two rounds; `values` has what could be told, by the measure's name."""

    at_s: float
    requests: int
    values: dict[str, float]


@dataclass
class Load:
    """Makes rounds of requests and keeps count of them."""

    service: SoakService
    requests: int = 0
    num_bad: int = 0
    total: Run = field(default_factory=lambda: Run(0))
    started: float = field(default_factory=time.monotonic)

    def round(self, amid: Callable[[], object] = lambda: None) -> None:
        """Send a batch, single requests, bad ones, and some whose client leaves; check them.

        `amid` is called while they are under way.
        """
        prompts = list(islice(cycle(self.service.answers), NUM_BATCH))
        leaving = [Post(self.service.url, prompts) for _ in range(NUM_LEAVING)]
        singles = [Post(self.service.url, prompt) for prompt in prompts[:NUM_SINGLE]]
        batch = Post(self.service.url, prompts)
        for post in leaving:
            post.leave()
        amid()
        self._send_bad()
        for single, prompt in zip(singles, prompts, strict=False):
            self._check(single.wait(), [prompt])
        self._check(batch.wait(), prompts)
        for post in leaving:
            post.wait()
        self.requests += NUM_LEAVING + NUM_SINGLE + 1 + len(BAD_BODIES)

    def _check(self, reply: Reply, prompts: Sequence[str]) -> None:
        expected = wholes([self.service.answers[prompt] for prompt in prompts])
        self.total = self.total + judge(reply, expected, DEADLINE_S)

    def _send_bad(self) -> None:
        connection = connect(self.service.url, 30)
        for body in BAD_BODIES:
            reply = exchange(connection, "POST", "/predict", body)
            self.num_bad += 400 <= reply.status < 500
            if not 400 <= reply.status < 500:
                raise NotSeen(f"a bad request was answered with {reply}")
        connection.close()

    def sample(self) -> Sample:
        """Look at the processes once nothing is under way."""
        url = self.service.url
        wait_for("no work", lambda: metric(url, "evalgate_prompts_in_flight") == 0, 30)
        seconds = time.monotonic() - self.started
        return Sample(round(seconds, 2), self.requests, self._values())

    def _values(self) -> dict[str, float]:
        gateway = self.service.gateway
        values: dict[str, float] = {
            "gateway memory": _megabytes(gateway),
            "gateway files": gateway.num_fds(),
            "gateway threads": gateway.num_threads(),
            "engine processes": self.service.count_engine_processes(),
        }
        if (tasks := metric(self.service.url, "evalgate_tasks")) > 0:
            values["gateway tasks"] = tasks
        if (guardian := self.service.find_guardian()) is not None:
            values["guardian memory"] = _megabytes(guardian)
        return values


def _megabytes(process: psutil.Process) -> float:
    return round(float(process.memory_info().rss) / 1e6, 3)
