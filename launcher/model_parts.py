"""Owns what is served with a model: a draft that guesses for it, an adapter that changes it.

From settings to folders: it reads files only, and fetches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.errors import CannotStart
from launcher.model_folder import check_adapter, check_draft, read_object
from launcher.model_settings import ModelSettings

# What vLLM takes for --max-lora-rank, in every version since 0.7; its own default is 16.
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_USUAL_RANK = 16
_VERSION = re.compile(r"(\d+)\.(\d+)")
# It left the engine with 0.10 and came back in January 2026 (vllm-project/vllm#21152, #24322).
_NO_DRAFT_MODEL = ((0, 10), (0, 13))


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: its folder, and the least rank that the engine must make room for."""

    folder: Path
    max_rank: int = _USUAL_RANK


@dataclass(frozen=True)
class Parts:
    """What is served with the model, and which settings have no effect, each with the reason."""

    draft: Path | None = None
    adapter: Adapter | None = None
    is_speculating: bool = False
    dropped: tuple[str, ...] = ()

    def without_speculation(self, reason: str) -> Parts:
        """Return the same without guesses."""
        dropped = (*self.dropped, f"ENABLE_SPECULATIVE_DECODING ({reason})")
        return replace(self, draft=None, is_speculating=False, dropped=dropped)


def draft_folder(settings: ModelSettings) -> Path | None:
    """Return where the model that guesses is or would be; None when none is asked for."""
    return _folder(settings, settings.spec_model_dir, settings.spec_model_id, settings.has_draft)


def adapter_folder(settings: ModelSettings) -> Path | None:
    """Return where the adapter is or would be; None when none is asked for."""
    return _folder(settings, settings.lora_dir, settings.lora_id, True)


def planned_parts(settings: ModelSettings) -> Parts:
    """Return the parts as they are asked for, there or not."""
    folder = adapter_folder(settings)
    return Parts(
        draft=draft_folder(settings),
        adapter=Adapter(folder, _rank(folder)) if folder is not None else None,
        is_speculating=settings.enable_speculative_decoding,
    )


def resolve_parts(settings: ModelSettings, hint: str = "") -> Parts:
    """Return the parts that are there and complete; offline.

    A draft that is not there costs the speculation where it is optional; an adapter is what was
    trained, so without it there is nothing to serve. Raises CannotStart, ending in `hint`.
    """
    parts = planned_parts(settings)
    if parts.adapter is not None:
        try:
            check_adapter(parts.adapter.folder)
        except CannotStart as exc:
            raise CannotStart(f"the LoRA adapter: {exc}{hint}") from exc
    if parts.draft is None:
        return parts
    try:
        check_draft(parts.draft)
    except CannotStart as exc:
        if settings.spec_model_optional:
            return parts.without_speculation(str(exc))
        raise CannotStart(f"the model that guesses: {exc}{hint}") from exc
    return parts


def for_engine(parts: Parts, settings: ModelSettings, vllm_version: str, model: Path) -> Parts:
    """Return the parts without what that version is known to refuse when it starts on `model`."""
    if parts.draft is None or settings.spec_method != "draft_model":
        return parts
    found = _VERSION.match(vllm_version)
    first, last = _NO_DRAFT_MODEL
    if found is not None and first <= (int(found[1]), int(found[2])) <= last:
        return parts.without_speculation(f"vLLM {vllm_version} knows no SPEC_METHOD=draft_model")
    own, other = _vocabulary(model), _vocabulary(parts.draft)
    if own is not None and other is not None and own != other:
        reason = f"the draft has {other} tokens in its vocabulary, the model {own}"
        return parts.without_speculation(reason)
    return parts


def _folder(
    settings: ModelSettings, folder: Path | None, model_id: str | None, is_asked_for: bool
) -> Path | None:
    if not is_asked_for:
        return None
    if folder is not None:
        return folder.absolute()
    return (settings.model_root / model_id).absolute() if model_id is not None else None


def _vocabulary(folder: Path) -> int | None:
    size = (read_object(folder / "config.json") or {}).get("vocab_size")
    return size if isinstance(size, int) else None


def _rank(folder: Path) -> int:
    """The room that an adapter needs: some of its layers may have a larger rank than the rest."""
    config = read_object(folder / "adapter_config.json") or {}
    pattern = config.get("rank_pattern")
    told = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    ranks = [rank for rank in told if isinstance(rank, int)]
    needed = max(ranks, default=_USUAL_RANK)
    return next((rank for rank in LORA_RANKS if rank >= needed), needed)
