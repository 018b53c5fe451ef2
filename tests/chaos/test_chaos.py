"""The quick part of the fault matrix: one test for each row, on the fake and the real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.matrix import choose
from tests.chaos.real import RealService
from tests.chaos.row import Row
from tests.chaos.runner import run_row, run_rows

WITHOUT_ENGINE = [row for name in ("fake", "none") for row in choose([name], is_quick=True)]


@pytest.fixture(scope="module")
def service() -> Iterator[RealService]:
    shared = RealService()
    try:
        yield shared
    finally:
        shared.close()


@pytest.mark.process
@pytest.mark.parametrize("row", WITHOUT_ENGINE, ids=lambda row: row.name)
def test_a_fault_loses_nothing(row: Row) -> None:
    (result,) = run_rows([row])
    assert result.is_good, result


@pytest.mark.e2e
@pytest.mark.parametrize("row", choose(["real"], is_quick=True), ids=lambda row: row.name)
def test_a_fault_of_the_real_engine_loses_nothing(row: Row, service: RealService) -> None:
    result = run_row(row, service)
    assert result.is_good, result
