"""Asks ModelScope what a model consists of, and for its small files; no weights.

In a process of its own (hub_client), so that a hub that hangs can be left.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from launcher.checks.hub_client import MARK
from launcher.interpreter import REPOSITORY
from launcher.model_hub import DEFAULT_REVISION
from launcher.settings import LauncherSettings

# Two seconds where the hub is near; one that takes longer is told, not waited for.
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Listing:
    """The sizes of a model's files by path; empty, with a reason, when the hub did not tell."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    # The hub answered, and a build would get no more: no such model, or no access to it.
    is_refused: bool = False


async def ask(
    settings: LauncherSettings,
    folder: Path,
    environ: Mapping[str, str],
    timeout_s: float = TIMEOUT_S,
) -> Listing:
    """Return the listing of MODEL_ID, and bring its small files into `folder`."""
    hub = settings.modelscope_endpoint or "ModelScope"
    revision = settings.model_revision or DEFAULT_REVISION
    words = [settings.model_id or "", revision, str(folder), settings.modelscope_endpoint or ""]
    try:
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(
                [sys.executable, "-W", "ignore", "-m", "launcher.checks.hub_client", *words],
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env=_client_environment(settings, environ),
                check=False,
            )
    except TimeoutError:
        return Listing(problem=f"{hub} did not answer within {timeout_s:g} s")
    answer = _answer(done.stdout.decode(errors="replace"))
    if answer is None:
        return Listing(problem=f"ModelScope's client ended with exit code {done.returncode}")
    return replace(answer, problem=f"{hub}: {answer.problem}" if answer.problem else "")


def _client_environment(
    settings: LauncherSettings, environ: Mapping[str, str]
) -> Mapping[str, str]:
    """One attempt, no progress bars, and the token under the name that the client knows."""
    env = {
        **environ,
        "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1",
        "TQDM_DISABLE": "1",
    }
    token = settings.modelscope_api_token
    if token is not None:
        env["MODELSCOPE_API_TOKEN"] = token.get_secret_value()
    return env


def _answer(output: str) -> Listing | None:
    line = next((line for line in output.splitlines() if line.startswith(MARK)), None)
    return None if line is None else Listing(**json.loads(line.removeprefix(MARK)))
