"""Owns who takes part in `fanout`: each a process that is measured, and how it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contestants import litellm_proxy, vllm_router
from benchmarks.contestants.contestant import CONCURRENCY, Unavailable, completion_request
from benchmarks.contestants.program import Program, running
from benchmarks.fanout_gateway import Gateway, gateway
from benchmarks.fanout_load import Load
from benchmarks.fanout_measure import Prober, Run
from benchmarks.null_answers import ANSWER
from benchmarks.null_engine import NullEngine
from benchmarks.rounds import pocket_questions

MAX_NEW_TOKENS = 32
# Prompts a turn. Processor time is told in steps of 10 ms: a turn has to be some hundred of them.
_BATCH_TURN = 5_000
_LOOP_TURN = 10_000
_SINGLE_TURN = 1_500
_PROXY_TURNS = {"litellm": 300, "vllm-router": 4_000}
_PROXIES = {"litellm": litellm_proxy, "vllm-router": vllm_router}
BATCHES = (358, 10_000)
SINGLES = (1, 32, 256)
# As it is; a call for every prompt, its answer streamed; the same with whole answers.
MODES = {
    "": {"STREAM_ANSWERS": "1"},
    "-stream": {"STREAM_ANSWERS": "1", "PROMPTS_PER_CALL": "1"},
    "-whole": {"STREAM_ANSWERS": "0", "PROMPTS_PER_CALL": "1"},
}
# A request with one prompt has nothing to share a call with.
_SINGLE_MODES = ("-stream", "-whole")
LOOP = "aiohttp"
NAMES = (
    *(f"predict-{size}{mode}" for size in BATCHES for mode in MODES),
    *(f"single-{width}{mode}" for width in SINGLES for mode in _SINGLE_MODES),
    *_PROXIES,
    LOOP,
)


@dataclass(frozen=True)
class Contestant:
    """A process under measurement; `run` has it answer `num_prompts`."""

    process: psutil.Process
    num_prompts: int
    run: Run
    load: Load | None = None
    """Whose connections are opened before a turn begins."""
    prober: Prober | None = None
    prompts_per_call: int = 1


@dataclass
class Field:
    """Who takes part, and why others cannot."""

    contestants: dict[str, Contestant] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@contextmanager
def started(names: Sequence[str], engine: NullEngine, folder: Path) -> Iterator[Field]:
    """Start the named contestants until the block ends, in the order of NAMES."""
    found = Field()
    with ExitStack() as stack:
        for mode, environ in MODES.items():
            is_whole = environ["STREAM_ANSWERS"] == "0"
            url = engine.whole_url if is_whole else engine.stream_url
            found.contestants |= _Starter(stack, url, folder, environ).gateways(mode, names)
        for name in _PROXIES:
            if name in names:
                _say(name)
                _admit(found, name, stack, engine.whole_url, folder)
        if LOOP in names:
            _say(LOOP)
            found.contestants[LOOP] = _loop(stack, engine.whole_url, folder)
        yield found


def _say(name: str) -> None:
    print(f"starting {name}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Starter:
    """Starts gateways of one mode; each batch size has its own, whose memory tells of that size."""

    stack: ExitStack
    engine_url: str
    folder: Path
    environ: Mapping[str, str]

    def gateways(self, mode: str, names: Sequence[str]) -> dict[str, Contestant]:
        found = {}
        for size in BATCHES:
            if (name := f"predict-{size}{mode}") in names:
                found[name] = posts(*self._pair(name), size, max(1, _BATCH_TURN // size))
        widths = {f"single-{width}{mode}": width for width in SINGLES if mode in _SINGLE_MODES}
        if wanted := [name for name in widths if name in names]:
            pair = self._pair(f"single{mode}")
            found |= {name: _singles(*pair, widths[name]) for name in wanted}
        return found

    def _pair(self, name: str) -> tuple[Gateway, Prober]:
        _say(name)
        one = self.stack.enter_context(gateway(self.engine_url, self.folder, name, **self.environ))
        argv = [*_program("fanout_prober"), str(one.port)]
        return one, Prober(
            self.stack.enter_context(_piped(argv, self.folder / f"{name}-prober.log"))
        )


def _program(module: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}"]


def _piped(argv: Sequence[str], log: Path) -> AbstractContextManager[Program]:
    return running(argv, os.environ, log, subprocess.PIPE)


def posts(
    one: Gateway, prober: Prober | None, size: int, num_posts: int, width: int = 1
) -> Contestant:
    """Return how to ask a gateway for `num_posts` batches of `size` prompts, `width` at once."""
    load = Load(one.port, "/predict", width)
    body = {"prompt": pocket_questions(size), "max_new_tokens": MAX_NEW_TOKENS}
    bodies = [json.dumps(body).encode()] * num_posts
    run = _posting(load, bodies, lambda answer: answer["response"] == [ANSWER] * size)
    return Contestant(one.process, size * num_posts, run, load, prober, one.prompts_per_call)


def _singles(one: Gateway, prober: Prober, width: int) -> Contestant:
    load = Load(one.port, "/predict", width)
    bodies = [
        json.dumps({"prompt": prompt, "max_new_tokens": MAX_NEW_TOKENS}).encode()
        for prompt in pocket_questions(_SINGLE_TURN)
    ]
    run = _posting(load, bodies, lambda answer: answer["response"] == ANSWER)
    return Contestant(one.process, len(bodies), run, load, prober)


def _posting(load: Load, bodies: Sequence[bytes], is_right: Callable[[Any], bool]) -> Run:
    async def run() -> float:
        start = time.perf_counter()
        answers = await load.send(bodies)
        seconds = time.perf_counter() - start
        if not all(is_right(json.loads(answer)) for answer in set(answers)):
            raise SystemExit(f"a wrong answer: {min(answers, key=len)[:300]!r}")
        return seconds

    return run


def _admit(found: Field, name: str, stack: ExitStack, engine_url: str, folder: Path) -> None:
    """Add a proxy, or keep why it cannot take part."""
    proxy = _PROXIES[name]
    try:
        program, url = stack.enter_context(proxy.serving(engine_url, folder))
        proxy.wait_until_ready(program, url)
    except Unavailable as exc:
        found.missing[name] = str(exc)
        return
    port = int(url.rpartition(":")[2])
    load = Load(port, "/v1/chat/completions", CONCURRENCY)
    bodies = [
        json.dumps(completion_request(prompt, MAX_NEW_TOKENS)).encode()
        for prompt in pocket_questions(_PROXY_TURNS[name])
    ]
    process = psutil.Process(program.process.pid)
    found.contestants[name] = Contestant(
        process, len(bodies), _posting(load, bodies, _is_completion), load
    )


def _is_completion(answer: Any) -> bool:
    return bool(answer["choices"][0]["message"]["content"] == ANSWER)


def _loop(stack: ExitStack, engine_url: str, folder: Path) -> Contestant:
    program = stack.enter_context(
        _piped([*_program("fanout_loop"), engine_url], folder / "aiohttp.log")
    )

    async def run() -> float:
        # Blocking: there is nothing else to do in this process.
        assert program.process.stdin is not None and program.process.stdout is not None
        print(_LOOP_TURN, file=program.process.stdin, flush=True)
        line = program.process.stdout.readline()
        if not line:
            raise program.failure("ended")
        return float(line)

    return Contestant(psutil.Process(program.process.pid), _LOOP_TURN, run)
