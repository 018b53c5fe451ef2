"""Owns running a tool: offline, in its own environment, with progress, until Ctrl-C."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from evaluator.interrupts import Interrupts
from evaluator.phases import Watcher
from evaluator.report import PhaseReport
from evaluator.service import CannotRun, Command, running
from evaluator.terminal import plain
from evaluator.third_party.job import Job, Plan, Tool

POLL_S = 0.2
NOTE_LENGTH = 70
LINE_LENGTH = 300
# Nobody listens there: whatever wants to load something fails at once, instead of being trusted.
_NOWHERE = "http://127.0.0.1:9"


def offline_environ(url: str) -> dict[str, str]:
    """Return the variables with which a tool reaches the engine and nothing else."""
    host = urlsplit(url).hostname or ""
    return {
        **dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1"),
        **dict.fromkeys(("HF_EVALUATE_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS"), "1"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _NOWHERE),
        **dict.fromkeys(("all_proxy", "ALL_PROXY"), ""),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), f"{host},localhost,127.0.0.1"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "TOKENIZERS_PARALLELISM": "false",
    }


def shell_command(plan: Plan, environ: Mapping[str, str], folder: Path, key_variable: str) -> str:
    """Return the line that a shell runs; the key goes through its variable, which nobody sees."""
    parts = [f"{name}={shlex.quote(value)}" for name, value in environ.items()]
    if plan.key_variable:
        parts.append(f'{plan.key_variable}="${{{key_variable}:-EMPTY}}"')
    exported = " ".join(parts)
    return f"cd {shlex.quote(str(folder))} && export {exported} && exec {shlex.join(plan.argv)}"


def find_python(tool: Tool, root: Path) -> Path:
    """Return the interpreter of a tool's environment; raises CannotRun when it is not there."""
    python = root / f".venv-{tool.name}" / "bin" / "python"
    if not python.exists():
        raise CannotRun(
            f"{tool.name} is not installed: run scripts/evaluate {tool.name}, which installs it, "
            f"or name an interpreter that has {tool.package} with --python"
        )
    # Not resolved: the environment is found by where its interpreter seems to be.
    return python.absolute()


async def run(tool: Tool, job: Job, plan: Plan, folder: Path, watcher: Watcher) -> float | None:
    """Run the tool to its end and return the seconds; None when interrupted.

    Raises CannotRun when the command fails; a tool that reports success may still have no result.
    """
    environ = {**offline_environ(job.url), **plan.environ}
    line = shell_command(plan, environ, folder, job.key_variable)
    stop = Interrupts()
    start = anyio.current_time()
    watcher.begin(tool.name, None)
    command: Command | None = None
    with stop.cancelling():
        async with running(line, folder / "log", is_urgent=lambda: stop.is_urgent) as command:
            while command.exit_code is None:
                tail = command.tail().lines
                watcher.note(plain(tail[-1])[-NOTE_LENGTH:] if tail else "")
                await anyio.sleep(POLL_S)
    seconds = anyio.current_time() - start
    failure = "" if command is None else command.find_failure()
    problem = "interrupted" if stop.has_come else failure
    watcher.end(
        PhaseReport(name=tool.name, started_s=0, seconds=seconds, limit_s=0, problem=problem)
    )
    if stop.has_come:
        return None
    if failure and command is not None:
        told = "\n  ".join(plain(line, LINE_LENGTH) for line in command.tail().lines[-5:])
        raise CannotRun(f"{tool.name} ended with {failure}; the end of {folder / 'log'}:\n  {told}")
    return seconds
