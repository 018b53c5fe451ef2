"""The limit is a property of the process: each test looks at it in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.files import affordable_connections

ROOT = Path(__file__).parents[2]
SCRIPT = """
import resource, sys
from gateway.files import raise_file_limit

soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(raise_file_limit(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def raised(*, soft: int, hard: int, wanted: int) -> list[int]:
    """Return what the function said, and the soft and the hard limit afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(wanted)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("limit", "connections"), [(65_536, 49_104), (1024, 720), (256, 144), (64, 1), (3, 1)]
)
def test_a_part_of_the_files_is_for_completions(limit: int, connections: int) -> None:
    assert affordable_connections(limit) == connections


def test_the_soft_limit_is_raised_to_what_is_wanted() -> None:
    assert raised(soft=200, hard=1000, wanted=600) == [600, 600, 1000]


def test_the_hard_limit_bounds_it() -> None:
    assert raised(soft=200, hard=1000, wanted=60_000) == [1000, 1000, 1000]


def test_a_limit_that_is_enough_is_left_alone() -> None:
    assert raised(soft=700, hard=1000, wanted=600) == [700, 700, 1000]
