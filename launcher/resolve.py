"""Owns which model folder is meant: one that is there, or one that is fetched or trained now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launcher import pocket
from launcher.errors import CannotStart
from launcher.model_folder import check_complete
from launcher.models import fetch
from launcher.settings import LauncherSettings

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

    Only the training needs an engine's interpreter. Blocks; progress on stderr.
    Raises LauncherError or CannotStart.
    """
    if settings.model_dir is not None:
        return resolve_model_dir(settings)
    if settings.model_id is None:
        return pocket.ensure_pocket_model(settings.cache_dir, find_engine_python()).absolute()
    token = settings.modelscope_api_token
    folder = fetch(
        settings.model_id,
        settings.model_revision,
        settings.model_root,
        token.get_secret_value() if token is not None else None,
        settings.modelscope_endpoint,
    )
    return folder.absolute()


def pocket_dir(cache_dir: Path) -> Path:
    """Return where the cache has the pocket model, if it has it."""
    return cache_dir / f"pocket-{pocket.DEFAULT.digest(pocket.PAIRS.read_bytes())[:12]}"


def _complete(folder: Path, what: str, hint: str) -> Path:
    try:
        check_complete(folder)
    except CannotStart as exc:
        raise CannotStart(f"{what}: {exc}{hint}") from exc
    return folder.absolute()
