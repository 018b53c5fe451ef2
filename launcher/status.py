"""`python -m launcher status`: what the service is doing, once or live.

Exit code 0: ready; 1: not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live

from launcher.settings import LauncherSettings
from launcher.status_source import look
from launcher.status_view import view

# What the parts above the log take of a terminal, about.
_LINES_ABOVE_LOG = 26


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `launcher status` takes."""
    parser.add_argument("--once", action="store_true", help="print it once, do not follow")
    parser.add_argument("--json", action="store_true", help="print it once, as JSON")
    parser.add_argument("--url", metavar="URL", help="the gateway's; default: this machine's")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="S", help="seconds between two looks"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be in [0.1, 3600]")
    return seconds


def run(args: argparse.Namespace, settings: LauncherSettings) -> int:
    """Show the status; live in a terminal, until Ctrl-C. Returns the exit code."""
    url = (args.url or f"http://127.0.0.1:{settings.gateway_port}").rstrip("/")
    told = look(url, settings)
    if args.json:
        print(json.dumps(told, indent=2))
    elif args.once or not sys.stdout.isatty():
        Console(highlight=False).print(view(told))
    else:
        told = _follow(url, settings, args.interval, told)
    return 0 if told["is_ready"] else 1


def _follow(
    url: str, settings: LauncherSettings, interval_s: float, told: dict[str, Any]
) -> dict[str, Any]:
    """Draw until Ctrl-C; return what was told last."""
    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                room = max(console.height - _LINES_ABOVE_LOG, 3)
                live.update(view(told, log_lines=room), refresh=True)
                time.sleep(interval_s)
                told = look(url, settings)
        except KeyboardInterrupt:
            pass
    console.print(view(told, log_lines=3))  # what was last seen stays on the terminal
    return told
