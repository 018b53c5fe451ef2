"""Rows in which the engine answers wrongly: on the fake engine, which can be told to."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tests.chaos.fake_pair import (
    DEADLINE_S,
    FAULTY,
    Pair,
    answer_to,
    expected_of,
    fake_pair,
    prompts_of,
)
from tests.chaos.judging import Expected, Need, judge
from tests.chaos.polling import require, wait_for
from tests.chaos.result import Run
from tests.chaos.row import Row, fake_row
from tests.fakes.script import (
    Action,
    ContextLength,
    ContextStyle,
    Delay,
    EmptyChoices,
    Exit,
    Garbage,
    HalfStream,
    NullContent,
    Reset,
    Rule,
    Script,
    Status,
    Trickle,
)

# How often a passing fault hits: about one prompt in nine.
TIMES = 40
FAULTY_EVERY = 9
STEP_S = 0.05
LONG = "what is a warp? "
STYLES: tuple[ContextStyle, ...] = ("vllm-0.10", "vllm-0.10.2", "vllm-new")


def passing(*actions: Action) -> Run:
    """Meet some calls with faults that pass: every prompt can be answered, at a second try."""
    with fake_pair() as pair:
        rules = [Rule(action, times=TIMES) for action in actions]
        pair.follow(Script(rules=rules))
        prompts = prompts_of()
        reply = pair.post(prompts).wait()
        _require_hits(pair, len(prompts) + TIMES)
        return judge(reply, expected_of(prompts), DEADLINE_S)


def lasting(action: Action, need: Need = "any part", asked: int | None = None) -> Run:
    """Meet every ninth prompt with a fault that stays: no other prompt may lose its answer."""
    with fake_pair() as pair:
        pair.follow([Rule(action, match=FAULTY)])
        prompts = prompts_of(faulty_every=FAULTY_EVERY)
        reply = pair.post(prompts).wait()
        _require_hits(pair, len(prompts))
        if asked is not None:
            counts = pair.engine.read_stats().by_prompt
            most = max(counts[prompt] for prompt in prompts if FAULTY in prompt)
            require(f"a faulty prompt was sent {most} times, not {asked}", most == asked)
        return judge(reply, expected_of(prompts, need), DEADLINE_S)


def _require_hits(pair: Pair, num_requests: int) -> None:
    seen = pair.engine.read_stats().requests
    require(f"the engine saw {seen} requests of {num_requests}", seen >= num_requests)


def slow() -> Run:
    """Let every completion take twenty times as long."""
    seconds = []
    with fake_pair() as pair:
        prompts = prompts_of()
        for factor in (1, 20):
            pair.follow([Rule(Delay(STEP_S * factor))])
            reply = pair.post(prompts).wait()
            seconds.append(reply.seconds)
    # Not against the first one: a machine that stood still made that one slow as well.
    require(f"not slower: {seconds}", seconds[1] >= 20 * STEP_S)
    run = judge(reply, expected_of(prompts), DEADLINE_S)
    return run + Run(
        0, note=f"batch of {len(prompts)}: {seconds[0]:.1f} s, slow {seconds[1]:.1f} s"
    )


def down_for_a_while() -> Run:
    """Answer everything with 503, the health route too, as a server does that loads anew."""
    with fake_pair() as pair:
        pair.follow([Rule(Delay(2 * STEP_S))])
        prompts = prompts_of(4 * 358)
        post = pair.post(prompts)
        wait_for("work in flight", lambda: pair.running > 0, 10)
        pair.follow(Script(rules=[Rule(Status(503, "loading"))], health="503"))
        at = time.monotonic()
        wait_for("a 503", lambda: pair.metric("evalgate_engine_losses_total") > 0, 10)
        require("the batch had ended before the fault", not post.is_done)
        pair.follow(Script())
        reply = post.wait()
        recovery_s = time.monotonic() - at
        run = judge(reply, expected_of(prompts), DEADLINE_S)
        return Run(0, recovery_s=recovery_s) + run


def too_long(style: ContextStyle) -> Run:
    """Refuse a prompt over the context in a release's words; it is shortened and answered."""
    with fake_pair() as pair:
        pair.follow([Rule(ContextLength(style=style, max_model_len=2048))])
        prompts = [*prompts_of(), LONG * 1000]
        reply = pair.post(prompts).wait()
        _require_hits(pair, len(prompts) + 1)
        expected = [*expected_of(prompts[:-1]), Expected(answer_to(LONG), "begins")]
        return judge(reply, expected, DEADLINE_S)


