"""A fake engine behind a real gateway process, and prompts whose answers tell whose they are.

Must not know a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.chaos.client import Post, Reply, get, metric
from tests.chaos.gateway_program import START_S, GatewayProgram, gateway_program
from tests.chaos.judging import Expected, Need
from tests.chaos.polling import wait_for
from tests.fakes.running import FakeEngine, as_script
from tests.fakes.script import Rule, Script
from tests.fakes.script_json import to_json

# As many as the evaluator's larger set holds.
NUM_PROMPTS = 358
DEADLINE_S = 60.0
# Prompts with this word meet the rules that name it.
FAULTY = "faulty"


@dataclass(frozen=True)
class Pair:
    """The two processes of a row on the fake engine."""

    engine: FakeEngine
    gateway: GatewayProgram

    def follow(self, script: Script | Sequence[Rule]) -> None:
        """Tell the engine what to do from now on: the warm-up is over, no rule is used up."""
        self.engine.ask("POST", "script", to_json(as_script(script)))

    def post(self, prompts: str | Sequence[str]) -> Post:
        """Post to this gateway."""
        return Post(self.gateway.url, prompts)

    def post_when_listening(self, prompts: Sequence[str]) -> Reply:
        """Post as a client does that tries again as soon as the port is open."""
        wait_for("an open port", lambda: get(self.gateway.url, "/livez").status == 200, START_S)
        return self.post(prompts).wait()

    def metric(self, name: str) -> float:
        """Read one of the gateway's metrics."""
        return metric(self.gateway.url, name)

    @property
    def in_flight(self) -> float:
        """How many prompts the gateway has at the engine."""
        return self.metric("evalgate_prompts_in_flight")

    @property
    def running(self) -> int:
        """How many completions the engine has under way."""
        return self.engine.read_stats().running


@contextmanager
def fake_pair(
    max_files: int | None = None, /, *, deadline_s: float = DEADLINE_S, **environ: str
) -> Iterator[Pair]:
    """Run both for the length of a block, the gateway warm."""
    wanted = {"PREDICT_DEADLINE_S": str(deadline_s), **environ}
    with (
        FakeEngine.start() as engine,
        gateway_program(engine.url, max_files, **wanted) as gateway,
    ):
        yield Pair(engine, gateway)


def prompts_of(num_prompts: int = NUM_PROMPTS, faulty_every: int = 0) -> list[str]:
    """Return prompts that all differ; every so many is faulty, beginning with the third."""
    return [
        f"{index:05d} {FAULTY if faulty_every and index % faulty_every == 2 else 'sound'} question"
        for index in range(num_prompts)
    ]


def answer_to(prompt: str) -> str:
    """Return the fake engine's answer."""
    return f"answer to: {prompt}"


def expected_of(prompts: Sequence[str], faulty: Need = "whole") -> list[Expected]:
    """Expect whole answers, and what a faulty prompt can have at the most."""
    return [
        Expected(answer_to(prompt), faulty if FAULTY in prompt else "whole") for prompt in prompts
    ]
