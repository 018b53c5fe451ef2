"""`python -m launcher status`, in a terminal and for scripts, with and without a gateway."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from rich.console import Console

from launcher import status
from launcher.__main__ import main
from launcher.ladder import Step
from launcher.settings import load_settings
from launcher.state import EngineState, Exit
from launcher.status_source import look
from launcher.status_view import duration, sparkline, view

REPOSITORY = Path(__file__).parents[2]
NOW = 1_800_000_000.0


def told(**changes: Any) -> dict[str, Any]:
    """Return what a gateway with a batch in flight tells."""
    return {
        "name": "evalgate",
        "time": NOW,
        "phase": "ready",
        "is_ready": True,
        "reason": "",
        "phase_since": NOW - 75,
        "engine_losses": 1,
        "engine": {
            "phase": "running",
            "message": "ready",
            "model_dir": "/models/qwen3-tuned",
            "accelerator": "MetaX C500",
            "versions": {"vllm": "0.10.2"},
            "rung": "eager",
            "ladder": [
                {"rung": "as configured", "reason": "no memory", "at": NOW - 9, "lived_s": 8}
            ],
            "last_exit": {"at": NOW - 8, "lived_s": 61, "reason": "exit code 1"},
            "log_lines": ["first line", "last \x1b]0;line\x07 [bold]"],
        },
        "memory": {"total_bytes": 8 * 2**30, "available_bytes": 2 * 2**30},
        "batches": {
            "in_flight": [
                {
                    "prompts": 358,
                    "blank": 2,
                    "whole": 89,
                    "under_way": 200,
                    "waiting": 67,
                    "deadline_at": NOW + 130,
                }
            ],
            "last": [
                {
                    "began_at": NOW - 60,
                    "prompts": 10,
                    "seconds": 2.5,
                    "is_cut": True,
                    "counts": {"whole": 9, "partial": 1, "failed": 0},
                    "error": "it broke",
                }
            ],
        },
        "rates": {"characters": [0, 50, 100], "tokens": [0, 0, 0]},
        "last_errors": [{"time": NOW - 5, "message": "the engine is lost"}],
        "start": {"began_at": NOW - 90, "budget_s": 170, "expected": {"weights": 4.0}},
        **changes,
    }


def drawn(document: dict[str, Any], **options: Any) -> str:
    console = Console(width=110, record=True, file=open(os.devnull, "w"), highlight=False)  # noqa: PTH123, SIM115
    with console.file:
        console.print(view(document, **options))
    return console.export_text()


class _Info(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/info" else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Info)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    _Info.body = json.dumps(told()).encode()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def state_file(folder: Path, **changes: Any) -> Path:
    path = folder / "engine.json"
    path.write_bytes(msgspec.json.encode(EngineState(**changes)))
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENGINE_STATE_FILE", str(tmp_path / "engine.json"))
    monkeypatch.setenv("GATEWAY_PORT", "9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def test_a_ready_gateway_is_exit_code_0(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--once", "--url", gateway + "/"]) == 0
    assert "qwen3-tuned" in capsys.readouterr().out


def test_one_that_is_not_ready_is_exit_code_1(
    gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _Info.body = json.dumps(told(is_ready=False, phase="lost", reason="refused")).encode()
    assert main(["status", "--url", gateway]) == 1, "not in a terminal: once"
    assert "refused" in capsys.readouterr().out


def test_json_is_what_was_told_and_by_whom(
    gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--json", "--url", gateway]) == 0
    assert json.loads(capsys.readouterr().out) == {"source": "gateway", **told()}


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"name": "another"}'])
def test_something_else_at_the_port_is_no_gateway(gateway: str, body: bytes) -> None:
    _Info.body = body
    assert look(gateway, load_settings({}))["source"] == "state file"


def test_without_a_gateway_the_state_file_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state_file(
        tmp_path,
        phase="starting",
        message="starting vllm 0.10.2",
        model_dir="/models/tuned",
        series_started_at=time.time() - 30,
        start_phases={"imports": 8.25},
        ladder=(Step("as configured", "no memory", 1.0, 9.0),),
        last_exit=Exit(1, None, 2.0, 9.0, "exit code 1"),
    )
    assert main(["status", "--once"]) == 1
    out = capsys.readouterr().out
    for text in (
        *("the gateway does not answer", "starting vllm 0.10.2", "tuned", "imports", "8.2 s"),
        *("left of 170 s", "start failed (as configured): no memory", "exit code 1"),
    ):
        assert text in out, text


def test_without_anything_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["source"], document["engine"]) == ("state file", None)
    assert "127.0.0.1:9" in document["gateway_error"]
    assert main(["status", "--once"]) == 1


def test_no_secret_of_the_state_file_is_shown(tmp_path: Path) -> None:
    state_file(tmp_path, log_lines=("key open-sesame", "token ms-1"), message="open-sesame")
    settings = load_settings(
        {
            "ENGINE_STATE_FILE": str(tmp_path / "engine.json"),
            "ENGINE_API_KEY": "open-sesame",
            "MODELSCOPE_API_TOKEN": "ms-1",
        }
    )
    document = look("http://127.0.0.1:9", settings)
    assert document["engine"]["log_lines"] == ["key ***", "token ***"]
    assert document["engine"]["message"] == "***"


@pytest.mark.parametrize("interval", ["0", "soon", "1e9"])
def test_an_interval_that_makes_no_sense_is_refused(interval: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["status", "--interval", interval])
    assert caught.value.code == 2


def test_everything_that_is_told_is_drawn() -> None:
    text = drawn(told())
    for part in (
        *("ready", "for 75 s", "qwen3-tuned", "vllm 0.10.2", "MetaX C500", "2.0 of 8.0 GiB free"),
        *("rung      eager", "losses    1", "89 of 356 whole", "200 under way", "67 waiting"),
        *("2 min 10 s to the deadline", "characters/s", "100, peak 100", "9 whole, 1 partial"),
        *("(cut by the deadline): it broke", "the engine is lost", "no memory", "exit code 1"),
        *("first line",),
    ):
        assert part in text, part
    assert "tokens/s" not in text, "there were none"
    assert "failed" not in text.replace("start failed", ""), "there were none"


def test_a_start_is_drawn_until_it_is_over() -> None:
    engine = {"phase": "starting", "message": "m", "start_phases": {"imports": 2.0, "weights": 5.0}}
    starting = told(is_ready=False, phase="starting", engine=engine, engine_losses=0)
    text = drawn(starting)
    assert "weights" in text
    assert "last time 4.0 s" in text
    assert "80 s left of 170 s" in text
    assert "over of 170 s" in drawn({**starting, "time": NOW + 100})
    assert "of 170 s" not in drawn({**starting, "time": NOW + 1000}), "it ended long ago"
    assert "weights" not in drawn(told(engine=engine))


def test_nothing_that_is_told_steers_the_terminal_or_is_markup() -> None:
    text = drawn(told(reason="\x1b[2J[red]", phase="\x07x"))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]" in text
    assert "[red]" in text


def test_the_log_takes_the_room_that_there_is() -> None:
    lines = [f"line {number}" for number in range(40)]
    document = told(engine={"phase": "running", "log_lines": lines})
    assert "line 37" not in drawn(document, log_lines=2)
    assert "line 38" in drawn(document, log_lines=2)
    assert "line" not in drawn(document, log_lines=0).replace("deadline", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 ms"), (0.25, "250 ms"), (9.94, "9.9 s"), (60, "60 s"), (130, "2 min 10 s"),
     (7260, "2 h 1 min")],
)  # fmt: skip
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_sparkline_has_a_block_for_whatever_is_there() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "


def run_in_terminal(arguments: Sequence[str], until: str) -> tuple[int, str]:
    """Run it in a terminal until it has drawn a text, then press Ctrl-C; exit code and output."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", "status", "--interval", "0.1", *arguments],
        cwd=REPOSITORY,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "110", "LINES": "50"},
    )
    os.close(follower)
    seen, is_asked, deadline = b"", False, time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            if not select.select([leader], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            seen += chunk
            if not is_asked and seen.count(until.encode()) >= 2:
                process.send_signal(signal.SIGINT)
                is_asked = True
        return process.wait(5), seen.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def test_in_a_terminal_it_follows_until_ctrl_c(gateway: str) -> None:
    code, seen = run_in_terminal(["--url", gateway], until="89 of 356 whole")
    assert code == 0
    assert "\x1b[?1049h" in seen, "a screen of its own, which is left again"
    assert "qwen3-tuned" in seen.rpartition("\x1b[?1049l")[2]
    assert "Traceback" not in seen


def test_settings_name_where_the_gateway_is(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", gateway.rpartition(":")[2])
    assert main(["status", "--once"]) == 0
    assert status.run.__doc__
