"""The two services that a soak can load: the real stack, and the gateway on the fake engine.

Must not make load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from tests.chaos.fake_pair import answer_to, fake_pair, prompts_of
from tests.chaos.real import LEARNT, chaos_stack, engine_pid, program_pid
from tests.e2e.stack import engine_group


@dataclass(frozen=True)
class SoakService:
    """A service under load: its address, what it must answer, its processes."""

    url: str
    answers: dict[str, str]
    gateway: psutil.Process
    find_guardian: Callable[[], psutil.Process | None]
    """supervisord starts a new one with every restart of the engine."""
    count_engine_processes: Callable[[], int]
    restart_engine: Callable[[], object]
    """Blocks until the new engine is started; it need not be warm."""


@contextmanager
def real_service() -> Iterator[SoakService]:
    """Run the whole stack with the pocket model."""
    with chaos_stack() as stack:
        stack.wait_until_warm()
        yield SoakService(
            url=stack.gateway_url,
            answers=LEARNT,
            gateway=psutil.Process(program_pid(stack, "gateway")),
            find_guardian=lambda: psutil.Process(program_pid(stack, "engine")),
            count_engine_processes=lambda: len(engine_group(engine_pid(stack))),
            restart_engine=lambda: stack.supervisorctl("restart", "engine"),
        )


@contextmanager
def fake_service() -> Iterator[SoakService]:
    """Run the gateway on the fake engine."""
    with fake_pair() as pair:

        def restart() -> None:
            pair.engine.kill()
            pair.engine.start_again()

        yield SoakService(
            url=pair.gateway.url,
            answers={prompt: answer_to(prompt) for prompt in prompts_of(100)},
            gateway=psutil.Process(pair.gateway.process.pid),
            find_guardian=lambda: None,
            count_engine_processes=lambda: int(pair.engine.process.poll() is None),
            restart_engine=restart,
        )
