"""Processor time and peak memory of a process, and percentiles."""

from __future__ import annotations

import math
import time

import psutil
import pytest

from benchmarks.fanout_measure import measured, peak_mib, percentile, reset_peak


def burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


@pytest.mark.anyio
async def test_turn_tells_the_processor_time_per_prompt() -> None:
    async def run() -> float:
        burn(0.3)
        return 7.0

    turn = await measured(psutil.Process(), 100, run)

    # Told in steps of 10 ms at both ends; threads of the test's own may add to it.
    assert 2_700 <= turn.cpu_us <= 6_000
    assert turn.wall_us == 70_000


@pytest.mark.anyio
async def test_peak_is_of_the_turn_and_not_of_what_was_before() -> None:
    process = psutil.Process()
    del_me = bytearray(200 * 2**20)
    assert peak_mib(process) > 200
    del del_me

    async def run() -> float:
        return 1.0

    usual = (await measured(process, 1, run)).peak_mib

    async def run_large() -> float:
        return float(len(bytearray(100 * 2**20)))

    large = (await measured(process, 1, run_large)).peak_mib
    assert 90 <= large - usual <= 150


def test_peak_after_a_reset_is_what_is_held_now() -> None:
    process = psutil.Process()
    reset_peak(process)

    assert peak_mib(process) == pytest.approx(process.memory_info().rss / 2**20, rel=0.1)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_a_value_that_so_many_do_not_exceed(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))
