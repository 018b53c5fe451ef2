"""Owns what is known of a draft and an adapter, and whether they could be served with the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher import model_sizes as sizes
from launcher.checks import hub_listing
from launcher.checks.model_facts import folder_bytes, weights_in, weights_of
from launcher.checks.result import Result, Status, ok, skipped, warning
from launcher.errors import CannotStart
from launcher.model_folder import check_adapter, check_draft, read_object
from launcher.model_parts import adapter_folder, draft_folder
from launcher.resolve import HOW_TO_FETCH
from launcher.settings import LauncherSettings


@dataclass(frozen=True)
class _Asked:
    """A part as it is asked for; `prefix` is that of its settings."""

    name: str
    prefix: str
    model_id: str | None
    revision: str | None
    folder: Path
    is_given_folder: bool
    is_needed: bool
    check: Callable[[Path], None]


@dataclass(frozen=True)
class PartFacts:
    """What is known of a part; the bytes are 0 where nothing is."""

    asked: _Asked
    origin: str
    download_bytes: int = 0
    weights_bytes: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


async def gather(
    settings: LauncherSettings,
    environ: Mapping[str, str],
    *,
    is_offline: bool,
    is_for_track: bool,
    scratch: Path,
) -> tuple[PartFacts, ...]:
    """Find out about every part that is asked for; small files from the hub go into `scratch`."""
    found = []
    for asked in _asked(settings):
        local = _here(asked)
        # A build has what it fetches, however much of that is here.
        is_enough = asked.is_given_folder or (local is not None and not is_for_track)
        if not is_enough and not is_offline:
            small_files = scratch / asked.prefix
            small_files.mkdir()
            local = await _on_hub(asked, settings, environ, small_files, local)
        found.append(local or PartFacts(asked, "it is not here; it is fetched in the build"))
    return tuple(found)


def check(part: PartFacts, *, is_for_track: bool) -> Result:
    """Say whether a part could be served as it is."""
    asked = part.asked
    if part.problem:
        status = Status.FAILURE if asked.is_needed else Status.WARNING
        without = "" if asked.is_needed else ": the model would be served without guesses"
        told = f"{part.problem}{without}"
        return Result(
            asked.name, status, told, advice=f"correct {asked.prefix}_ID, or {HOW_TO_FETCH}"
        )
    if not part.weights_bytes:
        return skipped(asked.name, part.origin)
    told = f"{part.origin}: weights {sizes.decimal(part.weights_bytes)}"
    if asked.is_given_folder and is_for_track:
        return warning(
            asked.name,
            f"{told}, but {asked.prefix}_DIR={asked.folder} is a folder of this machine",
            f"put it on ModelScope and set {asked.prefix}_ID",
        )
    return ok(asked.name, told)


def _asked(settings: LauncherSettings) -> Iterator[_Asked]:
    draft, adapter = draft_folder(settings), adapter_folder(settings)
    if draft is not None:
        yield _Asked(
            "draft model",
            "SPEC_MODEL",
            settings.spec_model_id,
            settings.spec_model_revision,
            draft,
            settings.spec_model_dir is not None,
            not settings.spec_model_optional,
            check_draft,
        )
    if adapter is not None:
        is_given = settings.lora_dir is not None
        place = (settings.lora_id, settings.lora_revision, adapter, is_given)
        yield _Asked("LoRA adapter", "LORA", *place, True, check_adapter)


def _here(asked: _Asked) -> PartFacts | None:
    """Return what the part's folder tells; None when it is still to be fetched."""
    try:
        asked.check(asked.folder)
    except CannotStart as exc:
        return PartFacts(asked, "", problem=str(exc)) if asked.is_given_folder else None
    folder, to_fetch = asked.folder, 0 if asked.is_given_folder else folder_bytes(asked.folder)
    return PartFacts(asked, "the local folder", to_fetch, weights_in(folder), _config(folder))


async def _on_hub(
    asked: _Asked,
    settings: LauncherSettings,
    environ: Mapping[str, str],
    small_files: Path,
    local: PartFacts | None,
) -> PartFacts:
    named = {"model_id": asked.model_id, "model_revision": asked.revision}
    listing = await hub_listing.ask(settings.model_copy(update=named), small_files, environ)
    if listing.is_refused:
        return PartFacts(asked, "", problem=f"{asked.model_id}: {listing.problem}")
    if local is not None and not listing.sizes:
        return local
    return PartFacts(
        asked,
        listing.problem or f"ModelScope's list of {len(listing.sizes)} files",
        sum(listing.sizes.values()),
        weights_of(listing.sizes),
        _config(small_files),
    )


def _config(folder: Path) -> Mapping[str, Any]:
    return read_object(folder / "config.json") or {}
