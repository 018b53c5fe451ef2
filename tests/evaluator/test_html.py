from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser

import msgspec
import pytest

from evaluator import html
from evaluator.report import Report
from evaluator.scoring import grade
from evaluator.uncertainty import bootstrap_mean
from tests.evaluator import sample_report
from tests.evaluator.sample_report import record, report

VOID = {"meta", "link", "input"}
ATTACKS = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"><svg onload=window.hacked=1>'",
    "line\u2028separator\u2029 {{ 7 * 7 }} <!-- ]]> </style></title>",
    "javascript:window.hacked=1",
)


class Page(HTMLParser):
    """What a browser would make of a page: its elements and the text of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.rows: list[dict[str, str]] = []
        self.csp = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.attributes += values.items()
        if tag == "li" and values.get("class") == "q":
            self.rows.append(values)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.csp = values["content"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self._open[-1:] == ["style"]:
            self.styles.append(data)
        else:
            self.text += data


def page(made: Report) -> Page:
    return Page(html.render(made))


def digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


@pytest.mark.parametrize("mode", ["batch", "single"])
def test_page_has_the_figures_and_every_question(mode: str) -> None:
    made = report(mode=mode)
    shown = page(made)
    assert made.official is not None
    assert f"{made.official.mean:.3f}" in shown.text
    assert made.grade in shown.text
    assert "sees only ASCII words" in shown.text
    assert len(shown.rows) == len(made.records)
    assert all(one.question in shown.text for one in made.records)
    assert ("seconds" in shown.text) == (mode == "single")


def test_worst_answers_come_first() -> None:
    rows = page(report()).rows
    scores = [(float(row["data-jieba"]), float(row["data-official"])) for row in rows]
    assert scores == sorted(scores)


def test_the_whole_text_of_an_answer_is_there() -> None:
    made = report([record("1", "q?", "the reference\n  text", "an answer\n\nof  <lines> & more")])
    text = page(made).text
    assert "an answer\n\nof  <lines> & more" in text
    assert "the reference\n  text" in text


def test_policy_allows_exactly_the_script_and_the_style_of_the_page() -> None:
    shown = page(report())
    assert len(shown.scripts) == len(shown.styles) == 1
    assert f"script-src 'sha256-{digest(shown.scripts[0])}'" in shown.csp
    assert f"style-src 'sha256-{digest(shown.styles[0])}'" in shown.csp
    assert shown.csp.startswith("default-src 'none'; ")
    assert "unsafe" not in shown.csp


def test_page_refers_to_nothing_outside_itself() -> None:
    shown = page(report(mode="single"))
    links = {value for name, value in shown.attributes if name in ("src", "href", "action")}
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\(", shown.styles[0])
    assert not re.search(r"fetch|XMLHttpRequest|import\(|innerHTML|eval", shown.scripts[0])
    assert not any(name == "style" or name.startswith("on") for name, _ in shown.attributes)


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_of_a_report_never_becomes_markup(attack: str) -> None:
    made = everywhere(attack)
    same_length = "x" * len(attack)
    harmless = page(everywhere(same_length))
    shown = page(made)
    assert shown.tags == harmless.tags
    assert {name for name, _ in shown.attributes} == {name for name, _ in harmless.attributes}
    assert shown.scripts == harmless.scripts
    assert shown.csp == harmless.csp
    assert shown.text.count(attack) == harmless.text.count(same_length)


def everywhere(text: str) -> Report:
    made = report([record(text, text, text, text, 0.1, text)], mode="single", name=text)
    speed = made.speed and msgspec.structs.replace(
        made.speed, tokens=5, tokens_per_s=5.0, tokens_source=text
    )
    phase = msgspec.structs.replace(made.phases[0], name=text, problem=text, seen={text: 1})
    return msgspec.structs.replace(
        made,
        url=text,
        track=text,
        question_set=text,
        mode=text,
        started_at=text,
        phases=(phase,),
        speed=speed,
        problems=(text,),
        warnings=(text,),
    )


def test_control_characters_are_shown_and_half_surrogates_can_be_written() -> None:
    made = report([record("1", "q", "", "a\x00b\x1b[31mc\ud800d\x7f")])
    assert "a␀b␛[31mc\ufffdd␡" in page(made).text
    assert html.render(made).encode("utf-8")


def test_a_failed_submission_says_why_and_shows_no_grade() -> None:
    shown = page(report(problems=("predict: took longer than 360 s",), warnings=("mind this",)))
    assert "The submission fails" in shown.text
    assert "predict: took longer than 360 s" in shown.text
    assert "mind this" in shown.text
    assert grade(0.9) not in shown.text


def test_a_run_without_records_has_a_page() -> None:
    shown = page(msgspec.structs.replace(report([], problems=("health: refused",)), phases=()))
    assert "not scored" in shown.text
    assert "not measured" in shown.text
    assert shown.rows == []


def test_tokens_are_shown_where_they_were_counted() -> None:
    made = report()
    assert made.speed is not None
    speed = msgspec.structs.replace(
        made.speed, tokens=5000, tokens_per_s=4321.0, tokens_source="engine metrics"
    )
    text = page(msgspec.structs.replace(made, speed=speed)).text
    assert "4,321" in text
    assert "engine metrics" in text
    assert "engine metrics" not in page(made).text


def test_references_that_the_official_score_cannot_see_are_counted() -> None:
    made = report(
        [record("1", "q", "线程束", "线程束"), record("2", "q", "一个 warp", "一个 warp")]
    )
    shown = page(made)
    assert "1 / 2" in shown.text
    assert "0.500" in shown.text
    assert shown.text.count("the official score is 0 whatever the answer") == 1
    assert "references have no ASCII word" not in page(report(made.records[1:])).text


def test_empty_answers_and_errors_are_told_apart() -> None:
    made = report([record("1", "q", "r", "", error="HTTP 500"), record("2", "q", "r", "")])
    shown = page(made)
    assert shown.text.count("no answer") == 1
    assert "HTTP 500" in shown.text
    assert all("data-bad" in row for row in shown.rows)
    assert shown.tags["del"] == 1, "only the legend's: a missing answer marks nothing"


def test_a_runaway_answer_is_cut_and_says_so() -> None:
    text = html.render(report([record("1", "q", "r", "again and " * 20_000)]))
    assert "192000 <span" in text
    assert len(text) < 100_000


def test_a_full_set_makes_a_page_under_a_megabyte() -> None:
    made = [one for seed in range(5) for one in sample_report.records("single", seed)][:358]
    assert len(made) == 358
    assert len(html.render(report(made, mode="single")).encode()) < 1_000_000


def test_marks_of_the_scale_are_where_grades_change() -> None:
    for mark in html.GRADE_MARKS:
        assert grade(mark) != grade(mark - 0.001)
    assert bootstrap_mean([0.5]).level == 0.95


def test_chinese_questions_ask_for_chinese_letter_forms() -> None:
    assert ("lang", "zh-CN") in page(report()).attributes
    english = page(report([record("1", "what?", "r", "a")]))
    assert ("lang", "zh-CN") not in english.attributes
