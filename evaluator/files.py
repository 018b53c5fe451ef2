"""Owns writing files so that no kill or power cut leaves half of one; and telling their names."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotWrite(Exception):
    """The file system refuses; the message names the file and says why."""


@contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into CannotWrite."""
    try:
        yield
    except OSError as exc:
        raise CannotWrite(f"{path}: cannot be written: {exc.strerror}") from exc


def check_writable(path: Path) -> None:
    """Make the folder of a file to be written later; raises CannotWrite when it could not be."""
    with cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # a superuser's rights tell nothing
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")


def as_text(path: Path | str) -> str:
    """Return a path as a report can hold it, with "?" for bytes that are not UTF-8.

    A file of an archive that was packed elsewhere may have such a name, in GB 18030 for one.
    """
    return str(path).encode("utf-8", "replace").decode()


def report_files(kind: str, json: Path | None, html: Path | None) -> tuple[Path, Path]:
    """Return where a report's JSON and HTML go, `run/KIND-TIME` unless told; raises CannotWrite."""
    stem = Path("run") / time.strftime(f"{kind}-%Y%m%d-%H%M%S")
    json_file = json or stem.with_suffix(".json")
    html_file = html or json_file.with_suffix(".html")
    for file in (json_file, html_file):
        check_writable(file)
    return json_file, html_file


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step, on the disk when this returns; raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")  # always the same: a kill leaves no more
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a new name in the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
