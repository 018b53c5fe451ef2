"""Gathers what the checks need, all at once: the hub, the engine, git and the ports take seconds
in a row. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from launcher.checks import (
    engine_flags,
    gateway_settings,
    git_facts,
    hardware,
    model_facts,
    model_parts,
    ports,
    secrets,
)
from launcher.checks.result import Result
from launcher.interpreter import REPOSITORY
from launcher.settings import LauncherSettings
from launcher.tracks import Track

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What the doctor was asked."""

    track: Track | None = None
    # None: what the files or the hub say, what the track has, what the tool tells.
    model_bytes: int | None = None
    bandwidth_mbit_s: float | None = None
    card_bytes: int | None = None
    is_offline: bool = False


@dataclass(frozen=True)
class Place:
    """Where to look: the checkout and the root of device files, other ones in tests."""

    repository: Path = REPOSITORY
    root: Path = Path("/")


@dataclass(frozen=True)
class Submission:
    """What git tells of the checkout; without one, why."""

    checkout: git_facts.Checkout | None = None
    secret_places: tuple[str, ...] | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything that was gathered."""

    model: model_facts.ModelFacts
    parts: tuple[model_parts.PartFacts, ...]
    hardware: hardware.Here
    engine: engine_flags.Engine
    gateway_check: Result
    port_problems: list[str]
    submission: Submission
    gateway: gateway_settings.GatewaySettings
    dockerfile: str | None = field(repr=False)

    @property
    def download_bytes(self) -> int | None:
        """What the build downloads, model and parts; None when the model's size is not known."""
        own = self.model.download_bytes
        return None if own is None else own + sum(part.download_bytes for part in self.parts)

    @property
    def weights_bytes(self) -> int | None:
        """What is loaded, model and parts; None when the model's size is not known."""
        own = self.model.weights_bytes
        return None if own is None else own + sum(part.weights_bytes for part in self.parts)


async def gather(
    question: Question,
    settings: LauncherSettings,
    environ: Mapping[str, str],
    place: Place,
    scratch: Path,
) -> Facts:
    """Look at everything; small files of a model on the hub go into `scratch`."""
    async with anyio.create_task_group() as group:
        model = _Answer(
            group,
            lambda: model_facts.gather(
                settings,
                environ,
                given_bytes=question.model_bytes,
                is_offline=question.is_offline,
                is_for_track=question.track is not None,
                scratch=scratch,
            ),
        )
        parts = _Answer(
            group,
            lambda: model_parts.gather(
                settings,
                environ,
                is_offline=question.is_offline,
                is_for_track=question.track is not None,
                scratch=scratch,
            ),
        )
        engine = _Answer(group, lambda: engine_flags.ask(settings, environ, place.root))
        gateway_check = _Answer(group, lambda: gateway_settings.check(environ))
        here = _Answer(group, lambda: hardware.look(place.root))
        problems = _Answer(group, lambda: ports.problems(settings))
        submission = _Answer(group, lambda: _look_at_checkout(place.repository, settings))
    return Facts(
        model=model.value,
        parts=parts.value,
        hardware=here.value,
        engine=engine.value,
        gateway_check=gateway_check.value,
        port_problems=problems.value,
        submission=submission.value,
        gateway=gateway_settings.read(environ),
        dockerfile=_text(place.repository / "Dockerfile"),
    )


class _Answer(Generic[T]):
    """What a task of a group will return; there once the group has ended."""

    value: T

    def __init__(self, group: TaskGroup, ask: Callable[[], Awaitable[T]]) -> None:
        group.start_soon(self._wait, ask)

    async def _wait(self, ask: Callable[[], Awaitable[T]]) -> None:
        self.value = await ask()


async def _look_at_checkout(repository: Path, settings: LauncherSettings) -> Submission:
    try:
        checkout = await git_facts.look(repository)
        places = await secrets.find(repository, secrets.values(settings))
    except git_facts.GitFailed as exc:
        return Submission(why_not=str(exc))
    return Submission(checkout, tuple(places))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
