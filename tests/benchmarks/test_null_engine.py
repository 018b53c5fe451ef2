"""The configuration of the null engine's nginx."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import null_answers
from benchmarks.null_engine import configuration, quoted


def test_configuration_writes_only_into_its_folder() -> None:
    text = configuration(Path("/somewhere/own"), 1001, 1002)

    kept = re.findall(r"^ *(?:\w+_temp_path|pid|error_log) (\S+?)[; ]", text, re.MULTILINE)
    assert len(kept) == 7
    assert all(path.startswith("/somewhere/own/") for path in kept)


def test_each_port_answers_in_its_form() -> None:
    text = configuration(Path("/somewhere"), 1001, 1002)

    whole, stream = text[text.index("server {") :].split("listen ")[1:]
    assert whole.startswith("127.0.0.1:1001 ")
    assert "application/json; return 200 " + quoted(null_answers.completion()) in whole
    assert stream.startswith("127.0.0.1:1002 ")
    assert "text/event-stream; return 200 " + quoted(null_answers.events()) in stream


def test_quoting_keeps_what_nginx_would_read_as_its_own() -> None:
    assert quoted("it's a \\n") == r"'it\'s a \\n'"


def test_dollar_sign_cannot_be_quoted() -> None:
    with pytest.raises(ValueError, match="variable"):
        quoted("5 $")
