"""Owns the question whether the build ends in time: a download at a bandwidth, and pip."""

from __future__ import annotations

from launcher import model_sizes as sizes
from launcher.checks.result import Result, failure, ok, skipped, warning

NAME = "build time"
# requirements.txt took 44 to 66 s on two cores, where packages came quickly.
PIP_S = 60.0
# TCP/IP and TLS headers of full-size frames take 5 to 6 %.
PAYLOAD_SHARE = 0.945
# Below this much is left for the layers to be written, a slow mirror decides.
ROOM_SHARE = 0.1


def download_s(n_bytes: int, bandwidth_mbit_s: float) -> float:
    """Return the seconds that a download takes at best, headers included."""
    return n_bytes * 8 / (bandwidth_mbit_s * 1e6 * PAYLOAD_SHARE)


def check(
    model_bytes: int | None,
    *,
    origin: str,
    bandwidth_mbit_s: float,
    limit_s: float | None,
) -> Result:
    """Compare the plan of the build with its limit; `origin` says where the size is from."""
    if model_bytes is None:
        return skipped(NAME, origin, "name the model's size: --model-size 8GB")
    fetch_s = download_s(model_bytes, bandwidth_mbit_s)
    download = f"model {sizes.decimal(model_bytes)} ({origin}) at {bandwidth_mbit_s:g} Mbit/s: "
    download += sizes.minutes(fetch_s)
    if model_bytes == 0:
        download = f"download {origin}"
    plan = f"{download}, pip about {PIP_S:.0f} s"
    if limit_s is None:
        return ok(NAME, plan, "none without --track")
    limit = sizes.minutes(limit_s)
    if fetch_s >= limit_s:
        return failure(
            NAME, f"{download}: the download alone breaks {limit_s:g} s", _smaller(limit_s), limit
        )
    left_s = limit_s - fetch_s - PIP_S
    if left_s <= 0:
        return failure(NAME, f"{plan}: {-left_s:.0f} s too long", _smaller(limit_s), limit)
    plan = f"{plan}; {sizes.minutes(left_s)} left for the base image and the layers"
    if left_s < ROOM_SHARE * limit_s:
        return warning(NAME, f"{plan}, which is little", _smaller(limit_s), limit)
    return ok(NAME, f"{plan}: fits", limit)


def _smaller(limit_s: float) -> str:
    return (
        f"use a smaller model, or a quantized one (AWQ, GPTQ: a third of the size); {limit_s:g} s "
        "hold the download, pip and the layers together"
    )
