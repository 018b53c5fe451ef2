"""Running rows and showing what they came to, with rows that do nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos import report
from tests.chaos.__main__ import main, parse
from tests.chaos.matrix import ROWS, UnknownRow, choose
from tests.chaos.polling import NotSeen
from tests.chaos.real import RealService
from tests.chaos.result import Result, Run
from tests.chaos.row import Row
from tests.chaos.runner import run_rows

GOOD = Run(358, recovery_s=2.0, note="so it was")
BAD = Run(358, lost=2, out_of_order=1, recovery_s=4.0)


def row_of(*runs: Run, is_repeated: bool = False) -> Row:
    left = list(runs)

    def run(service: RealService) -> Run:
        if not left:
            raise NotSeen("the fault\ndid not hit")
        return left.pop(0)

    return Row("name", "a fault", "fake", run, is_repeated=is_repeated)


def result_of(*runs: Run) -> Result:
    return Result("name", "a fault", "fake", runs)


def test_a_process_fault_is_run_several_times_and_others_once() -> None:
    told: list[tuple[int, int]] = []
    rows = [row_of(*[GOOD] * 3, is_repeated=True), row_of(*[GOOD] * 3)]
    results = list(
        run_rows(rows, num_runs=3, on_run=lambda _, number, count: told.append((number, count)))
    )
    assert [len(result.runs) for result in results] == [3, 1]
    assert all(result.is_good for result in results)
    assert told == [(1, 3), (2, 3), (3, 3), (1, 1)]


def test_a_row_that_cannot_be_run_fails_and_the_next_one_is_run() -> None:
    first, second = run_rows([row_of(), row_of(GOOD)])
    assert not first.is_good
    assert first.error == "run 1 of 1: NotSeen: the fault did not hit"
    assert first.note == "NOT DONE: run 1 of 1: NotSeen: the fault did not hit"
    assert second.is_good


def test_an_interrupt_leaves_the_results_so_far() -> None:
    def interrupt(service: RealService) -> Run:
        raise KeyboardInterrupt

    results = run_rows([row_of(GOOD), Row("name", "a fault", "fake", interrupt)])
    assert next(results).is_good
    with pytest.raises(KeyboardInterrupt):
        next(results)


@pytest.mark.parametrize("run", [Run(1, lost=1), Run(1, out_of_order=1), Run(1, late=1)])
def test_one_bad_prompt_makes_a_row_bad(run: Run) -> None:
    assert not result_of(GOOD, run).is_good


def test_a_row_without_a_run_is_not_good() -> None:
    assert not result_of().is_good


def test_runs_join_their_counts_and_keep_the_first_recovery() -> None:
    assert Run(716, 2, 1, 0, 2.0, "so it was") == GOOD + BAD


def test_cells_sum_the_runs_and_tell_the_recovery() -> None:
    cells = report.cells(result_of(GOOD, BAD, GOOD))
    assert cells == ("a fault", "fake", "3", "1074", "2", "1", "0", "2.0 / 4.0", "so it was")
    assert report.cells(result_of(Run(5)))[7] == ""


def test_markdown_and_table_show_every_row() -> None:
    results = [result_of(GOOD), result_of(BAD)]
    text = report.markdown(results)
    assert text.startswith("2 rows, 2 runs: 716 prompts, 2 lost, 1 out of order, 0 late; failed: ")
    assert "| a fault | fake | 1 | 358 | 0 | 0 | 0 | 2.0 / 2.0 | so it was |" in text
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.table(results))
    assert console.export_text().count("a fault") == 2


def test_json_holds_sums_and_runs() -> None:
    document = json.loads(report.to_json([result_of(GOOD, BAD)]))
    assert document["is_good"] is False
    (row,) = document["rows"]
    assert row["total"] == {"prompts": 716, "lost": 2, "out_of_order": 1, "late": 0}
    assert [run["recovery_s"] for run in row["runs"]] == [2.0, 4.0]


def test_good_rows_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "earlier.json"
    good, bad = Result("slow", "slow ×20", "fake", (GOOD,)), Result("trickle", "", "fake", (BAD,))
    # A process fault that was run once only, as --quick does it.
    once = Result("api-server-kill", "", "real", (GOOD,))
    file.write_text(report.to_json([good, bad, once]), encoding="utf-8")
    assert report.good_results(file) == [good, once]
    options = parse(["--resume", str(file)])
    assert options.earlier == [good]
    assert [row.name for row in options.rows] == [row.name for row in ROWS if row.name != "slow"]
    assert parse(["--runs", "1", "--resume", str(file)]).earlier == [good, once]


@pytest.mark.parametrize("text", ["", "{}", '{"rows": [{}]}', '{"rows": [1]}'])
def test_what_is_no_report_cannot_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "earlier.json"
    file.write_text(text)
    with pytest.raises(SystemExit, match="2"):
        parse(["--resume", str(file)])
    assert "holds no results of this program" in capsys.readouterr().err


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


def test_rows_are_chosen_by_name_by_engine_and_by_speed() -> None:
    assert choose([], is_quick=False) == list(ROWS)
    assert [row.name for row in choose(["slow", "trickle"], is_quick=False)] == ["slow", "trickle"]
    assert all(row.engine == "real" and row.is_quick for row in choose(["real"], is_quick=True))
    with pytest.raises(UnknownRow, match="no row is called nonsense"):
        choose(["nonsense"], is_quick=False)


def test_the_quick_matrix_has_one_run_of_each_row() -> None:
    assert parse(["--quick"]).runs == 1
    assert parse([]).runs == 3
    assert parse(["--quick", "--runs", "2"]).runs == 2


def test_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--only", "nonsense"])
    assert "no row is called nonsense: see --list" in capsys.readouterr().err


def test_list_names_every_row_and_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(row.name in out and row.fault in out for row in ROWS)


@pytest.mark.process
def test_results_are_written_and_told_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]
    assert main(["--only", "port-taken", *files]) == 0
    assert main(["--only", "port-taken", "--resume", files[1]]) == 0
    assert "port 8000 already taken" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["is_good"] is True
    assert "| port 8000 already taken | none | 1 |" in (tmp_path / "r.md").read_text()
