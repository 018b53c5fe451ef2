"""Owns uv, which installs in seconds what takes pip minutes; pip fetches it, once.

What is installed, and from where, is decided by the requirements and by pip's settings alone.
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from launcher.errors import LauncherError
from launcher.install_step import run
from launcher.uv_settings import UvSettings, read, translate

# The version that this was tried with; what an install makes of it is checked by what uses it.
_WANTED = "uv>=0.13,<1"
# Without these, one index would hide what another one has of a package, which pip never lets it.
_AS_PIP = ("--index-strategy", "unsafe-best-match")


class Uv:
    """The program, and the pip that is kept beside it to be asked for pip's settings."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        # A home folder may be shared by machines of several kinds; a program is for one.
        self._folder = cache / f"uv-{platform.machine()}"

    @property
    def is_here(self) -> bool:
        """Tell whether it needs not be fetched."""
        return (self._folder / "bin" / "uv").is_file()

    def fetch(self, python: Path, log: Path, tick_s: float) -> None:
        """Let this interpreter's pip fetch it; raises LauncherError when it cannot be had."""
        unfinished = self._folder.with_name(f"{self._folder.name}.{os.getpid()}")
        target = ["--no-compile", "--target", str(unfinished)]
        try:
            run([str(python), "-m", "pip", "install", *target, _WANTED, "pip"], log, tick_s)
            if not self.is_here:
                shutil.rmtree(self._folder, ignore_errors=True)
                unfinished.rename(self._folder)
        except OSError as exc:
            if not self.is_here:  # another run that fetches it was first
                raise LauncherError(f"cannot keep uv in {self._cache}: {exc.strerror}") from exc
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def install(self, python: Path, arguments: list[str], log: Path, tick_s: float) -> None:
        """Install into this interpreter's environment what `pip install ARGUMENTS` would.

        Raises LauncherError when it fails, or is no match for what pip is told.
        """
        settings = self._settings(python)
        # pip's name for it; it would replace the indexes that come from the environment.
        named = ["--index" if part == "--extra-index-url" else part for part in arguments]
        options = [*_AS_PIP, *settings.arguments, *named]
        self._run("install", python, options, settings, log, tick_s)

    def uninstall(self, python: Path, names: tuple[str, ...], log: Path, tick_s: float) -> None:
        """Remove distributions; those that are not there are no failure."""
        self._run("uninstall", python, list(names), UvSettings({}), log, tick_s)

    def _run(
        self,
        command: str,
        python: Path,
        options: list[str],
        settings: UvSettings,
        log: Path,
        tick_s: float,
    ) -> None:
        argv = [str(self._folder / "bin" / "uv"), "pip", command, "--python", str(python)]
        # Beside the environments, which then hold links to what is there and no copies.
        own = {"UV_CACHE_DIR": str(self._cache / "uv-cache"), "UV_NO_PROGRESS": "1"}
        run([*argv, *options], log, tick_s, {**own, **os.environ, **settings.environ})

    def _settings(self, python: Path) -> UvSettings:
        asked = subprocess.run(
            [python, "-m", "pip", "config", "list"],
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode != 0:
            raise LauncherError("pip does not tell its settings")
        return translate(read(asked.stdout))
