from __future__ import annotations

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from evaluator import terminal
from evaluator.report import PhaseReport, Report, Speed
from evaluator.service import LogTail
from tests.evaluator import sample_report


def shown(report: Report, width: int = 100) -> str:
    out = StringIO()
    terminal.show(report, Console(file=out, width=width))
    return out.getvalue()


def made_by_hand() -> Report:
    records = [
        sample_report.record("1", "什么是warp？", "warp 是 32 个 thread", "warp 是 32 个 thread"),
        sample_report.record("2", "什么是线程？", "执行的最小单位", "执行的最小单位"),
        sample_report.record("3", "bad\x1b[31m", "one two", "", error="status 500"),
        sample_report.record("4", "blank", "one two", ""),
    ]
    return sample_report.report(records)


def test_everything_that_counts_is_there() -> None:
    text = shown(made_by_hand())
    for part in (
        "track metax",
        "predict",
        "180",
        "360",
        "refused ×44, 503 ×17",
        "one POST with all questions",
        "official",
        "jieba",
        "0.2500",
        "0.5000",
        "95% interval",
        "The official score sees only ASCII words: Chinese characters do not count.",
        "1 of these 4 references have no ASCII word",
        "at most 0.750 can be reached here",
        "characters/s",
        "the evaluator calls them tokens",
        "Worst answers",
        "status 500",
        "empty",
        "VALID",
    ):
        assert part in text, part
    assert "real tokens" not in text


def test_problems_are_red_and_a_valid_run_is_green() -> None:
    def coloured(report: Report) -> str:
        out = StringIO()
        terminal.show(report, Console(file=out, width=100, force_terminal=True))
        return out.getvalue()

    assert "\x1b[1;32m│ VALID" in coloured(made_by_hand()).replace("\x1b[0m\x1b[1;32m", "")
    fails = sample_report.report([], problems=("health: not healthy within the limit",))
    text = coloured(fails)
    assert "THE SUBMISSION FAILS" in text
    assert "\x1b[1;31m" in text
    assert "VALID" not in text


def test_run_without_scores_shows_its_phases_and_problems() -> None:
    phase = PhaseReport(
        name="health", started_s=0, seconds=180, limit_s=180, problem="not healthy [red]"
    )
    report = msgspec.structs.replace(
        sample_report.report([], problems=("health: not healthy [red]",), warnings=("leak: 1",)),
        phases=(phase,),
        official=None,
        jieba=None,
        speed=None,
        mode="",
    )
    text = shown(report)
    assert text.count("not healthy [red]") == 2
    assert "! leak: 1" in text
    assert "Accuracy" not in text
    assert "Worst" not in text


def test_real_tokens_are_named_with_their_source() -> None:
    speed = Speed(
        characters=1000,
        post_s=2.0,
        characters_per_s=500.0,
        tokens=700,
        tokens_per_s=350.0,
        tokens_source="engine metrics",
    )
    report = msgspec.structs.replace(made_by_hand(), speed=speed)
    assert "350 real tokens/s  (700 tokens, by engine metrics)" in shown(report)


def test_run_without_a_worst_answer() -> None:
    records = [sample_report.record("1", "什么是warp？", "32 个 thread", "32 个 thread")]
    text = shown(sample_report.report(records))
    assert "Every answer has the words of its reference." in text
    assert "Worst" not in text


def test_labels_of_the_worst_answers_are_kept_at_80_columns() -> None:
    text = shown(sample_report.report(), 80)
    assert text.count("reference ") >= 5
    assert text.count("   answer ") >= 5


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = shown(sample_report.report(), width).splitlines()
    assert max(Console(width=width).measure(line).maximum for line in lines) <= width


@pytest.mark.parametrize(
    ("text", "length", "line"),
    [
        ("a\n  b\tc", None, "a b c"),
        ("\x1b[31mred\x07", None, "�[31mred�"),
        ("\ud800", None, "�"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
    ],
)
def test_plain(text: str, length: int | None, line: str) -> None:
    assert terminal.plain(text, length) == line


def test_log_is_shown_with_its_path() -> None:
    out = StringIO()
    terminal.show_log(LogTail(Path("run/a.log"), ("one", "[bold]two")), Console(file=out))
    assert "run/a.log" in out.getvalue()
    assert "[bold]two" in out.getvalue()
    out = StringIO()
    terminal.show_log(LogTail(Path("run/a.log"), ()), Console(file=out))
    assert "it printed nothing" in out.getvalue()
