"""Owns which model folder is meant: one that is there, or one that is fetched or trained now."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from launcher import pocket
from launcher.errors import CannotStart, LauncherError
from launcher.model_folder import check_adapter, check_complete, check_draft, has_chat_template
from launcher.models import fetch
from launcher.settings import LauncherSettings

log = logging.getLogger(__name__)

HOW_TO_FETCH = "fetch it with `python -m launcher model`"


def resolve_model_dir(settings: LauncherSettings) -> Path:
    """Return the folder of the model that is configured, complete and there already; offline.

    Neither MODEL_DIR nor MODEL_ID: the pocket model, in the cache or in MODEL_ROOT/pocket.
    Raises CannotStart, which names the command that fetches it.
    """
    if settings.model_dir is not None:
        return _complete(settings.model_dir, f"MODEL_DIR={settings.model_dir}", "")
    if settings.model_id is not None:
        folder = settings.model_root / settings.model_id
        return _complete(folder, f"MODEL_ID={settings.model_id}", f"; {HOW_TO_FETCH}")
    shipped = settings.model_root / "pocket"
    folder = shipped if shipped.is_dir() else pocket_dir(settings.cache_dir)
    return _complete(folder, "the pocket model", f"; {HOW_TO_FETCH}")


def fetch_model(settings: LauncherSettings, find_engine_python: Callable[[], Path]) -> Path:
    """Return the folder of the model that is configured, fetched or trained now if need be.

    What is served with it, a draft or an adapter, is fetched too. Only the training needs an
    engine's interpreter. Blocks; progress on stderr. Raises LauncherError or CannotStart.
    """
    folder = _fetch_model(settings, find_engine_python)
    if not has_chat_template(folder) and not names_chat_template(settings):
        raise CannotStart(
            f"the model in {folder} has no chat template, and without one vLLM answers no chat: "
            "copy chat_template.jinja from the model that yours was trained from, or name a file "
            "by ENGINE_EXTRA_ARGS='--chat-template FILE'"
        )
    _fetch_adapter(settings)
    _fetch_draft(settings)
    return folder


def _fetch_model(settings: LauncherSettings, find_engine_python: Callable[[], Path]) -> Path:
    if settings.model_dir is not None:
        return resolve_model_dir(settings)
    if settings.model_id is None:
        return pocket.ensure_pocket_model(settings.cache_dir, find_engine_python()).absolute()
    return _fetcher(settings)(settings.model_id, settings.model_revision).absolute()


def _fetch_adapter(settings: LauncherSettings) -> None:
    if settings.lora_dir is None and settings.lora_id is not None:
        fetch_it = _fetcher(settings)
        fetch_it(settings.lora_id, settings.lora_revision, check=check_adapter, setting="LORA_ID")


def _fetch_draft(settings: LauncherSettings) -> None:
    model_id = settings.spec_model_id
    if not settings.has_draft or settings.spec_model_dir is not None or model_id is None:
        return
    fetch_it = _fetcher(settings)
    try:
        fetch_it(model_id, settings.spec_model_revision, check=check_draft, setting="SPEC_MODEL_ID")
    except LauncherError as exc:
        if not settings.spec_model_optional:
            raise
        log.warning("no speculative decoding, because SPEC_MODEL_OPTIONAL=1 and %s", exc)


def _fetcher(settings: LauncherSettings) -> Callable[..., Path]:
    token = settings.modelscope_api_token
    return partial(
        fetch,
        model_root=settings.model_root,
        token=token.get_secret_value() if token is not None else None,
        endpoint=settings.modelscope_endpoint,
        budget_s=settings.model_download_budget_s,
    )


def names_chat_template(settings: LauncherSettings) -> bool:
    """Whether the settings bring the template that the model lacks."""
    words = shlex.split(settings.engine_extra_args)
    return any(word.partition("=")[0] == "--chat-template" for word in words)


def pocket_dir(cache_dir: Path) -> Path:
    """Return where the cache has the pocket model, if it has it."""
    return cache_dir / f"pocket-{pocket.DEFAULT.digest(pocket.PAIRS.read_bytes())[:12]}"


def _complete(folder: Path, what: str, hint: str) -> Path:
    try:
        check_complete(folder)
    except CannotStart as exc:
        raise CannotStart(f"{what}: {exc}{hint}") from exc
    return folder.absolute()
