"""The report's page as a person meets it: drawn, filtered, in the dark, on a phone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from evaluator.report import Report
from tests.browser.conftest import Open
from tests.evaluator.sample_report import record, report
from tests.evaluator.test_html import ATTACKS, everywhere

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Every drawn shape with its place and the colour it is filled with.
SHAPES = """id => [...document.querySelectorAll(`#${id} rect, #${id} circle`)].map(shape => {
    const box = shape.getBoundingClientRect();
    return [box.width, box.height, box.left, box.right, getComputedStyle(shape).fill];
})"""


@pytest.fixture(scope="module")
def single() -> Report:
    return report(mode="single")


def visible(page: Page) -> list[str]:
    ids: list[str] = page.eval_on_selector_all(
        "#list > li", "rows => rows.filter(row => row.offsetHeight).map(row => row.id)"
    )
    return ids


def jieba_scores(page: Page) -> list[float]:
    scores: list[float] = page.eval_on_selector_all(
        "#list > li", "rows => rows.map(row => Number(row.dataset.jieba))"
    )
    return scores


def test_page_loads_nothing_and_complains_of_nothing(open_report: Open, single: Report) -> None:
    opened = open_report(single)
    opened.page.fill("#search", "warp")
    opened.page.click("#reset")
    opened.page.wait_for_load_state("networkidle")
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.url]
    assert opened.complaints == []


@pytest.mark.parametrize("plot", ["distribution", "lengths", "latency", "timeline"])
def test_plots_are_drawn(open_report: Open, single: Report, plot: str) -> None:
    page = open_report(single).page
    frame = page.locator(f"#{plot}").bounding_box()
    shapes = page.evaluate(SHAPES, plot)
    assert frame is not None
    assert len(shapes) >= (9 if plot == "timeline" else 10)
    assert len({shape[2] for shape in shapes}) >= 3, "they stand in different places"
    for width, height, left, right, fill in shapes:
        assert width > 0
        assert height > 0
        assert frame["x"] - 1 <= left
        assert right <= frame["x"] + frame["width"] + 1
        assert fill not in ("none", "rgb(0, 0, 0)"), "the style sheet gives every shape a colour"


def test_both_scores_of_every_answer_are_in_the_plot(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    assert page.locator("#lengths a").count() == 2 * len(single.records)
    assert page.locator("#latency a").count() == len(single.records)


def test_labels_of_axes_do_not_overlap(open_report: Open, single: Report) -> None:
    page = open_report(single, **PHONE).page
    for axes in (".scale", "#distribution", "#lengths", "#latency", ".axis-row"):
        boxes = [
            box
            for label in page.locator(f"{axes} >> nth=0").locator("text.num").all()
            if label.text_content() and (box := label.bounding_box())
        ]
        assert len(boxes) >= 4
        for one in boxes:
            for other in boxes:
                assert one is other or not _overlap(one, other), f"{axes}: {one} and {other}"


def _overlap(one: object, other: object) -> bool:
    a, b = dict(one), dict(other)  # type: ignore[call-overload]
    return bool(
        a["x"] < b["x"] + b["width"]
        and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"]
        and b["y"] < a["y"] + a["height"]
    )


def test_worst_answers_come_first(open_report: Open, single: Report) -> None:
    scores = jieba_scores(open_report(single).page)
    assert len(scores) == len(single.records)
    assert scores == sorted(scores)


def test_search_narrows_and_reset_restores(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    everything = visible(page)
    page.fill("#search", "WARP 调度")
    some = visible(page)
    assert 0 < len(some) < len(everything)
    for identity in some:
        text = (page.locator(f"#{identity}").text_content() or "").lower()
        assert "warp" in text
        assert "调度" in text
    expect(page.locator("#count")).to_have_text(f"{len(some)} / {len(everything)}")
    page.click("#reset")
    assert visible(page) == everything
    expect(page.locator("#search")).to_have_value("")


def test_search_without_a_match_says_so(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    expect(page.locator("#nothing")).to_be_hidden()
    page.fill("#search", "no such words anywhere")
    assert visible(page) == []
    expect(page.locator("#nothing")).to_be_visible()


def test_only_errors_and_empty_answers(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    bad = {f"q{at}" for at, one in enumerate(single.records) if one.error or not one.answer}
    page.check("#only-bad")
    assert set(visible(page)) == bad
    assert bad


def test_score_range_of_either_score(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    page.fill("#from", "0.3")
    page.fill("#to", "0.8")
    by_jieba = {f"q{at}" for at, one in enumerate(single.records) if 0.3 <= one.jieba <= 0.8}
    assert set(visible(page)) == by_jieba
    page.select_option("#measure", "official")
    by_official = {f"q{at}" for at, one in enumerate(single.records) if 0.3 <= one.official <= 0.8}
    assert set(visible(page)) == by_official
    page.fill("#from", "")
    assert len(visible(page)) > len(by_official)


@pytest.mark.parametrize(
    ("order", "name", "sign"),
    [
        ("jieba", "jieba", 1),
        ("official", "official", 1),
        ("best", "jieba", -1),
        ("position", "position", 1),
        ("length", "length", -1),
        ("latency", "latency", -1),
    ],
)
def test_orders(open_report: Open, single: Report, order: str, name: str, sign: int) -> None:
    page = open_report(single).page
    page.select_option("#sort", "position" if order != "position" else "length")
    page.select_option("#sort", order)
    values = page.eval_on_selector_all(
        "#list > li", "(rows, name) => rows.map(row => Number(row.dataset[name]))", name
    )
    assert len(set(values)) > 1
    assert all(sign * one <= sign * other for one, other in pairwise(values))


def test_a_point_leads_to_its_question_also_when_it_is_hidden(
    open_report: Open, single: Report
) -> None:
    page = open_report(single).page
    page.fill("#search", "no such words anywhere")
    page.locator("#latency a").first.dispatch_event("click")
    row = page.locator("#q0")
    expect(row).to_be_in_viewport()
    expect(row.locator("details")).to_have_attribute("open", "")


def test_an_address_leads_to_its_question(open_report: Open, single: Report) -> None:
    page = open_report(single, "#q40").page
    expect(page.locator("#q40 .pair")).to_be_visible()
    expect(page.locator("#q40")).to_be_in_viewport()


def test_everything_opens_and_closes(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    page.click("#unfold")
    assert page.locator("details:not([open])").count() == 0
    page.click("#fold")
    assert page.locator("details[open]").count() == 0


def test_keyboard_alone_reaches_search_and_questions(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("warp/")
    expect(page.locator("#search")).to_have_value("warp/")
    page.click("#reset")
    summary = page.locator("#list summary").nth(5)
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#list details").nth(5)).to_have_attribute("open", "")


def test_every_control_has_a_name(open_report: Open, single: Report) -> None:
    page = open_report(single).page
    nameless = page.eval_on_selector_all(
        "input, select, button",
        """all => all.filter(one => !(one.getAttribute("aria-label") || one.textContent.trim()
            && one.matches("button") || one.labels?.length)).map(one => one.id)""",
    )
    assert nameless == []


def test_differences_are_marked_on_both_sides(open_report: Open) -> None:
    made = report([record("1", "q", "用 block 编号乘以大小", "用 block 编号加上大小")])
    page = open_report(made).page
    assert page.locator("#q0 del").all_text_contents() == ["乘以"]
    assert page.locator("#q0 ins").all_text_contents() == ["加上"]
    background = page.locator("#q0 del").evaluate("mark => getComputedStyle(mark).backgroundColor")
    assert background != "rgba(0, 0, 0, 0)"


def test_dark_mode_changes_colours(open_report: Open, single: Report) -> None:
    colours = "[...document.querySelectorAll('body, .card, #distribution rect')].map(one => " + (
        "[getComputedStyle(one).backgroundColor, getComputedStyle(one).fill])"
    )
    light = open_report(single, color_scheme="light").page.evaluate(colours)
    dark = open_report(single, color_scheme="dark").page.evaluate(colours)
    assert len(light) == len(dark)
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert light[-1] != dark[-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(
    open_report: Open, single: Report, scheme: str
) -> None:
    """WCAG 2 AA asks for a contrast of 4.5 between text and what is behind it."""
    page = open_report(single, color_scheme=scheme).page
    page.click("#unfold")
    assert page.evaluate(LOW_CONTRAST) == []


LOW_CONTRAST = """() => {
    const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const part = (value) =>
        value <= 10.31475 ? value / 3294.6 : ((value / 255 + .055) / 1.055) ** 2.4;
    const light = (colour) => {
        const [r, g, b] = rgb(colour).map(part);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        return (rgb(colour)[3] ?? 1) > 0 || !one.parentElement ? colour : behind(one.parentElement);
    };
    const low = new Set();
    for (const one of document.querySelectorAll("body *:not(svg *):not(script)")) {
        if (![...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
        const [text, back] = [light(getComputedStyle(one).color), light(behind(one))];
        const contrast = (Math.max(text, back) + .05) / (Math.min(text, back) + .05);
        if (contrast < 4.5) low.add(`${one.tagName}.${one.className} ${contrast.toFixed(2)}`);
    }
    return [...low];
}"""


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_overflows_sideways(open_report: Open, single: Report, width: int) -> None:
    wide = "x" * 300 + " https://example.org/" + "y" * 300
    made = report([*single.records, record(wide, wide, wide, wide, 0.1, wide)], mode="single")
    options = {**PHONE, "viewport": {"width": width, "height": 740}}
    page = open_report(made, **options).page
    page.click("#unfold")
    assert page.evaluate(OVERFLOW) == 0


def test_no_name_overflows_sideways(open_report: Open) -> None:
    page = open_report(everywhere("z" * 500), **PHONE).page
    assert page.evaluate(OVERFLOW) == 0


def test_labels_follow_the_language_of_the_browser_and_the_button(
    open_report: Open, single: Report
) -> None:
    opened = open_report(single, locale="zh-CN")
    page = opened.page
    expect(page.locator("#questions-title")).to_have_text("问题（最差的在前）")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#search")).to_have_attribute("placeholder", "问题、参考答案、答案")
    page.click("#language")
    expect(page.locator("#questions-title")).to_have_text("Questions, worst answers first")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.click("#language")
    expect(page.locator("#questions-title")).to_have_text("问题（最差的在前）")
    assert opened.complaints == []


def test_page_reads_without_javascript(open_report: Open, single: Report) -> None:
    page = open_report(single, java_script_enabled=False).page
    expect(page.locator("#controls")).to_be_hidden()
    expect(page.locator("#list > li")).to_have_count(len(single.records))
    page.locator("#list summary").nth(10).click()
    expect(page.locator("#list .pair").nth(10)).to_be_visible()


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_of_a_report_runs(open_report: Open, attack: str) -> None:
    opened = open_report(everywhere(attack))
    opened.page.fill("#search", attack)
    opened.page.click("#unfold")
    opened.page.wait_for_load_state("networkidle")
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("main img, main script").count() == 0
    assert attack in (opened.page.locator("#q0 .prose").last.text_content() or "")
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.url]
    assert opened.complaints == []


def test_the_policy_stops_a_script_that_is_not_the_pages(open_report: Open) -> None:
    """The second wall: even markup that gets through neither runs nor loads."""
    opened = open_report(report())
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=https://example.org/x>");
        }"""
    )
    opened.page.wait_for_load_state("networkidle")
    assert opened.page.evaluate("window.hacked") is None
    assert len([text for text in opened.complaints if "Content Security Policy" in text]) == 2


def test_a_run_without_answers_is_shown(open_report: Open) -> None:
    opened = open_report(report([], problems=("health: nothing listens",)))
    expect(opened.page.locator(".verdict")).to_contain_text("health: nothing listens")
    expect(opened.page.locator("#list")).to_have_count(0)
    assert opened.complaints == []
