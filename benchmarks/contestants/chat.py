"""The engine in process: `LLM.chat(list)`, what a hand-written server can do at best."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.contestants.contestant import Ask, Reply
from benchmarks.contestants.program import Program, running
from benchmarks.engine_arguments import llm_arguments
from launcher.engines.base import EnginePlan

WORKER = Path(__file__).with_name("chat_worker.py")


@contextmanager
def started(plan: EnginePlan, folder: Path) -> Iterator[Callable[[], Ask]]:
    """Start the worker; what is given back waits until it is ready."""
    argv = [plan.argv[0], str(WORKER), json.dumps(llm_arguments(plan))]
    environ = {**os.environ, **plan.env}
    with running(argv, environ, folder / "chat.log", subprocess.PIPE) as program:
        yield lambda: _ready(program)


def _ready(program: Program) -> Ask:
    _read(program)  # the worker's first line: it is loaded

    async def ask(session: aiohttp.ClientSession, prompts: list[str], max_tokens: int) -> Reply:
        reply = await asyncio.to_thread(_exchange, program, prompts, max_tokens)
        answers = [answer.strip() for answer in reply["answers"]]
        return Reply(answers, seconds=reply["seconds"], tokens=reply["tokens"])

    return ask


def _exchange(program: Program, prompts: list[str], max_tokens: int) -> dict[str, Any]:
    assert program.process.stdin is not None
    program.process.stdin.write(json.dumps({"prompts": prompts, "max_tokens": max_tokens}) + "\n")
    program.process.stdin.flush()
    return _read(program)


def _read(program: Program) -> dict[str, Any]:
    assert program.process.stdout is not None
    line = program.process.stdout.readline()
    if not line:
        raise program.failure("ended")
    reply: dict[str, Any] = json.loads(line)
    return reply
