"""Owns the question which arguments the installed engine knows, asked once and kept in a file.

An unknown argument stops the engine, and arguments moved between versions. It parses no help text:
it takes the engine's own parser at the moment the engine would use it.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from launcher.atomic_file import replace_file

log = logging.getLogger(__name__)

# 16 s for vLLM 0.32 on two cores; the first import from a cold disk takes a minute.
QUERY_TIMEOUT_S = 120.0

_MARK = "EVALGATE-FLAGS "
# Libraries parse arguments of their own when they are imported: only the parser that knows
# --port and --model (--model-path) is the server's. os._exit: nothing to clean up, no threads.
_SNIPPET = f"""
import argparse, json, os, runpy, sys
def answer(parser, *args, **kwargs):
    flags = {{flag for action in parser._actions for flag in action.option_strings}}
    if "--port" not in flags or not flags & {{"--model", "--model-path"}}:
        return original(parser, *args, **kwargs)
    sys.__stdout__.write("\\n" + {_MARK!r} + json.dumps(sorted(flags)) + "\\n")
    sys.__stdout__.flush()
    os._exit(0)
original = argparse.ArgumentParser.parse_known_args
argparse.ArgumentParser.parse_known_args = answer
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


async def known_flags(
    python: Path,
    module: str,
    *,
    environ: Mapping[str, str],
    cache_dir: Path,
    fingerprint: str,
    arguments: Sequence[str] = (),
    refresh: bool = False,
    timeout_s: float = QUERY_TIMEOUT_S,
) -> frozenset[str] | None:
    """Return every option of `python -m module arguments`, from `cache_dir` if it is known there.

    None, with the reason logged, when the engine does not tell; that is not kept.
    """
    cached = cache_dir / f"flags-{fingerprint}.json"
    flags = None if refresh else _read(cached)
    if flags is not None:
        return flags
    log.info("asking the engine which arguments it knows, once for this installation")
    flags = await _ask(python, (module, *arguments), environ, timeout_s)
    if flags is not None:
        _write(cached, flags)
    return flags


async def _ask(
    python: Path, command: Sequence[str], environ: Mapping[str, str], timeout_s: float
) -> frozenset[str] | None:
    try:
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(
                [str(python), "-c", _SNIPPET, *command],
                stdin=subprocess.DEVNULL,
                env=environ,
                check=False,
            )
    except TimeoutError:
        _warn(f"no answer within {timeout_s:g} s")
        return None
    except OSError as exc:
        _warn(str(exc))
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    answer = next((line for line in reversed(lines) if line.startswith(_MARK)), None)
    if answer is None:
        errors = done.stderr.decode(errors="replace").split("\n")
        last_words = next((line for line in reversed(errors) if line.strip()), "no output")
        _warn(f"exit code {done.returncode}: {last_words.strip()}")
        return None
    return frozenset(json.loads(answer.removeprefix(_MARK)))


def _warn(reason: str) -> None:
    log.warning("the engine did not tell which arguments it knows (%s); using the fewest", reason)


def _read(path: Path) -> frozenset[str] | None:
    try:
        flags = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_valid = isinstance(flags, list) and all(isinstance(flag, str) for flag in flags) and flags
    return frozenset(flags) if is_valid else None


def _write(path: Path, flags: frozenset[str]) -> None:
    """Keep the answer; a cache that cannot be written costs seconds per start, not the start."""
    try:
        replace_file(path, json.dumps(sorted(flags)))
    except OSError as exc:
        log.warning("cannot keep what the engine told: %s", exc)
