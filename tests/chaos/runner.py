"""Runs rows one after another and tells how each went; one that fails never keeps the next away."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from tests.chaos.real import RealService
from tests.chaos.result import Result, Run
from tests.chaos.row import Row

DEFAULT_RUNS = 3
MAX_ERROR_CHARS = 400
Progress = Callable[[Row, int, int], None]
"""Told before each run: the row, the run's number from 1, how many there are."""


def run_rows(
    rows: Sequence[Row],
    *,
    num_runs: int = DEFAULT_RUNS,
    on_run: Progress = lambda row, number, count: None,
) -> Generator[Result, None, None]:
    """Run the rows, the process faults `num_runs` times; the real stack ends with the iteration."""
    service = RealService()
    try:
        for row in rows:
            yield run_row(row, service, num_runs if row.is_repeated else 1, on_run)
    finally:
        service.close()


def once_more_if_late(run: Callable[[], Result]) -> Result:
    """Run a row; once more where it was late and nothing else was wrong.

    A machine that stood still made it late; a gateway that is late is late again.
    """
    result = run()
    is_wrong = result.error or result.total("lost") or result.total("out_of_order")
    return run() if result.total("late") and not is_wrong else result


def run_row(
    row: Row, service: RealService, count: int = 1, on_run: Progress = lambda *_: None
) -> Result:
    """Run one row so many times, or until a run cannot be done; raises nothing for that."""
    start = time.monotonic()
    runs: list[Run] = []
    error = ""
    for number in range(1, count + 1):
        on_run(row, number, count)
        try:
            runs.append(row.run(service))
        except Exception as exc:  # whatever it is: the row could not be run, the next one may
            what = f"run {number} of {count}: {type(exc).__name__}: {exc}"
            error = what[:MAX_ERROR_CHARS].replace("\n", " ")
            break
    return Result(
        row.name, row.fault, row.engine, tuple(runs), error, round(time.monotonic() - start, 1)
    )
