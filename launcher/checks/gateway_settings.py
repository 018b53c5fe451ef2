"""Owns the little that the doctor reads of the gateway's settings: the two import nothing of
each other, so the names and defaults are here once more, held together by a test.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import anyio
from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.checks.result import Result, failure, ok, skipped
from launcher.interpreter import REPOSITORY

NAME = "gateway settings"
TIMEOUT_S = 20.0


class GatewaySettings(BaseModel):
    """What the gateway would run with, as far as the doctor's checks need it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    batch_mode: bool = True
    batch_concurrency: int = 512
    predict_deadline_s: float = 345
    max_new_tokens: int = 512


def read(environ: Mapping[str, str]) -> GatewaySettings:
    """Return the settings of an environment; the defaults where the gateway would not start."""
    given = {key.lower(): value for key, value in environ.items() if value}
    try:
        return GatewaySettings.model_validate(given)
    except ValidationError:
        return GatewaySettings()


async def check(environ: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> Result:
    """Have the gateway itself check its settings and the files that they name."""
    try:
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(
                [sys.executable, "-m", "gateway", "--check"],
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env=environ,
                check=False,
            )
    except TimeoutError:
        return skipped(NAME, f"`python -m gateway --check` took over {timeout_s:g} s")
    if done.returncode == 0:
        return ok(NAME, "the gateway accepts them")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    told = lines if lines[:1] and lines[0].startswith("gateway:") else lines[-1:]
    reason = "; ".join(line.removeprefix("gateway: ") for line in told)
    return failure(NAME, reason, "correct them: docs/configuration.md has every setting")
