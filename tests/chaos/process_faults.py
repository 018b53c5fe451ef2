"""Rows in which a process of the real service dies, hangs or is restarted amid 358 prompts.

The kernel, supervisord and vLLM are real; only the hand that kills is ours.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial

import psutil

from tests.chaos.client import Post, Reply, is_ready
from tests.chaos.judging import Expected, Need, judge, wholes
from tests.chaos.polling import require, wait_for
from tests.chaos.real import (
    GRACE_S,
    QUESTIONS,
    STALL_S,
    WARM_AGAIN_S,
    RealService,
    at_engine,
    engine_core,
    engine_pid,
    engine_worker,
    is_warm,
    num_losses,
    program_pid,
    wait_for_work,
)
from tests.chaos.result import Run
from tests.chaos.row import Row
from tests.e2e.stack import DEADLINE_S, Stack, engine_group

# A fault, which may return a remark for the table.
Hit = Callable[[Stack], str]


def engine_fault(hit: Hit, service: RealService) -> Run:
    """Hit the engine in mid-batch: the batch waits for a new one and comes back whole."""
    stack = service.warm()
    old, losses = engine_pid(stack), num_losses(stack)
    post = Post(stack.gateway_url, QUESTIONS)
    wait_for_work(stack)
    at = time.monotonic()
    note = hit(stack)
    require("the batch had ended before the fault", not post.is_done)
    wait_for("the loss noticed", lambda: num_losses(stack) > losses, WARM_AGAIN_S)
    wait_for("a new engine, warm", lambda: _is_replaced(stack, old), WARM_AGAIN_S)
    recovery_s = time.monotonic() - at
    require("processes of the old engine are left", engine_group(old) == [])
    run = judge(post.wait(), wholes(service.answers), DEADLINE_S)
    return Run(0, recovery_s=recovery_s, note=note) + run


def _is_replaced(stack: Stack, old: int) -> bool:
    return is_warm(stack) and engine_pid(stack) not in (0, old)


def kill_api_server(stack: Stack) -> str:
    psutil.Process(engine_pid(stack)).kill()
    return ""


def kill_engine_core(stack: Stack) -> str:
    _engine_core(stack).kill()
    return ""


def kill_worker(stack: Stack) -> str:
    worker = engine_worker(stack)
    if worker is not None:
        worker.kill()
        return ""
    _engine_core(stack).kill()
    return "this engine's worker runs in EngineCore's process, which was killed"


def kill_largest(stack: Stack) -> str:
    """Do what the kernel's out-of-memory killer does: SIGKILL for the largest process."""
    group = engine_group(engine_pid(stack))
    largest = max(group, key=lambda process: int(process.memory_info().rss))
    size = largest.memory_info().rss / 2**20
    name = largest.name()
    largest.kill()
    return f"SIGKILL of the largest process ({name}, {size:.0f} MiB), as the kernel does"


def stop_engine_core(stack: Stack) -> str:
    _engine_core(stack).send_signal(signal.SIGSTOP)
    return f"WATCHDOG_STALL_S={STALL_S:g}"


def restart_engine(stack: Stack) -> str:
    stack.supervisorctl("restart", "engine")
    return ""


def kill_guardian(stack: Stack) -> str:
    psutil.Process(program_pid(stack, "engine")).kill()
    return ""


def _engine_core(stack: Stack) -> psutil.Process:
    core = engine_core(stack)
    require("the API server has no EngineCore", core is not None)
    assert core is not None
    return core


def gateway_fault(hit: Hit, service: RealService) -> Run:
    """Hit the gateway in mid-batch: the client is answered or cut cleanly; a retry is answered.

    An answer after the grace period may be of what there was; one before it must be whole.
    """
    stack = service.warm()
    old = program_pid(stack, "gateway")
    post = Post(stack.gateway_url, QUESTIONS)
    wait_for_work(stack)
    at = time.monotonic()
    hit(stack)
    reply = post.wait()
    require(f"half an answer: {reply}", reply.cut != "half an answer")
    wait_for("a new gateway, warm", lambda: _is_new_gateway(stack, old), WARM_AGAIN_S)
    recovery_s = time.monotonic() - at
    run, note = _answered_or_retried(service, reply, post.started + reply.seconds - at)
    return Run(0, recovery_s=recovery_s, note=note) + run


def _is_new_gateway(stack: Stack, old: int) -> bool:
    return is_ready(stack.gateway_url) and program_pid(stack, "gateway") not in (0, old)


def _answered_or_retried(service: RealService, reply: Reply, after_s: float) -> tuple[Run, str]:
    """Judge the reply to the client, or to its second try when the first was cut."""
    if reply.status == 200:
        is_cut = after_s >= GRACE_S
        need: Need = "any part" if is_cut else "whole"
        expected = [Expected(answer, need) for answer in service.answers]
        told = "answered at the end of the grace period" if is_cut else "answered whole"
        return judge(reply, expected, DEADLINE_S), told
    require(f"neither answered nor cut: {reply}", reply.cut == "no answer")
    stack = service.stack
    wait_for("nothing left at the engine", lambda: at_engine(stack) == 0, 10)
    again = Post(stack.gateway_url, QUESTIONS).wait()
    return judge(again, wholes(service.answers), DEADLINE_S), "cut cleanly, the retry answered"


def kill_gateway(stack: Stack) -> str:
    psutil.Process(program_pid(stack, "gateway")).kill()
    return ""


def terminate_gateway(stack: Stack) -> str:
    psutil.Process(program_pid(stack, "gateway")).terminate()
    return ""


def restart_gateway(stack: Stack) -> str:
    stack.supervisorctl("restart", "gateway")
    return ""


def _engine_row(name: str, fault: str, hit: Hit, *, is_quick: bool = False) -> Row:
    run = partial(engine_fault, hit)
    return Row(name, fault, "real", run, is_quick=is_quick, is_repeated=True)


def _gateway_row(name: str, fault: str, hit: Hit) -> Row:
    return Row(name, fault, "real", partial(gateway_fault, hit), is_repeated=True)


ROWS = (
    _engine_row("api-server-kill", "API server kill -9", kill_api_server),
    _engine_row("engine-core-kill", "EngineCore kill -9", kill_engine_core, is_quick=True),
    _engine_row("worker-kill", "worker kill -9", kill_worker),
    _engine_row("engine-core-stop", "EngineCore SIGSTOP", stop_engine_core),
    _engine_row("oom-kill", "out-of-memory kill of the engine", kill_largest),
    _engine_row("engine-restart", "supervisorctl restart engine", restart_engine),
    _engine_row("guardian-kill", "guardian kill -9", kill_guardian),
    _gateway_row("gateway-kill", "gateway kill -9, client's retry", kill_gateway),
    _gateway_row("gateway-term", "SIGTERM to the gateway", terminate_gateway),
    _gateway_row("gateway-restart", "supervisorctl restart gateway", restart_gateway),
)
