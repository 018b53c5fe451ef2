"""Rows about the gateway's own process, in front of the fake engine: signals, port, files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from tests.chaos.client import Reply, is_ready
from tests.chaos.fake_pair import (
    DEADLINE_S,
    FAULTY,
    NUM_PROMPTS,
    Pair,
    expected_of,
    fake_pair,
    prompts_of,
)
from tests.chaos.gateway_program import REPOSITORY, START_S
from tests.chaos.judging import judge
from tests.chaos.polling import require, wait_for
from tests.chaos.result import Run
from tests.chaos.row import Row, fake_row
from tests.fakes.script import Delay, HalfStream, Rule

GRACE_S = 3.0
FEW_FILES = 256
CANNOT_START = 3


def terminated() -> Run:
    """SIGTERM in mid-batch: the batch is finished inside the grace period."""
    with fake_pair(GRACE_PERIOD_S="20") as pair:
        pair.follow([Rule(Delay(0.5))])
        prompts = prompts_of(4 * NUM_PROMPTS)
        reply, seconds = _terminate_amid(pair, prompts)
        return Run(0, recovery_s=seconds) + judge(reply, expected_of(prompts), DEADLINE_S)


def terminated_over_grace() -> Run:
    """SIGTERM in mid-batch: after the grace period what there is is returned."""
    with fake_pair(GRACE_PERIOD_S=str(GRACE_S)) as pair:
        pair.follow([Rule(HalfStream(chunks=6, then="stall"), match=FAULTY)])
        prompts = prompts_of(faulty_every=9)
        reply, seconds = _terminate_amid(pair, prompts)
        run = judge(reply, expected_of(prompts, "part"), GRACE_S + 1)
        return Run(0, recovery_s=seconds) + run


def _terminate_amid(pair: Pair, prompts: list[str]) -> tuple[Reply, float]:
    post = pair.post(prompts)
    wait_for("work in flight", lambda: pair.running > 0, 10)
    at = time.monotonic()
    pair.gateway.terminate()
    reply = post.wait()
    code = pair.gateway.process.wait(10)
    # uvicorn ends in good order, and then by the signal that it was told with.
    require(f"exit code {code}", code in (0, -signal.SIGTERM))
    require("the batch had ended before the signal", reply.seconds > 0.4)
    return reply, time.monotonic() - at


def killed() -> Run:
    """SIGKILL in mid-batch: the client is cut before any answer, its retry is answered."""
    with fake_pair() as pair:
        pair.follow([Rule(Delay(0.5))])
        prompts = prompts_of(4 * NUM_PROMPTS)
        post = pair.post(prompts)
        wait_for("work in flight", lambda: pair.running > 0, 10)
        at = time.monotonic()
        pair.gateway.kill()
        cut = post.wait()
        require(f"not cut cleanly: {cut}", cut.cut == "no answer")
        pair.gateway.start()
        reply = pair.post_when_listening(prompts)
        wait_for("a warm gateway", lambda: is_ready(pair.gateway.url), START_S)
        recovery_s = time.monotonic() - at
        return Run(0, recovery_s=recovery_s) + judge(reply, expected_of(prompts), DEADLINE_S)


def few_files() -> Run:
    """Run under `ulimit -n 256`, with slow answers, so that all connections are wanted at once."""
    with fake_pair(FEW_FILES) as pair:
        pair.follow([Rule(Delay(0.5))])
        prompts = prompts_of()
        posts = [pair.post(prompts), *map(pair.post, prompts[:20])]
        wait_for("work in flight", lambda: pair.running > 50, 10)
        run = judge(posts[0].wait(), expected_of(prompts), DEADLINE_S)
        for post, prompt in zip(posts[1:], prompts, strict=False):
            run += judge(post.wait(), expected_of([prompt]), DEADLINE_S)
        note = f"{pair.engine.read_stats().peak_connections} connections at most"
        return Run(0, note=note) + run


def port_taken() -> Run:
    """Start where something listens already: one clear line, exit code 3."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        at = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "gateway"],
            cwd=REPOSITORY,
            env={**os.environ, "GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": port},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    said = done.stderr.strip().splitlines()[-1]
    require(f"exit code {done.returncode}: {said}", done.returncode == CANNOT_START)
    require(f"not clear: {said}", f"GATEWAY_PORT={port}" in said and "Traceback" not in done.stderr)
    return Run(0, note=f"exit 3 after {time.monotonic() - at:.1f} s: …{said.partition(': ')[2]}")


ROWS: tuple[Row, ...] = (
    fake_row("sigterm", "SIGTERM to the gateway in mid-batch", terminated),
    fake_row(
        "sigterm-grace", "SIGTERM, and a batch beyond the grace period", terminated_over_grace
    ),
    fake_row("gateway-kill-fake", "gateway kill -9, client's retry", killed),
    fake_row("few-files", "out of file descriptors (ulimit -n 256, gateway)", few_files),
    Row("port-taken", "port 8000 already taken", "none", lambda _: port_taken(), is_quick=True),
)
