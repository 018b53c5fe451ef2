import argparse
import contextlib
import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from launcher import chat
from launcher.errors import LauncherError
from tests.fakes.running import FakeEngine
from tests.fakes.script import (
    EmptyChoices,
    Garbage,
    HalfStream,
    NullContent,
    Reasoning,
    Reset,
    Rule,
    Script,
    Status,
    Text,
)

POEM = "白日依山尽，\n黄河入海流。 the end"
# The first rule whose text is in the last user message applies.
RULES = (
    Rule(Text(POEM), "poem"),
    Rule(Status(400, "temperature must be non-negative"), "nested"),
    Rule(Status(503, "overloaded", style="flat"), "flat"),
    Rule(Status(502, "<html>\nbad gateway", style="raw"), "raw"),
    Rule(Status(500, "", style="raw"), "wordless"),
    Rule(Garbage("<html>not json</html>"), "garbage"),
    Rule(EmptyChoices(), "no choice"),
    Rule(NullContent(), "null"),
    Rule(Reasoning("hm, let me see", content="42"), "old thoughts"),
    Rule(Reasoning("hm, let me see", field="reasoning", content="42"), "new thoughts"),
    Rule(Reset("before"), "reset"),
    Rule(HalfStream(2, "reset"), "half"),
    Rule(HalfStream(2, "error"), "event"),
    Rule(HalfStream(2, "stall"), "stalls"),
    Rule(Text("fine"), ""),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine.start(Script(rules=RULES)) as running:
        yield running


@pytest.fixture(autouse=True)
def _proxy_from_hell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that would swallow every request to this machine, were it heeded."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy", "NO_COLOR", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(
    *words: str,
    engine_url: str = "http://127.0.0.1:1",
    gateway_url: str = "http://127.0.0.1:1",
    api_key: str | None = None,
) -> int:
    parser = argparse.ArgumentParser()
    chat.add_arguments(parser)
    return chat.run(
        parser.parse_args(words),
        engine_url=engine_url,
        model="evalgate",
        gateway_url=gateway_url,
        api_key=api_key,
    )


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


Output = pytest.CaptureFixture[str]
both_ways = pytest.mark.parametrize("flags", [(), ("--no-stream",)])


@both_ways
def test_one_prompt_is_answered_with_figures_beside(
    flags: Sequence[str], engine: FakeEngine, capsys: Output
) -> None:
    assert run("a poem please", *flags, engine_url=engine.url) == 0
    out, err = capsys.readouterr()
    assert out == POEM + "\n"
    words = len(POEM.split())
    assert f"3 prompt tokens, {words} completion tokens, " in err
    assert "tokens/s, finish reason stop" in err
    assert ("ttft" in err) is (not flags)
    assert "\x1b" not in err


@both_ways
def test_options_reach_the_engine(flags: Sequence[str], engine: FakeEngine) -> None:
    options = ("--system", "be brief", "--max-tokens", "3", "--temperature", "0.5")
    assert run("a poem", *flags, *options, engine_url=engine.url, api_key="a key") == 0
    stats = engine.read_stats()
    body = stats.last_body
    assert body["model"] == "evalgate"
    assert (body["max_tokens"], body["temperature"]) == (3, 0.5)
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a poem"},
    ]
    assert stats.last_headers["authorization"] == "Bearer a key"


def test_nothing_is_sent_that_was_not_asked_for(engine: FakeEngine) -> None:
    run("x", "--no-stream", engine_url=engine.url)
    stats = engine.read_stats()
    assert set(stats.last_body) <= {"model", "messages", "stream", "temperature"}
    assert stats.last_body["temperature"] == 0
    assert stats.last_headers["authorization"] == "Bearer none"


@both_ways
@pytest.mark.parametrize("prompt", ["old thoughts", "new thoughts"])
def test_thoughts_are_shown_beside_the_answer(
    prompt: str, flags: Sequence[str], engine: FakeEngine, capsys: Output
) -> None:
    assert run(prompt, *flags, engine_url=engine.url) == 0
    out, err = capsys.readouterr()
    assert out == "42\n"
    assert "hm, let me see" in err


def test_an_empty_answer_is_no_failure(engine: FakeEngine, capsys: Output) -> None:
    assert run("null", "--no-stream", engine_url=engine.url) == 0
    assert capsys.readouterr().out == ""


