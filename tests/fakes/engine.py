"""The fake engine as a program: `python -m tests.fakes.engine --port 0 --script-json '{…}'`.

Owns the process: arguments, socket, signals, children. Ignores arguments that it does not know, so
that it can be started in a real engine's place.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.fakes.faults import leave
from tests.fakes.script import Script
from tests.fakes.script_json import BadScript, from_json
from tests.fakes.server import Engine
from tests.fakes.wire import Connection

BACKLOG = 4096
CHILD_LIFE_S = 3600  # a forgotten child ends by itself


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the known arguments; those of a real engine that matter here are honoured."""
    parser = argparse.ArgumentParser(prog="tests.fakes.engine", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--served-model-name")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--script", type=Path, help="a JSON file")
    parser.add_argument("--script-json", help="the same, inline")
    parser.add_argument("--port-file", type=Path, help="gets the port once it can be used")
    parser.add_argument("--children", type=int, default=0, help="idle processes in the same group")
    parser.add_argument("--crash-after", type=float, metavar="S")
    parser.add_argument("--crash-code", type=int, default=1)
    parser.add_argument("--crash-message", default="fake engine: crashed as told")
    parser.add_argument("--until-stdin-closes", action="store_true")
    return parser.parse_known_args(argv)[0]


def read_script(arguments: argparse.Namespace) -> Script:
    """Return the script that the arguments give; none: the default."""
    if arguments.script is not None:
        return from_json(arguments.script.read_bytes())
    if arguments.script_json is not None:
        return from_json(arguments.script_json)
    return Script()


def raise_file_limit() -> None:
    """Allow as many connections as the hard limit does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start_children(count: int, *, ignore_sigterm: bool) -> list[subprocess.Popen[bytes]]:
    """Start processes that outlive this one; a signal ignored here is ignored by them too."""
    if ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return [subprocess.Popen(["sleep", str(CHILD_LIFE_S)]) for _ in range(count)]


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has its port but refuses connections still."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def write_port(path: Path | None, port: int) -> None:
    """Write the port so that a reader sees all of it or no file."""
    if path is not None:
        draft = path.with_suffix(".draft")
        draft.write_text(str(port))
        draft.replace(path)


def crash(code: int, message: str) -> None:
    """Say why and end, leaving the children behind."""
    print(message, file=sys.stderr, flush=True)
    leave(code)


def arm(engine: Engine, arguments: argparse.Namespace, stopped: asyncio.Event) -> None:
    """Set what ends the program: SIGTERM, a scripted crash, a closed stdin."""
    loop = asyncio.get_running_loop()

    def terminate() -> None:
        if not engine.script.ignore_sigterm:
            stopped.set()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, terminate)
    if arguments.crash_after is not None:
        loop.call_later(arguments.crash_after, crash, arguments.crash_code, arguments.crash_message)
    if arguments.until_stdin_closes:
        loop.add_reader(sys.stdin, stopped.set)


async def run(engine: Engine, arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    stopped = asyncio.Event()
    arm(engine, arguments, stopped)
    listener = bind(arguments.host, arguments.port)
    port = listener.getsockname()[1]
    is_refusing = engine.script.startup == "refused"
    if is_refusing:
        write_port(arguments.port_file, port)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopped.wait(), engine.script.startup_s)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(engine.handle, engine.connection_closed),
        sock=listener,
        backlog=BACKLOG,
    )
    if not is_refusing:
        write_port(arguments.port_file, port)
    print(f"fake engine: http://{arguments.host}:{port} pid {engine.stats.pid}", flush=True)
    await stopped.wait()
    server.close()


async def serve(script: Script, arguments: argparse.Namespace, argv: list[str]) -> None:
    """Run one engine and its children."""
    children = start_children(arguments.children, ignore_sigterm=script.ignore_sigterm)
    engine = Engine(
        script, model=arguments.served_model_name, max_model_len=arguments.max_model_len
    )
    engine.stats.argv = argv
    engine.stats.children = [child.pid for child in children]
    try:
        await run(engine, arguments)
    finally:
        for child in children:
            child.kill()
            child.wait()


def main(argv: list[str]) -> int:
    """Run the program; returns the exit code."""
    arguments = parse_arguments(argv)
    try:
        script = read_script(arguments)
    except BadScript as exc:
        print(f"fake engine: {exc}", file=sys.stderr)
        return 2
    raise_file_limit()
    asyncio.run(serve(script, arguments, argv))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
