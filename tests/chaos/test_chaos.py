"""The quick part of the fault matrix on the fake engine: one test for each row.

tests/e2e/test_serve.py has those on the real one, which a stack has to be started for.
"""

from __future__ import annotations

import pytest

from tests.chaos.matrix import choose
from tests.chaos.result import Result
from tests.chaos.row import Row
from tests.chaos.runner import once_more_if_late, run_rows

WITHOUT_ENGINE = [row for name in ("fake", "none") for row in choose([name], is_quick=True)]


@pytest.mark.process
@pytest.mark.parametrize("row", WITHOUT_ENGINE, ids=lambda row: row.name)
def test_a_fault_loses_nothing(row: Row) -> None:
    def run() -> Result:
        (result,) = run_rows([row])
        return result

    result = once_more_if_late(run)
    assert result.is_good, result