def test_a_dash_reads_the_prompt_from_stdin(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    type_in(monkeypatch, "a poem\nof 两行 \xff".encode("latin-1", "replace"))
    assert run("-", engine_url=engine.url) == 0
    assert capsys.readouterr().out == POEM + "\n"
    assert engine.read_stats().last_body["messages"][0]["content"] == "a poem\nof ?? �"


def test_a_dash_without_a_prompt_on_stdin_is_said(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, b" \n")
    with pytest.raises(LauncherError, match="no prompt on standard input"):
        run("-", engine_url=engine.url)


def test_an_argument_that_is_not_utf8_is_sent_all_the_same(engine: FakeEngine) -> None:
    """A surrogate, as Python makes of such bytes, cannot be encoded."""
    assert run("x \udcff", engine_url=engine.url) == 0
    assert engine.read_stats().last_body["messages"][0]["content"] == "x ?"


def test_an_engine_that_is_not_up_is_one_line_with_what_to_do() -> None:
    with pytest.raises(LauncherError) as failure:
        run("hello")
    assert str(failure.value) == (
        "engine does not answer on http://127.0.0.1:1: is it still starting? "
        "see supervisorctl -c supervisord.conf status"
    )
    assert failure.value.exit_code == 1


@both_ways
@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("nested", "engine answered 400: temperature must be non-negative"),
        ("flat", "engine answered 503: overloaded"),
        ("raw", "engine answered 502: <html>"),
        ("wordless", "engine answered 500: nothing"),
        ("no choice", "ended its answer without saying why"),
        ("reset", "engine does not answer on"),
    ],
)
def test_an_engine_s_failure_is_one_line(
    prompt: str, message: str, flags: Sequence[str], engine: FakeEngine
) -> None:
    with pytest.raises(LauncherError) as failure:
        run(prompt, *flags, engine_url=engine.url)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


@both_ways
def test_a_body_that_is_not_json_is_said(flags: Sequence[str], engine: FakeEngine) -> None:
    with pytest.raises(LauncherError, match="does not speak like an engine: Expecting value"):
        run("garbage", *flags, engine_url=engine.url)


def test_a_page_of_some_other_server_is_said() -> None:
    with (
        FixedAnswer(200, "<html>\nwelcome") as server,
        pytest.raises(LauncherError, match="does not speak like an engine: <html>$"),
    ):
        run("x", "--no-stream", engine_url=server.url)


def test_figures_that_the_engine_does_not_tell_are_left_out(capsys: Output) -> None:
    piece = {"index": 0, "delta": {"content": "hi"}, "finish_reason": "length"}
    event = json.dumps({"choices": [piece]})
    with FixedAnswer(200, f"data: {event}\n\ndata: [DONE]\n\n") as server:
        assert run("x", engine_url=server.url) == 0
    out, err = capsys.readouterr()
    assert out == "hi\n"
    assert "tokens" not in err
    assert "finish reason length" in err


def test_what_came_before_a_stream_broke_is_shown(engine: FakeEngine, capsys: Output) -> None:
    with pytest.raises(LauncherError, match="engine broke off its answer"):
        run("half", engine_url=engine.url)
    assert capsys.readouterr().out.startswith("answer ")


def test_an_error_event_in_a_stream_is_told(engine: FakeEngine) -> None:
    with pytest.raises(LauncherError, match="engine failed: "):
        run("event", engine_url=engine.url)


