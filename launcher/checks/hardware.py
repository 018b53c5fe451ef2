"""Owns the questions which accelerator is here or in a track, and what memory it offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher import accelerator as devices
from launcher.accelerator import Accelerator
from launcher.checks.memory import Device, available_bytes
from launcher.checks.result import Result, ok, skipped, warning
from launcher.environment import KV_CACHE_NAME
from launcher.settings import LauncherSettings
from launcher.tracks import GIB, MACHINES, Track, memory_of_card

NAME = "accelerator"


@dataclass(frozen=True)
class Here:
    """The hardware of this machine."""

    accelerator: Accelerator
    description: str
    memory_bytes: int | None


async def look(root: Path = Path("/"), search_path: str | None = None) -> Here:
    """Ask the device files and the vendor's tool."""
    accelerator = devices.detect(root)
    described = await devices.describe(accelerator, search_path)
    return Here(accelerator, described, available_bytes(root / "proc" / "meminfo"))


def check(here: Here, track: Track | None) -> Result:
    """Say what the engine would run on."""
    if track is not None:
        return ok(NAME, f"{MACHINES[track].card} of track {track.value}; here: {here.description}")
    if here.accelerator is Accelerator.CPU:
        return ok(NAME, f"none, so {here.description}")
    if "(" not in here.description:
        tool, files = devices.tool_of(here.accelerator), f"device files of {here.description}"
        if tool is None:
            return skipped(NAME, f"{files}, but no tool that names its cards is known")
        return warning(
            NAME,
            f"{files}, but its tool {tool} named no card",
            "see that the driver works: run the tool by hand",
        )
    return ok(NAME, here.description)


def memory_device(
    here: Here,
    track: Track | None,
    settings: LauncherSettings,
    environ: Mapping[str, str],
    card_bytes: int | None = None,
) -> Device | None:
    """Return the memory that the engine would have; None when it is not known.

    `card_bytes` is what one card has, when the user says so.
    """
    if track is not None:
        machine = MACHINES[track]
        return _cards(machine.card, card_bytes or machine.card_memory_bytes, settings)
    if card_bytes is None and here.accelerator is Accelerator.CPU:
        return _processor(here, settings, environ)
    known = card_bytes or memory_of_card(here.description)
    return None if known is None else _cards(here.description, known, settings)


def _cards(name: str, card_bytes: int, settings: LauncherSettings) -> Device:
    count = settings.tensor_parallel_size
    share = settings.gpu_memory_utilization
    title = f"{name} {card_bytes / GIB:.0f} GB"
    return Device(
        f"{f'{count} x ' if count > 1 else ''}{title} x {share:g}", card_bytes * count, share
    )


def _processor(here: Here, settings: LauncherSettings, environ: Mapping[str, str]) -> Device | None:
    if here.memory_bytes is None:
        return None
    told = environ.get(KV_CACHE_NAME, "")
    kv_cache_gib = int(told) if told.isdigit() else settings.cpu_kv_cache_gib
    return Device("free memory", here.memory_bytes, 1.0, kv_cache_gib * GIB)
