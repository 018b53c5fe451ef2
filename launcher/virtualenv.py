"""Owns virtual environments that are kept by content: the same requirements, the same environment.

`python -m launcher.virtualenv LINK REQUIREMENTS…` builds one in the cache, or finds it there, and
makes LINK point to it. It runs before anything is installed: only the standard library here.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from launcher.errors import CannotStart, LauncherError
from launcher.install_step import TICK_S, run, say
from launcher.uv import Uv

_STAMP = ".evalgate-complete"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what an environment holds."""

    python: Path
    requirements: tuple[Path, ...]
    pip_arguments: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    """Distributions that are uninstalled again: dependencies that would only break something."""

    def key(self) -> str:
        """Return a hash that changes when a rebuilt environment would differ."""
        version = subprocess.run(
            [self.python, "-c", "import sys, platform; print(sys.version, platform.machine())"],
            check=True,
            capture_output=True,
        ).stdout
        digest = hashlib.sha256(version)
        digest.update(repr((self.pip_arguments, self.remove)).encode())
        for path in self.requirements:
            digest.update(b"\0" + path.read_bytes())
        return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """Return the folder for what is costly to make: EVALGATE_CACHE, else the user's cache."""
    own = os.environ.get("EVALGATE_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    # Absolute: links to what is inside have to hold from anywhere.
    return (Path(own) if own else Path(shared, "evalgate")).expanduser().absolute()


def ensure(link: Path, recipe: Recipe, cache: Path, tick_s: float = TICK_S) -> Path:
    """Make `link` point to the recipe's environment, built if need be; return its interpreter.

    An interrupted build is begun anew; two processes build once. Raises CannotStart when there
    is something else at `link` or no cache can be written, LauncherError when the install fails.
    """
    if link.exists() and not link.is_symlink():
        raise CannotStart(f"{link} is a folder of your own: move it away, or remove it")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _no_cache("make", cache, exc) from exc
    folder = _folder(link, recipe, cache)
    # Looked at before the lock as well: what is complete needs no cache that can be written.
    if not _is_complete(folder):
        with _locked(_beside(folder, "lock")):
            if not _is_complete(folder):
                _build(folder, recipe, Uv(cache), tick_s)
    _point(link, folder)
    return link / "bin" / "python"


def is_built(link: Path, recipe: Recipe, cache: Path) -> bool:
    """Tell whether `ensure` would find everything there, and need no network."""
    return _is_complete(_folder(link, recipe, cache))


def _folder(link: Path, recipe: Recipe, cache: Path) -> Path:
    return cache / f"{link.name.lstrip('.')}-{recipe.key()}"


def _beside(folder: Path, ending: str) -> Path:
    # Not with_suffix: the name holds a Python version, whose dot is no suffix.
    return folder.with_name(f"{folder.name}.{ending}")


def _is_complete(folder: Path) -> bool:
    # The interpreter is a link too: it dangles once the Python that it was made with is gone.
    return (folder / _STAMP).is_file() and (folder / "bin" / "python").exists()


def _build(folder: Path, recipe: Recipe, uv: Uv, tick_s: float) -> None:
    names = ", ".join(path.name for path in recipe.requirements)
    say(f"installing {names} for {_version(recipe.python)} into {folder}")
    start = time.monotonic()
    log = _beside(folder, "log")
    log.write_bytes(b"")
    if not _install_with_uv(folder, recipe, uv, log, tick_s):
        _install_with_pip(folder, recipe, log, tick_s)
    if _never_written_later():
        _compile(folder, log, tick_s)
    (folder / _STAMP).touch()
    say(f"installed in {time.monotonic() - start:.0f} s")


def _install_with_uv(folder: Path, recipe: Recipe, uv: Uv, log: Path, tick_s: float) -> bool:
    """Return False, having said why, when it is left to pip."""
    if _is_for_an_image():
        return False  # uv, and what it keeps, would be for one environment
    python = folder / "bin" / "python"
    # pip in an environment costs seconds: once, for it fetches uv; then uv installs it.
    _make(folder, recipe, log, tick_s, *(["--without-pip"] if uv.is_here else []))
    try:
        if not uv.is_here:
            uv.fetch(python, log, tick_s)
        uv.install(python, [*recipe.pip_arguments, *_wanted(recipe), "pip"], log, tick_s)
        if recipe.remove:
            uv.uninstall(python, recipe.remove, log, tick_s)
    except LauncherError as exc:
        say(f"pip installs, since uv does not: {exc}")
        return False
    return True


def _install_with_pip(folder: Path, recipe: Recipe, log: Path, tick_s: float) -> None:
    _make(folder, recipe, log, tick_s)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # pip compiles on one core and for an engine takes minutes; compileall later uses all cores.
    arguments = ["--no-compile", *recipe.pip_arguments, *_wanted(recipe)]
    run([*pip, "install", *arguments], log, tick_s)
    if recipe.remove:
        run([*pip, "uninstall", "--yes", *recipe.remove], log, tick_s)


def _make(folder: Path, recipe: Recipe, log: Path, tick_s: float, *options: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    run([str(recipe.python), "-m", "venv", str(folder), *options], log, tick_s)


def _wanted(recipe: Recipe) -> list[str]:
    return [part for path in recipe.requirements for part in ("-r", str(path))]


def _is_for_an_image() -> bool:
    return bool(os.environ.get("PIP_NO_CACHE_DIR"))


def _never_written_later() -> bool:
    """Whether nobody would keep the byte code that an import writes: a container's end loses it.

    Elsewhere whoever imports a module first writes it. Most of an engine's modules never are
    imported: compiling them all would take longer than the rest of the install.
    """
    return _is_for_an_image() or bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


def _compile(folder: Path, log: Path, tick_s: float) -> None:
    """Write the byte code of everything: without, vLLM starts in 70 s instead of 32.

    Packages hold a few files that are no Python of this version: no failure.
    """
    packages = str(folder / "lib")
    argv = [str(folder / "bin" / "python"), "-m", "compileall", "-q", "-j", "0", packages]
    with suppress(LauncherError):
        run(argv, log, tick_s)


def _version(python: Path) -> str:
    done = subprocess.run([python, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            _wait_for(stack.enter_context(path.open("w")), path.stem)
        except OSError as exc:
            raise _no_cache("write into", path.parent, exc) from exc
        yield


def _wait_for(file: TextIO, name: str) -> None:
    # An install that outlives its parent, which was killed, goes on holding the lock.
    os.set_inheritable(file.fileno(), True)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another run that builds {name}")
        fcntl.flock(file, fcntl.LOCK_EX)


def _no_cache(verb: str, cache: Path, exc: OSError) -> CannotStart:
    reason = f"cannot {verb} the cache folder {cache}: {exc.strerror}"
    return CannotStart(f"{reason}; name another in EVALGATE_CACHE")


def _point(link: Path, folder: Path) -> None:
    """Make the link, in one step: whoever runs through it finds the old or the new one."""
    if link.is_symlink() and link.readlink() == folder:
        return
    temporary = link.with_name(f"{link.name}.{os.getpid()}")
    temporary.symlink_to(folder)
    temporary.replace(link)


def exit_code_of(work: Callable[[], object]) -> int:
    """Do the work of a program that installs; tell what stopped it; return the exit code."""
    # What ends a process shall end its installs too: they are not in its group.
    handlers = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup
    }
    try:
        work()
    except LauncherError as exc:
        say(str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build or find one environment for the running Python; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m launcher.virtualenv", description=__doc__)
    parser.add_argument("link", type=Path)
    parser.add_argument("requirements", type=Path, nargs="+")
    parsed = parser.parse_args(arguments)
    recipe = Recipe(Path(sys.executable), tuple(parsed.requirements))
    return exit_code_of(lambda: ensure(parsed.link.absolute(), recipe, cache_folder()))


if __name__ == "__main__":
    sys.exit(main())