def test_a_session_remembers_until_it_is_cleared(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    type_in(monkeypatch, b"one\ntwo poems\n/clear\nthree\n\nnever asked\n")
    engine.ask("POST", "reset_stats")
    assert run("--system", "S", engine_url=engine.url) == 0
    assert capsys.readouterr().out == f"fine\n{POEM}\nfine\n"
    stats = engine.read_stats()
    assert list(stats.by_prompt) == ["one", "two poems", "three"]
    assert contents(stats.last_body) == ["S", "three"]


def test_a_session_goes_on_after_a_failure_and_forgets_what_failed(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    type_in(monkeypatch, b"one\nnested\ntwo\n")
    assert run(engine_url=engine.url) == 0
    out, err = capsys.readouterr()
    assert out == "fine\nfine\n\n"  # the last one ends the line of Ctrl-D
    assert "engine answered 400: temperature must be non-negative" in err
    assert contents(engine.read_stats().last_body) == ["one", "fine", "two"]


def contents(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]]


PROGRAM = """
import argparse, fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from launcher import chat
parser = argparse.ArgumentParser()
chat.add_arguments(parser)
sys.exit(chat.run(parser.parse_args(sys.argv[2:]), engine_url=sys.argv[1], model="evalgate",
    gateway_url="http://127.0.0.1:1", api_key=None))
"""


class Terminal:
    """`launcher chat` as a program on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._fd, child_fd = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=Path(__file__).parents[2],
            stdin=child_fd,
            stdout=child_fd,
            stderr=child_fd,
            start_new_session=True,
        )
        os.close(child_fd)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def stop(self, told: str) -> None:
        """Press Ctrl-C, again if need be, until `told` has appeared.

        A signal between Python's last look and the system call that then waits is not seen.
        """
        for _ in range(4):
            self.type("\x03")
            with contextlib.suppress(TimeoutError):
                return self.wait_for(told, 5.0)
        raise TimeoutError(f"no {told!r} in {self.seen!r}")

    def interrupt(self) -> int:
        """Press Ctrl-C, again if need be, until the program ends; return its exit code."""
        for _ in range(3):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(5.0)
        return self.wait()

    def wait_for(self, text: str, deadline_s: float = 20.0) -> None:
        """Block until `text` has appeared after what was waited for before."""
        deadline = time.monotonic() + deadline_s
        while text not in self.seen:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._fd], [], [], left_s)[0]:
                raise TimeoutError(f"no {text!r} in {self.seen!r}")
            self.seen += os.read(self._fd, 4096).decode("utf-8", "replace")
        self.seen = self.seen.partition(text)[2]

    def wait(self, deadline_s: float = 20.0) -> int:
        """Read to the program's end; return its exit code."""
        deadline = time.monotonic() + deadline_s
        with contextlib.suppress(OSError):  # EIO: the other side is gone
            while select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                if not os.read(self._fd, 4096):
                    break
        return self._process.wait(1)

    def end(self) -> int:
        """Press Ctrl-D until the program has ended; return its exit code.

        A line editor that shows its prompt and then sets the terminal up loses what comes between.
        """
        for _ in range(20):
            self.type("\x04")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(1.0)
        raise TimeoutError("Ctrl-D did not end it")

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


def test_ctrl_c_stops_the_answer_and_not_the_session(engine: FakeEngine) -> None:
    with Terminal(engine.url) as terminal:
        terminal.wait_for(chat.HELP)
        terminal.wait_for("> ")
        terminal.type("this stalls\n")
        terminal.wait_for("answer ")
        terminal.stop("\x1b[2mstopped\x1b[0m")
        terminal.wait_for("> ")
        terminal.type("a poem\n")
        terminal.wait_for("黄河入海流")
        terminal.wait_for("> ")
        assert terminal.end() == 0
    # The engine is told what had come of the stopped answer.
    question, stopped, next_question = contents(engine.read_stats().last_body)
    assert (question, next_question) == ("this stalls", "a poem")
    assert stopped.startswith("answer ")


def test_ctrl_c_ends_a_single_question(engine: FakeEngine) -> None:
    with Terminal(engine.url, "this stalls") as terminal:
        terminal.wait_for("answer ")
        assert terminal.interrupt() == chat.INTERRUPTED


class FixedAnswer:
    """A server that gives one answer to every POST."""

    def __init__(self, status: int, body: str) -> None:
        received: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(data)))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FixedAnswer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_gateway_shows_what_is_sent_and_returned(capsys: Output) -> None:
    with FixedAnswer(200, '{"response": "并行\\n计算"}') as gateway:
        options = ("--max-tokens", "7", "--temperature", "0")
        assert run("问", "--gateway", *options, gateway_url=gateway.url) == 0
    sent = {"prompt": "问", "max_new_tokens": 7, "temperature": 0.0}
    assert gateway.received == [("/predict", sent)]
    out, err = capsys.readouterr()
    assert out == "并行\n计算\n"
    first, second = err.splitlines()
    assert first == f"POST {gateway.url}/predict {json.dumps(sent, ensure_ascii=False)}"
    assert second.startswith("200, ")
    assert second.endswith(" ms")


def test_gateway_session_asks_prompt_after_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b"one\n/clear\ntwo\n")
    with FixedAnswer(200, '{"response": "x"}') as gateway:
        assert run("--gateway", gateway_url=gateway.url) == 0
    assert [body for _, body in gateway.received] == [{"prompt": "one"}, {"prompt": "two"}]


def test_gateway_answer_of_another_shape_is_shown_as_it_is(capsys: Output) -> None:
    with FixedAnswer(200, '["x"]') as gateway:
        assert run("p", "--gateway", gateway_url=gateway.url) == 0
    assert capsys.readouterr().out == '["x"]\n'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": {"type": "InvalidRequest", "message": "no prompt"}}', "no prompt"),
        ("plain words\nand more", "plain words"),
        ("", "nothing"),
    ],
)
def test_gateway_error_is_one_line(body: str, message: str) -> None:
    with FixedAnswer(400, body) as gateway, pytest.raises(LauncherError) as failure:
        run("p", "--gateway", gateway_url=gateway.url)
    assert str(failure.value) == f"gateway answered 400: {message}"


def test_gateway_that_is_not_up_is_one_line() -> None:
    with pytest.raises(LauncherError, match="gateway does not answer on http://127.0.0.1:1: "):
        run("p", "--gateway")
