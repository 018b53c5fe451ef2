"""The sums over a profiler's stacks."""

from __future__ import annotations

from benchmarks.fanout_profile import Cost, by_package, costs, report, share_of

STACKS = """\
main (gateway/__main__.py:1);run (gateway/fanout.py:5) 10
main (gateway/__main__.py:1);run (gateway/fanout.py:5);post (aiohttp/client.py:7) 60
main (gateway/__main__.py:1);run (gateway/fanout.py:5);run (gateway/fanout.py:5) 20
select (selectors.py:3) 10
"""
MAIN, RUN = "main (gateway/__main__.py:1)", "run (gateway/fanout.py:5)"
POST, SELECT = "post (aiohttp/client.py:7)", "select (selectors.py:3)"


def test_costs_are_shares_with_the_largest_first() -> None:
    assert costs(STACKS) == [
        Cost(POST, 0.6, 0.6),
        Cost(RUN, 0.3, 0.9),
        Cost(SELECT, 0.1, 0.1),
    ]


def test_package_functions_get_what_they_call_elsewhere() -> None:
    found = {cost.function: cost.own for cost in by_package(STACKS, "gateway")}

    assert found == {RUN: 0.9, "elsewhere": 0.1}


def test_report_names_the_largest_of_both_kinds() -> None:
    text = report(STACKS, rows=1)

    assert f" 90.0%  {RUN}" in text
    assert f" 60.0% ( 60.0%)  {POST}" in text
    assert SELECT not in text


def test_profile_without_samples_has_no_costs() -> None:
    assert costs("") == []


def test_share_of_a_place_is_all_that_is_done_from_there() -> None:
    assert share_of(STACKS, "gateway/fanout.py") == 0.9
    assert share_of(STACKS, "aiohttp/") == 0.6
    assert share_of("", "gateway") == 0