def trickle() -> Run:
    """Send some answers at one byte a second: the deadline comes first, the others are whole."""
    deadline_s = 4.0
    with fake_pair(deadline_s=deadline_s) as pair:
        pair.follow([Rule(Trickle(interval_s=1.0), match=FAULTY)])
        prompts = prompts_of(faulty_every=FAULTY_EVERY)
        reply = pair.post(prompts).wait()
        require(f"the deadline did not come first: {reply}", reply.seconds > deadline_s - 0.5)
        return judge(reply, expected_of(prompts, "any part"), deadline_s)


def reused_connections() -> Run:
    """Reset connections that were used before as the next request comes."""
    with fake_pair() as pair:
        pair.post(prompts_of()).wait()  # opens the connections that are used again
        pair.follow(Script(reset_on_reuse=TIMES, close_on_reuse=TIMES))
        prompts = prompts_of()
        reply = pair.post(prompts).wait()
        _require_hits(pair, 2 * len(prompts))
        return judge(reply, expected_of(prompts), DEADLINE_S)


def poison() -> Run:
    """Meet one prompt at which the engine dies, each time it sees it: no other may go with it."""
    with fake_pair() as pair:
        script = Script(rules=[Rule(Exit(), match=FAULTY), Rule(Delay(STEP_S))])
        pair.follow(script)
        prompts = prompts_of(faulty_every=len(prompts_of()))
        post = pair.post(prompts)
        num_deaths = 0
        while not post.is_done:
            if pair.engine.process.poll() is not None:
                num_deaths += 1
                pair.engine.start_again(script)
            time.sleep(STEP_S)
        require("the engine did not die", num_deaths > 0)
        note = f"the engine died {num_deaths} times"
        return Run(0, note=note) + judge(post.wait(), expected_of(prompts, "any part"), DEADLINE_S)


def _passing(name: str, fault: str, *actions: Action) -> Row:
    return fake_row(f"{name}-once", f"{fault}, {TIMES} times", partial(passing, *actions))


def _lasting(name: str, fault: str, action: Action, asked: int | None = None) -> Row:
    run: Callable[[], Run] = partial(lasting, action, asked=asked)
    return fake_row(f"{name}-always", f"{fault}, to every 9th prompt always", run)


_DEAD = Status(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.")
_TOO_MANY = Status(429, "too many requests", retry_after="1")
ROWS = (
    fake_row("slow", "engine slow ×20", slow),
    fake_row("down-a-while", "engine answers 503 to all for a while", down_for_a_while),
    _passing("dead-500", "engine answers 500 of a dead engine", _DEAD),
    _passing("500", "engine answers 500", Status(500)),
    _lasting("500", "engine answers 500", Status(500)),
    _passing("503", "engine answers 503", Status(503)),
    _passing("429", "engine answers 429", _TOO_MANY),
    _lasting("400", "engine answers 400", Status(400, "no such thing"), asked=1),
    *(
        fake_row(
            f"too-long-{style}",
            f"engine answers 400 context length ({style})",
            partial(too_long, style),
            is_quick=style == STYLES[0],
        )
        for style in STYLES
    ),
    _passing("garbage", "engine answers garbage instead of JSON", Garbage()),
    _lasting("garbage", "engine answers garbage instead of JSON", Garbage()),
    _passing("empty-choices", "engine answers empty choices", EmptyChoices()),
    _lasting("empty-choices", "engine answers empty choices", EmptyChoices()),
    _lasting("null-content", "engine answers null content", NullContent()),
    _passing("half-stream", "half a stream, then a reset", HalfStream(chunks=6)),
    _passing("aborted", "half a stream, ended as aborted", HalfStream(chunks=6, then="abort")),
    _lasting("half-stream", "half a stream, then a reset", HalfStream(chunks=6)),
    _passing("reset", "a reset before the answer and amid it", Reset(), Reset("mid_body")),
    fake_row("trickle", "a trickle of one byte a second", trickle),
    fake_row("reused", "a reset on a reused connection", reused_connections),
    fake_row("poison", "a prompt at which the engine dies", poison),
)
