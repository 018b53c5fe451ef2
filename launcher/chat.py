"""`launcher chat`: ask the running engine, or the gateway in front of it, by hand.

A client of servers that are there already: it starts nothing and reads no settings. The openai
package is imported when it is first needed; the launcher's other commands do without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from launcher.errors import LauncherError
from launcher.talk import EngineTalk, GatewayTalk, note

INTERRUPTED = 130  # what a shell reports for Ctrl-C
HELP = "An empty line or Ctrl-D ends, /clear starts over, Ctrl-C stops an answer."

Talk = EngineTalk | GatewayTalk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `launcher chat` takes."""
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        help="what to ask; - reads it from standard input; without it, an interactive session",
    )
    parser.add_argument("--system", metavar="TEXT", help="a system prompt (not for --gateway)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the answer's longest length")
    parser.add_argument("--temperature", type=float, metavar="T", help="0, the default, is greedy")
    parser.add_argument("--no-stream", action="store_true", help="the answer at once, when whole")
    parser.add_argument(
        "--gateway",
        action="store_true",
        help="post to the gateway's /predict instead, as an evaluator does",
    )


def run(
    args: argparse.Namespace,
    *,
    engine_url: str,
    model: str,
    gateway_url: str,
    api_key: str | None,
) -> int:
    """Answer one prompt, or hold a session; returns the exit code.

    The URLs are the servers' bases, without a path. Answers go to stdout, all else to stderr.
    Raises LauncherError, in one line, when one prompt cannot be answered; a session goes on.
    """
    with _talk_to(args, engine_url, model, gateway_url, api_key) as talk:
        if args.prompt is None:
            return _hold_session(talk)
        try:
            talk.ask(_clean(_read_stdin() if args.prompt == "-" else args.prompt))
        except KeyboardInterrupt:
            return INTERRUPTED
        return 0


@contextmanager
def _talk_to(
    args: argparse.Namespace, engine_url: str, model: str, gateway_url: str, api_key: str | None
) -> Iterator[Talk]:
    if args.gateway:
        options = {"max_new_tokens": args.max_tokens, "temperature": args.temperature}
        yield GatewayTalk(gateway_url, _present(options))
        return
    import openai

    # No proxy and no second try: the engine is on this machine, and its state is what is asked.
    with openai.OpenAI(
        base_url=f"{engine_url}/v1",
        api_key=api_key or "none",  # the package wants one; the engine, unless told, does not
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:
        system = [{"role": "system", "content": args.system}] if args.system else []
        # Greedy unless told otherwise, as the gateway is: an engine would ask the model's files.
        temperature = 0.0 if args.temperature is None else args.temperature
        options = {"max_tokens": args.max_tokens, "temperature": temperature}
        is_stream = not args.no_stream
        yield EngineTalk(client, engine_url, model, system, _present(options), is_stream)


def _hold_session(talk: Talk) -> int:
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if is_terminal:
        import readline  # noqa: F401  (gives input() its line editing)

        note(HELP)
    while True:
        try:
            line = input("> " if is_terminal else "").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        if not line:
            return 0
        if line == "/clear":
            talk.clear()
            continue
        try:
            talk.ask(_clean(line))
        except KeyboardInterrupt:
            note("stopped")
        except LauncherError as exc:
            print(exc, file=sys.stderr)


def _read_stdin() -> str:
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    if not prompt:
        raise LauncherError("there is no prompt on standard input")
    return prompt


def _clean(prompt: str) -> str:
    """Replace what came in as bytes that are not UTF-8 and cannot go out as JSON."""
    return prompt.encode("utf-8", "replace").decode()


def _present(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
