"""Rows about what is asked, and by whom, on the real engine, whose answers are learnt by heart."""

from __future__ import annotations

from itertools import cycle, islice

from tests.chaos.client import COUNTS_HEADER, Post
from tests.chaos.gateway_program import gateway_program
from tests.chaos.judging import Expected, judge, wholes
from tests.chaos.latency import LIMIT_S, Latency
from tests.chaos.polling import require, wait_for
from tests.chaos.real import (
    LEARNT,
    QUESTIONS,
    RealService,
    at_engine,
    in_flight,
    wait_for_work,
)
from tests.chaos.result import Run
from tests.chaos.row import Row
from tests.e2e.stack import DEADLINE_S, Stack

FEW_TOKENS = 2
NUM_LEAVING = 1000
GONE_S = 10.0
SHORT_S = 5.0


def two_batches(service: RealService) -> Run:
    """Two batches at once, in opposite orders."""
    stack = service.warm()
    first = Post(stack.gateway_url, QUESTIONS)
    second = Post(stack.gateway_url, QUESTIONS[::-1])
    run = judge(first.wait(), wholes(service.answers), DEADLINE_S)
    return run + judge(second.wait(), wholes(service.answers[::-1]), DEADLINE_S)


def duplicates(service: RealService) -> Run:
    """The same two prompts again and again."""
    stack = service.warm()
    prompts = [*QUESTIONS[:2] * 179]
    reply = Post(stack.gateway_url, prompts).wait()
    return judge(reply, wholes([LEARNT[prompt] for prompt in prompts]), DEADLINE_S)


def megabyte(service: RealService) -> Run:
    """One prompt of 1 MB among 100 others: it is shortened to the context, and answered."""
    stack = service.warm()
    prompts = [*QUESTIONS[:50], "很长的问题" * 200_000 + "?", *QUESTIONS[50:100]]
    reply = Post(stack.gateway_url, prompts).wait()
    expected = [Expected(LEARNT.get(prompt, ""), "whole") for prompt in prompts]
    expected[50] = Expected("", "begins")  # whatever it says to nonsense
    return judge(reply, expected, DEADLINE_S)


def many_prompts(service: RealService) -> Run:
    """10,000 prompts of a few tokens each, with `GET /` and /metrics asked all the while."""
    stack = service.warm()
    once = Post(stack.gateway_url, list(LEARNT), max_new_tokens=FEW_TOKENS).wait()
    short = dict(zip(LEARNT, once.answers, strict=True))
    prompts = list(islice(cycle(LEARNT), 10_000))
    post = Post(stack.gateway_url, prompts, max_new_tokens=FEW_TOKENS)
    latency = Latency.measured(stack.gateway_url, post)
    reply = post.wait()
    run = judge(reply, wholes([short[prompt] for prompt in prompts]), DEADLINE_S)
    require(f"slow under load: {latency}", latency.p99_s < LIMIT_S)
    return Run(0, note=f"{latency}; batch {reply.seconds:.0f} s") + run


def client_leaves(service: RealService) -> Run:
    """A client closes its connection in mid-batch: the engine drops its requests."""
    stack = service.warm()
    post = Post(stack.gateway_url, QUESTIONS)
    wait_for_work(stack)
    post.leave()
    seconds = wait_for("none left at the engine", lambda: at_engine(stack) == 0, GONE_S)
    return Run(0, recovery_s=seconds) + _batch(service, stack)


def crowd_leaves(service: RealService) -> Run:
    """1,000 clients with one prompt each close their connections at once."""
    stack = service.warm()
    prompts = list(islice(cycle(LEARNT), NUM_LEAVING))
    posts = [Post(stack.gateway_url, prompt) for prompt in prompts]
    wait_for("a full engine", lambda: at_engine(stack) > 200, 30)
    num_done = sum(post.is_done for post in posts)
    for post in posts:
        post.leave()
    seconds = wait_for("none left at the engine", lambda: at_engine(stack) == 0, GONE_S)
    wait_for("none in flight", lambda: in_flight(stack) == 0, GONE_S)
    require("more went to the engine", at_engine(stack) == 0)
    note = f"0 of {NUM_LEAVING - num_done} left at the engine, {num_done} had their answer"
    return Run(NUM_LEAVING, recovery_s=seconds, note=note) + _batch(service, stack)


def deadline_amid_batch(service: RealService) -> Run:
    """The deadline comes amid a batch: whole answers, beginnings, and blanks; each its own."""
    stack = service.warm()
    environ = {"PREDICT_DEADLINE_S": str(SHORT_S), "SERVED_MODEL_NAME": "evalgate"}
    prompts = QUESTIONS * 5
    with gateway_program(stack.engine_url, **environ) as gateway:
        reply = Post(gateway.url, prompts).wait()
    expected = [Expected(LEARNT[prompt], "any part") for prompt in prompts]
    run = judge(reply, expected, SHORT_S)
    num_whole = sum(a == b.text for a, b in zip(reply.answers, expected, strict=False))
    num_begun = sum(bool(answer) for answer in reply.answers) - num_whole
    told = reply.headers.get(COUNTS_HEADER.lower(), "no header")
    require(f"no beginnings: {told}", num_begun > 0 and reply.seconds > SHORT_S - 0.5)
    # One whose last word was there, and whose end was not yet, is told as partial.
    require(f"{told}, but {num_whole} whole", reply.counts.get("whole", 0) <= num_whole)
    return Run(0, note=f"{told}, {reply.seconds - SHORT_S:+.2f} s") + run


def _batch(service: RealService, stack: Stack) -> Run:
    """Ask an ordinary batch: what came before has taken nothing."""
    return judge(Post(stack.gateway_url, QUESTIONS).wait(), wholes(service.answers), DEADLINE_S)


ROWS = (
    Row("real-two-batches", "two batches at once", "real", two_batches),
    Row("real-duplicates", "duplicate prompts", "real", duplicates),
    Row("real-megabyte", "a prompt of 1 MB", "real", megabyte),
    Row("real-10000", "10,000 prompts in one request", "real", many_prompts),
    Row(
        "real-client-leaves",
        "a client that leaves in mid-batch",
        "real",
        client_leaves,
        is_quick=True,
    ),
    Row("real-crowd-leaves", "1,000 clients leave at once", "real", crowd_leaves, is_quick=True),
    Row("real-deadline", "deadline amid a batch", "real", deadline_amid_batch, is_quick=True),
)
