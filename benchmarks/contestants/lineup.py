"""Owns starting the contestants of one run: all at once, each ready before the first round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from benchmarks.contestants import chat, fastapi_serve, litellm_proxy, predict, vllm_router
from benchmarks.contestants.contestant import Ask, Unavailable, completions_at
from benchmarks.contestants.environment import environment
from benchmarks.endless import make_endless
from launcher.engines.base import EnginePlan
from launcher.plan import plan_engine
from launcher.resolve import resolve_model_dir
from launcher.settings import load_settings

# With an engine of their own.
_IN_PROCESS = {"chat": chat.started, "serve.py": fastapi_serve.started}
# Before the engine of the stack, as /predict is.
_PROXIES = {"litellm": litellm_proxy.started, "vllm-router": vllm_router.started}
_REQUIREMENTS = {
    "litellm": litellm_proxy.REQUIREMENTS,
    "vllm-router": vllm_router.REQUIREMENTS,
}
NAMES = ("chat", "predict", "aiohttp", *_PROXIES, "serve.py")


@dataclass
class Lineup:
    """Who can be asked, and why the others cannot."""

    asks: dict[str, Ask] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    # Of the engine that is asked over HTTP; empty when there is none.
    engine_url: str = ""

    def admit(self, name: str, ready: Callable[[], Ask]) -> None:
        """Wait until a contestant is ready, or keep why it is not."""
        try:
            self.asks[name] = ready()
        except Unavailable as exc:
            self.missing[name] = str(exc)


@contextmanager
def lineup(names: Sequence[str], folder: Path) -> Iterator[Lineup]:
    """Start the named contestants, with files of theirs in `folder`, until the block ends."""
    model_dir = make_endless(resolve_model_dir(load_settings(os.environ)), folder / "model")
    plan = _plan(model_dir)
    found = Lineup()
    _install(names)
    with ExitStack() as stack:
        waiting = {
            name: stack.enter_context(started(plan, folder))
            for name, started in _IN_PROCESS.items()
            if name in names
        }
        if any(name not in _IN_PROCESS for name in names):
            service, ready = stack.enter_context(predict.started(model_dir))
            found.engine_url = service.engine_url
            waiting = {"predict": ready, **waiting}
        for name, ready in waiting.items():
            found.admit(name, ready)
        _before_the_engine(found, names, stack, folder)
        yield found


def _install(names: Sequence[str]) -> None:
    """Install what is missing while no engine runs yet; who cannot be is told at its start."""
    for name, requirements in _REQUIREMENTS.items():
        if name in names:
            with suppress(Unavailable):
                environment(requirements)


def _plan(model_dir: Path) -> EnginePlan:
    """Ask for what the guardian would run, so that an engine in process is the same one."""
    environ = {**os.environ, "MODEL_DIR": str(model_dir)}
    return anyio.run(lambda: plan_engine(load_settings(environ), environ))


def _before_the_engine(found: Lineup, names: Sequence[str], stack: ExitStack, folder: Path) -> None:
    """Add who asks the stack's engine; without it, they cannot."""
    if "predict" in found.missing:
        others = {"aiohttp", *_PROXIES} & set(names)
        found.missing.update(dict.fromkeys(others, "the engine did not start, see predict"))
        return
    found.asks["aiohttp"] = completions_at(found.engine_url)
    for name, started in _PROXIES.items():
        if name in names:
            proxy = started(found.engine_url, folder)
            found.admit(name, partial(_enter, stack, proxy))


def _enter(stack: ExitStack, proxy: AbstractContextManager[Callable[[], Ask]]) -> Ask:
    return stack.enter_context(proxy)()
