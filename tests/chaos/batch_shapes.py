"""Rows about what is asked, and by whom, with the fake engine: sizes, crowds, clients gone."""

from __future__ import annotations

from tests.chaos.fake_pair import DEADLINE_S, Pair, answer_to, expected_of, fake_pair, prompts_of
from tests.chaos.judging import Expected, judge
from tests.chaos.latency import LIMIT_S, Latency
from tests.chaos.polling import require, wait_for
from tests.chaos.result import Run
from tests.chaos.row import fake_row
from tests.fakes.script import Delay, Rule, Stall

NUM_LEAVING = 1000
GONE_S = 5.0
# Fewer than a batch has prompts: some wait at the gateway when the client leaves.
IN_FLIGHT = 256


def many_prompts() -> Run:
    """10,000 prompts in one request, with `GET /` and /metrics asked all the while."""
    with fake_pair() as pair:
        # Not all at the same instant: no engine's server sends all answers in one packet.
        pair.follow([Rule(Delay(0.2, 0.6))])
        prompts = prompts_of(10_000)
        post = pair.post(prompts)
        latency = Latency.measured(pair.gateway.url, post)
        run = judge(post.wait(), expected_of(prompts), DEADLINE_S)
        require(f"slow under load: {latency}", latency.p99_s < LIMIT_S)
        return Run(0, note=str(latency)) + run


def client_leaves() -> Run:
    """A client closes its connection in mid-batch: nothing of it stays at the engine."""
    with fake_pair(BATCH_CONCURRENCY=str(IN_FLIGHT)) as pair:
        pair.follow([Rule(Stall(), match="sound")])
        prompts = prompts_of()
        post = pair.post(prompts)
        wait_for("a full engine", lambda: pair.running == IN_FLIGHT, 20)
        post.leave()
        seconds = wait_for("none left at the engine", lambda: pair.running == 0, GONE_S)
        wait_for("none in flight", lambda: pair.in_flight == 0, GONE_S)
        return Run(0, recovery_s=seconds) + _batch(pair)


def crowd_leaves() -> Run:
    """1,000 clients with one prompt each close their connections at once."""
    with fake_pair(BATCH_CONCURRENCY=str(IN_FLIGHT)) as pair:
        pair.follow([Rule(Stall(), match="sound")])
        posts = [pair.post(prompt) for prompt in prompts_of(NUM_LEAVING)]
        wait_for("a full engine", lambda: pair.running == IN_FLIGHT, 30)
        for post in posts:
            post.leave()
        seconds = wait_for("none left at the engine", lambda: pair.running == 0, 2 * GONE_S)
        gone = "evalgate_clients_gone_total"
        wait_for("all seen gone", lambda: pair.metric(gone) == NUM_LEAVING, 2 * GONE_S)
        require("more went to the engine", pair.running == 0 and pair.in_flight == 0)
        note = f"0 of {NUM_LEAVING} left at the engine"
        return Run(NUM_LEAVING, recovery_s=seconds, note=note) + _batch(pair)


def two_batches() -> Run:
    """Two batches at once, in opposite orders."""
    with fake_pair() as pair:
        pair.follow([Rule(Delay(0.01, 0.2))])
        prompts = prompts_of()
        batches = [prompts, prompts[::-1]]
        posts = [pair.post(batch) for batch in batches]
        first, second = [
            judge(post.wait(), expected_of(batch), DEADLINE_S)
            for post, batch in zip(posts, batches, strict=True)
        ]
        return first + second


def duplicates() -> Run:
    """The same few prompts again and again."""
    with fake_pair() as pair:
        pair.follow([Rule(Delay(0.0, 0.1))])
        prompts = prompts_of(5) * 72
        return judge(pair.post(prompts).wait(), expected_of(prompts), DEADLINE_S)


def megabyte() -> Run:
    """One prompt of 1 MB among others: shortened to what a context can hold, and answered."""
    with fake_pair() as pair:
        pair.follow([])
        prompts = [*prompts_of(), "x" * 1_000_000]
        expected = [*expected_of(prompts[:-1]), Expected(answer_to("xxx"), "begins")]
        return judge(pair.post(prompts).wait(), expected, DEADLINE_S)


def too_many() -> Run:
    """More than MAX_OPEN_PROMPTS: told so with a time to come again, at which it is answered."""
    with fake_pair(MAX_OPEN_PROMPTS="800") as pair:
        pair.follow([Rule(Delay(0.5))])
        prompts = prompts_of()
        posts = [pair.post(prompts) for _ in range(4)]
        replies = [post.wait() for post in posts]
        refused = [reply for reply in replies if reply.status == 429]
        require("none was refused", bool(refused))
        require("no Retry-After", all("retry-after" in reply.headers for reply in refused))
        run = Run(0, note=f"{len(refused)} of {len(posts)} told 429 with Retry-After")
        for reply in replies:
            if reply not in refused:
                run += judge(reply, expected_of(prompts), DEADLINE_S)
        return run + _batch(pair)


def _batch(pair: Pair) -> Run:
    """Ask an ordinary batch: what came before has taken nothing."""
    pair.follow([])
    prompts = prompts_of()
    return judge(pair.post(prompts).wait(), expected_of(prompts), DEADLINE_S)


ROWS = (
    fake_row("10000", "10,000 prompts in one request", many_prompts, is_quick=False),
    fake_row("client-leaves", "a client that leaves in mid-batch", client_leaves),
    fake_row("crowd-leaves", "1,000 clients leave at once", crowd_leaves),
    fake_row("two-batches", "two batches at once", two_batches),
    fake_row("duplicates", "duplicate prompts", duplicates),
    fake_row("megabyte", "a prompt of 1 MB", megabyte),
    fake_row("too-many", "more prompts than may wait", too_many),
)
