"""`python -m launcher model upload`: puts a model folder on ModelScope, with its own client.

It must not change the folder nor delete on the hub, and it keeps no credential. What the hub has
already is not sent again: the client asks it by content. Until all is there, the client's notes
are in the cache folder.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from launcher.errors import CannotStart, LauncherError
from launcher.model_folder import (
    check_adapter,
    check_complete,
    has_chat_template,
    is_read_by_engines,
)
from launcher.model_hub import DEFAULT_REVISION, HubFile, HubModel, check_id, quieten_progress
from launcher.model_sizes import decimal
from launcher.settings import LauncherSettings

log = logging.getLogger(__name__)

# What trainers leave beside a model and no engine reads, often larger than the model; and hidden
# files, which hold what other programs noted of the folder.
LEFT_OUT = (
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*.pth",
    "training_args.bin",
    "trainer_state.json",
    "global_step*/*",
    "checkpoint-*/*",
    "events.out.tfevents.*",
    ".*",
    "*/.*",
)
# The client's logger, under which it says why a file failed.
_CLIENT = "modelscope_hub"
_HASHED_AT_ONCE_BYTES = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the model's folder")
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="its id on ModelScope")
    parser.add_argument(
        "--revision", default=DEFAULT_REVISION, help="branch to commit on; default: %(default)s"
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="create it private: a build then needs MODELSCOPE_API_TOKEN",
    )


def run(args: argparse.Namespace, settings: LauncherSettings) -> int:
    """Upload the folder, print the id that MODEL_ID is to have, and return the exit code."""
    token = settings.modelscope_api_token
    if token is None:
        raise CannotStart(
            "uploading needs MODELSCOPE_API_TOKEN: your page on ModelScope makes one, under "
            "access tokens"
        )
    endpoint = settings.modelscope_endpoint
    target = HubModel(args.to, args.revision, token.get_secret_value(), endpoint)
    upload(args.folder, target, is_private=args.private, cache_dir=settings.cache_dir)
    print(target.model_id)
    return 0


def upload(folder: Path, target: HubModel, *, is_private: bool, cache_dir: Path) -> None:
    """Bring a whole model, or an adapter, to the hub and see that it is there.

    Blocks; progress on stderr. Run again, it goes on where it was. Raises CannotStart (no whole
    model, a refused token) or LauncherError (network, quota, or the hub has more than the folder).
    """
    check_id(target.model_id, "--to")
    _check_folder(folder)
    quieten_progress()
    from modelscope_hub.errors import HubError

    notes = cache_dir / f"upload-{_digest(folder, target)}.json"
    files = _to_send(folder)
    try:
        _create(target, is_private=is_private)
        _send(folder, files, target, notes)
        there = target.files()
        lacks = _lacks(folder, files, there)
        if lacks:
            # Noted as sent, and not there: the model was deleted, or another came in between.
            notes.unlink(missing_ok=True)
            _send(folder, files, target, notes)
            there = target.files()
            lacks = _lacks(folder, files, there)
        if not lacks:
            # They would have the client send nothing once another folder has gone to this id.
            notes.unlink(missing_ok=True)
    except (HubError, OSError) as exc:
        raise target.explain(exc, f"could not upload {folder} to {target.hub}") from exc
    if lacks:
        told = ", ".join(lacks[:3])
        raise LauncherError(f"{target.hub} does not list {told} of {target} as sent; run it again")
    _check_nothing_else(files, there, target)
    log.info("%s has all %d files of %s", target.hub, len(files), target)


def _check_folder(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        check_adapter(folder)
        return
    check_complete(folder)
    if not has_chat_template(folder):
        log.warning(
            "the model has no chat template, and without one vLLM answers no chat: copy "
            "chat_template.jinja from the model that yours was trained from"
        )


def _create(target: HubModel, *, is_private: bool) -> None:
    from modelscope_hub.errors import HubError, is_repo_exists_error

    visibility = "private" if is_private else "public"
    try:
        target.api().create_repo(target.model_id, "model", visibility=visibility)
    except HubError as exc:
        if not is_repo_exists_error(exc):
            raise
        log.info("%s is there already, and stays as visible as it is", target.model_id)
    else:
        log.info("created %s, %s", target.model_id, visibility)


def _send(folder: Path, files: Mapping[str, int], target: HubModel, notes: Path) -> None:
    notes.parent.mkdir(parents=True, exist_ok=True)
    total = decimal(sum(files.values()))
    log.info("uploading %s in %d files to %s", total, len(files), target)
    with _heard_errors() as errors, contextlib.redirect_stdout(sys.stderr):
        try:
            target.api().upload_folder(
                target.model_id,
                "model",
                folder,
                revision=target.revision,
                commit_message="Upload by Evalgate",
                ignore_patterns=list(LEFT_OUT),
                use_cache=True,
                tracker_path=notes,
            )
        except Exception as exc:
            # The client raises how many files failed, and only logs what they failed of.
            reason = errors[0] if errors else str(exc)
            failure = f"could not upload {folder} to {target} on {target.hub}"
            raise LauncherError(target.hidden(f"{failure}: {reason}")) from exc


@contextlib.contextmanager
def _heard_errors() -> Iterator[list[str]]:
    """Collect the first lines of the errors that the client logs."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage().splitlines()[0].strip())

    ear, logger = Ear(logging.ERROR), logging.getLogger(_CLIENT)
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)


def _to_send(folder: Path) -> dict[str, int]:
    """Return the sizes of the files that go, by their paths in the folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.stat().st_size
        for name, path in sorted(paths.items())
        if path.is_file() and not any(fnmatch(name, pattern) for pattern in LEFT_OUT)
    }


def _lacks(folder: Path, files: Mapping[str, int], there: Mapping[str, HubFile]) -> list[str]:
    """Return which files the hub lists not at all, or with another size or content."""
    return [
        name
        for name, size in files.items()
        if name not in there or not _is_same(folder / name, size, there[name])
    ]


def _is_same(file: Path, size: int, listed: HubFile) -> bool:
    if listed.size_bytes != size:
        return False
    return listed.sha256 is None or listed.sha256 == _sha256(file)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(_HASHED_AT_ONCE_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _check_nothing_else(
    files: Mapping[str, int], there: Mapping[str, HubFile], target: HubModel
) -> None:
    """Raise LauncherError for what an earlier model left: an engine would serve a mixture."""
    more = sorted(name for name in there if name not in files and is_read_by_engines(name))
    if more:
        raise LauncherError(
            f"{target} on {target.hub} has all of the folder, but also {', '.join(more)} of "
            "another model, which an engine would read: delete that on the model's page and run "
            "this again, or upload to a new id"
        )


def _digest(folder: Path, target: HubModel) -> str:
    told = f"{folder.resolve()} {target} {target.hub}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]
