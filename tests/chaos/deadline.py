"""Rows in which the deadline comes first, with none, some or all but one of the answers there."""

from __future__ import annotations

import resource
from collections.abc import Sequence

from tests.chaos.client import Reply
from tests.chaos.fake_pair import FAULTY, Pair, answer_to, expected_of, fake_pair, prompts_of
from tests.chaos.judging import Expected, Need, is_late, judge
from tests.chaos.polling import require, wait_for
from tests.chaos.result import Run
from tests.chaos.row import Row, fake_row
from tests.fakes.script import HalfStream, Rule, Stall

SHORT_S = 3.0
# Enough pieces of the stream to tell whose the beginning is.
PIECES = 6
HALF = HalfStream(chunks=PIECES, then="stall")
# So far apart that only one of a batch is faulty.
FAR = 1000
MANY = 10_000
MANY_S = 20.0
# As many as a server accepts at once: its backlog is no larger.
MANY_IN_FLIGHT = 4000


def none_done() -> Run:
    """No answer has begun: 504, and no list of blanks."""
    with fake_pair(deadline_s=SHORT_S) as pair:
        pair.follow([Rule(Stall())])
        prompts = prompts_of()
        reply = pair.post(prompts).wait()
        require(f"a 504 was to be expected: {reply}", reply.status == 504)
        return Run(len(prompts), late=len(prompts) if is_late(reply, SHORT_S) else 0, note="504")


def none_whole() -> Run:
    """Every answer under way has begun, none is whole: the beginnings are returned."""
    with fake_pair(deadline_s=SHORT_S) as pair:
        pair.follow([Rule(HALF)])
        prompts = prompts_of(200)
        reply = pair.post(prompts).wait()
        return _judge(reply, [Expected(answer_to(prompt), "part") for prompt in prompts], SHORT_S)


def some_done() -> Run:
    """Of every nine answers one has begun, one has not, seven are whole."""
    with fake_pair(deadline_s=SHORT_S) as pair:
        pair.follow([Rule(HALF, match=FAULTY), Rule(Stall(), match="never")])
        prompts = prompts_of(faulty_every=9)
        prompts[5::9] = [prompt.replace("sound", "never") for prompt in prompts[5::9]]
        reply = pair.post(prompts).wait()
        needs: dict[str, Need] = {FAULTY: "part", "never": "any part", "sound": "whole"}
        expected = [Expected(answer_to(each), needs[each.split()[1]]) for each in prompts]
        return _judge(reply, expected, SHORT_S)


def all_but_one_done() -> Run:
    """One answer has begun, all others are whole."""
    with fake_pair(deadline_s=SHORT_S) as pair:
        pair.follow([Rule(HALF, match=FAULTY)])
        prompts = prompts_of(faulty_every=FAR)
        reply = pair.post(prompts).wait()
        return _judge(reply, expected_of(prompts, "part"), SHORT_S)


def many_open() -> Run:
    """10,000 prompts are open, 4,000 of them under way and stuck, when the deadline comes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require(f"{hard} open files are too few", hard > MANY_IN_FLIGHT + 500)
    # One success is enough: a warm-up as wide as that is not what is looked at.
    environ = {"BATCH_CONCURRENCY": str(MANY_IN_FLIGHT), "WARMUP_BUDGET_S": "3"}
    with fake_pair(None, deadline_s=MANY_S, **environ) as pair:
        return _many(pair, in_flight=MANY_IN_FLIGHT, deadline_s=MANY_S)


def many_waiting() -> Run:
    """10,000 prompts are open, 256 of them under way and stuck, when the deadline comes."""
    with fake_pair(deadline_s=2 * SHORT_S, BATCH_CONCURRENCY="256") as pair:
        return _many(pair, in_flight=256, deadline_s=2 * SHORT_S)


def _many(pair: Pair, in_flight: int, deadline_s: float) -> Run:
    pair.follow([Rule(HALF)])
    prompts = prompts_of(MANY)
    post = pair.post(prompts)
    wait_for("all in flight", lambda: pair.in_flight >= in_flight, deadline_s, poll_s=0.3)
    require("the reply came before the deadline", not post.is_done)
    reply = post.wait()
    num_begun = sum(bool(answer) for answer in reply.answers)
    run = _judge(reply, [Expected(answer_to(each), "any part") for each in prompts], deadline_s)
    # Which ones were under way is chance, how many is not: a beginning of each must be there.
    return run + Run(0, lost=max(0, in_flight - num_begun))


def _judge(reply: Reply, expected: Sequence[Expected], deadline_s: float) -> Run:
    """Judge the answers and what the header says of them."""
    run = judge(reply, expected, deadline_s)
    has_waited = reply.seconds > deadline_s - 0.5
    require(f"the deadline did not come first: {reply.seconds:.1f} s", has_waited)
    told = " ".join(f"{name}={count}" for name, count in reply.counts.items() if count)
    wholes = sum(a == b.text for a, b in zip(reply.answers, expected, strict=False))
    require(f"the header says {told!r}", reply.counts.get("whole", -1) == wholes)
    require(f"the header says {told!r}", sum(reply.counts.values()) == len(expected))
    return Run(0, note=f"{told}, {reply.seconds - deadline_s:+.2f} s") + run


ROWS: tuple[Row, ...] = (
    fake_row("deadline-none", "deadline with no answer begun", none_done),
    fake_row(
        "deadline-begun", "deadline with every answer begun, none whole", none_whole, is_quick=False
    ),
    fake_row("deadline-some", "deadline with some answers whole", some_done),
    fake_row("deadline-but-one", "deadline with all but one answer whole", all_but_one_done),
    fake_row("deadline-10000", "deadline with 10,000 prompts open", many_waiting),
    fake_row(
        "deadline-4000", "deadline with 4,000 of 10,000 answers begun", many_open, is_quick=False
    ),
)
