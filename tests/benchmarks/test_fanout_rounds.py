"""How the contestants of `fanout` take turns, and the table."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from benchmarks.fanout_contestants import Contestant
from benchmarks.fanout_load import LoadError
from benchmarks.fanout_measure import Turn
from benchmarks.fanout_rounds import Result, bar, document, table, take_turns
from benchmarks.plot import Spread


def contestant(note: Callable[[], None]) -> Contestant:
    async def run() -> float:
        note()
        return 2.0

    return Contestant(psutil.Process(), 1000, run)


@pytest.mark.anyio
async def test_contestants_take_turns_and_each_begins_once() -> None:
    order: list[str] = []
    names = ("a", "b", "c")

    await take_turns({name: contestant(lambda n=name: order.append(n)) for name in names}, 2)  # type: ignore[misc]

    assert "".join(order) == "abc" + "bca" + "cab"


@pytest.mark.anyio
async def test_first_round_does_not_count() -> None:
    results = await take_turns({"a": contestant(lambda: None)}, 3)

    assert [turn.wall_us for turn in results["a"].turns] == [2_000] * 3


@pytest.mark.anyio
async def test_contestant_that_fails_is_left_out_and_says_why() -> None:
    asked: list[str] = []

    def fail() -> None:
        asked.append("broken")
        raise LoadError("status 500: out of order")

    both = {"broken": contestant(fail), "sound": contestant(lambda: None)}
    results = await take_turns(both, 2)

    assert asked == ["broken"]
    assert results["broken"].reason == "status 500: out of order"
    assert len(results["sound"].turns) == 2
    assert "| broken | not measured | – | – | – | – | – | – | – |" in table(results)
    assert table(results).endswith("broken: status 500: out of order")
    assert bar(results["broken"], "cpu_us") is None


def test_table_compares_within_a_round() -> None:
    """The machine was half as fast in the second round: the ratio is the same in both."""
    turns = [Turn(100, 300, 70), Turn(200, 500, 80)]
    loop = [Turn(50, 200, 90), Turn(100, 400, 90)]
    results = {
        "predict": Result(turns, root_s=[0.001] * 98 + [0.04, 0.05], prompts_per_call=16),
        "aiohttp": Result(loop),
    }

    rows = table(results).splitlines()[2:]

    figures = ["150 (100–200)", "2.00 (2.00–2.00)", "400 (300–500)", "80", "1.0", "40.0", "100"]
    assert rows[0] == f"| predict | 16 | {' | '.join(figures)} |"
    assert rows[1].endswith("| 90 | – | – | – |")


def test_document_holds_every_turn() -> None:
    results = {"a": Result([Turn(1, 2, 3)], root_s=[0.5]), "b": Result(reason="not here")}

    assert document(results) == {
        "a": {
            "prompts_per_call": 1,
            "turns": [{"cpu_us": 1, "wall_us": 2, "peak_mib": 3}],
            "get_root_s": {"p50": 0.5, "p99": 0.5, "max": 0.5, "count": 1},
        },
        "b": {"reason": "not here"},
    }


def test_bar_is_the_median_with_the_least_and_the_most() -> None:
    result = Result([Turn(cpu, 0, 0) for cpu in (5, 1, 9)])

    assert bar(result, "cpu_us") == Spread(5, 1, 9)
