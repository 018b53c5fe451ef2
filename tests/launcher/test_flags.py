"""Asking an engine for its arguments, with small modules in a real engine's place."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from launcher.flags import known_flags

SERVER = """
    import argparse, sys
    helper = argparse.ArgumentParser()
    helper.add_argument("--import-time")
    assert helper.parse_args([]).import_time is None  # as some libraries do
    print("noise on stdout")

    class Flexible(argparse.ArgumentParser):
        def parse_args(self, args=None, namespace=None):
            return super().parse_args(args, namespace)

    if __name__ == "__main__":
        with open(__file__ + ".count", "a") as count:
            count.write("x")
        parser = Flexible()
        parser.add_argument("--model")
        parser.add_argument("--port", "-p")
        parser.add_argument("--prefix-caching", action=argparse.BooleanOptionalAction)
        parser.parse_args()
        raise SystemExit("it must not get here")
"""
FLAGS = frozenset(
    {"-h", "--help", "--model", "--port", "-p", "--prefix-caching", "--no-prefix-caching"}
)


class Engine:
    def __init__(self, folder: Path, source: str = SERVER) -> None:
        self.module = folder / "fake_server.py"
        self.module.write_text(textwrap.dedent(source))
        self.cache = folder / "cache"
        self.environ = {**os.environ, "PYTHONPATH": str(folder)}

    async def ask(self, **options: object) -> frozenset[str] | None:
        return await known_flags(
            Path(sys.executable),
            "fake_server",
            environ=self.environ,
            cache_dir=self.cache,
            **{"fingerprint": "f", **options},  # type: ignore[arg-type]
        )

    @property
    def times_asked(self) -> int:
        return len(self.module.with_name("fake_server.py.count").read_text())


@pytest.mark.anyio
async def test_the_servers_parser_is_found_among_others(tmp_path: Path) -> None:
    assert await Engine(tmp_path).ask() == FLAGS


@pytest.mark.anyio
async def test_the_answer_is_kept_per_installation(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    assert await engine.ask() == await engine.ask()
    assert engine.times_asked == 1
    await engine.ask(fingerprint="g")
    assert engine.times_asked == 2
    await engine.ask(refresh=True)
    assert engine.times_asked == 3


@pytest.mark.anyio
@pytest.mark.parametrize("garbage", ["", "{", "[]", "[1]", '{"a": 1}'])
async def test_a_kept_answer_that_is_none_is_asked_for_again(tmp_path: Path, garbage: str) -> None:
    engine = Engine(tmp_path)
    engine.cache.mkdir()
    (engine.cache / "flags-f.json").write_text(garbage)
    assert await engine.ask() == FLAGS


@pytest.mark.anyio
async def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(tmp_path)
    engine.cache.write_text("not a folder")
    assert await engine.ask() == FLAGS
    assert "cannot keep what the engine told" in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise SystemExit('no driver')", "exit code 1: no driver"),
        ("raise RuntimeError('libcuda')", "exit code 1: RuntimeError: libcuda"),
        ("", "exit code 0: no output"),
        ("import time\ntime.sleep(60)", "no answer within 2 s"),
    ],
)
async def test_no_answer_is_told_with_the_reason_and_not_kept(
    tmp_path: Path, source: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(tmp_path, source)
    assert await engine.ask(timeout_s=2 if "sleep" in source else 60) is None
    assert reason in caplog.text
    assert not engine.cache.exists()


@pytest.mark.anyio
async def test_an_interpreter_that_cannot_be_run_is_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = await known_flags(
        tmp_path / "none", "m", environ={}, cache_dir=tmp_path, fingerprint="f"
    )
    assert flags is None
    assert "No such file or directory" in caplog.text
