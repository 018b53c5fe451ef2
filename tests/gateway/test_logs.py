import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.logs import LIFECYCLE, JsonFormatter, PlainFormatter, set_up


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """`set_up` changes the process's loggers; put back what was there."""
    loggers = [logging.getLogger(name) for name in (None, LIFECYCLE, "uvicorn.access")]
    before = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in loggers]
    yield
    for logger, handlers, level, disabled in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.disabled = disabled


def record(message: str = "predict", **attributes: Any) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "gateway.predict",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": message,
            "created": 1_700_000_000.1234,
            **attributes,
        }
    )


def json_line(line: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter().format(line)
    assert "\n" not in text
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def test_a_json_line_has_time_level_logger_and_message() -> None:
    assert json_line(record()) == {
        "time": 1_700_000_000.123,
        "level": "info",
        "logger": "gateway.predict",
        "message": "predict",
    }


def test_fields_stand_beside_the_message() -> None:
    line = json_line(record(fields={"prompts": 3, "exchanges": [("问", "答")]}))
    assert (line["message"], line["prompts"]) == ("predict", 3)
    assert line["exchanges"] == [["问", "答"]]
    assert "问" in JsonFormatter().format(record("问"))


def test_arguments_are_put_into_the_message() -> None:
    assert json_line(record("%s took %d s", args=("it", 3)))["message"] == "it took 3 s"


def test_what_json_cannot_hold_is_shown_as_text() -> None:
    assert json_line(record(fields={"error": ValueError("no\nroom")}))["error"] == "no\nroom"


def test_an_exception_brings_its_traceback_within_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        line = json_line(record(exc_info=sys.exc_info()))
    assert line["traceback"].startswith("Traceback (most recent call last)")
    assert line["traceback"].endswith("ValueError: broken")


def test_a_plain_line_has_time_in_utc_level_message_and_fields() -> None:
    line = PlainFormatter().format(record(fields={"request_id": "r-1", "prompts": 3}))
    assert line == "2023-11-14T22:13:20Z INFO    predict request_id=r-1 prompts=3"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", "'two words'"),
        ("two\nlines", "'two\\nlines'"),
        ("\x1b[31m", "'\\x1b[31m'"),
        ("", "''"),
        ("一词", "一词"),
        (None, "None"),
        (0.5, "0.5"),
    ],
)
def test_a_plain_field_is_quoted_where_it_could_be_misread(value: object, shown: str) -> None:
    line = PlainFormatter().format(record(fields={"key": value}))
    assert line.endswith(f"predict key={shown}")


def test_a_plain_line_without_fields_is_the_message() -> None:
    assert PlainFormatter().format(record("up")).endswith("INFO    up")


@pytest.mark.usefixtures("untouched_logging")
def test_all_lines_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json")
    logging.getLogger("gateway.predict").info("predict", extra={"fields": {"prompts": 2}})
    logging.getLogger("gateway.predict").debug("not shown")
    logging.getLogger("asyncio").warning("slow")
    written = capsys.readouterr()
    lines = [json.loads(line) for line in written.out.splitlines()]
    assert [line["message"] for line in lines] == ["predict", "slow"]
    assert lines[0]["prompts"] == 2
    assert written.err == ""


@pytest.mark.usefixtures("untouched_logging")
def test_the_life_cycle_goes_to_standard_error_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "plain")
    logging.getLogger(LIFECYCLE).info("engine ready")
    written = capsys.readouterr()
    assert written.out.endswith("INFO    engine ready\n")
    assert written.err == "gateway: engine ready\n"


@pytest.mark.usefixtures("untouched_logging")
def test_setting_up_again_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("debug", "plain")
    set_up("warning", "plain")
    logging.getLogger(LIFECYCLE).warning("engine lost")
    logging.getLogger(LIFECYCLE).info("not shown")
    written = capsys.readouterr()
    assert written.out.count("\n") == 1
    assert written.err == "gateway: engine lost\n"


@pytest.mark.usefixtures("untouched_logging")
def test_requests_are_not_logged_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("debug", "plain")
    logging.getLogger("uvicorn.access").info("GET /")
    assert capsys.readouterr().out == ""
