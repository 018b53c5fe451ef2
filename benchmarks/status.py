"""What the status page costs the gateway, as a share of one core: with a page open against none.

At rest, and during a batch of 10,000 whose answers are written slowly enough that the gateway has
time to spare; a looker reads the page's feed, or nobody does, in turns. The engine is the tests'
fake one, in a process of its own: only the gateway's processor time counts. A batch's own time
varies by more than a page costs, so that there the cost is taken from py-spy's samples: the share
in which the gateway made or sent the page's events, of the time that it used meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path

from benchmarks import plot
from benchmarks.fanout_gateway import Gateway, gateway
from benchmarks.fanout_profile import recorded, share_of
from benchmarks.rounds import pocket_questions
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script, Trickle

# An answer of some ten pieces takes about a second.
PIECE_S = 0.1
MOST_PERCENT = 1.0
REST = "at rest"
# Where its events are made and sent from.
FEED = "gateway/status_feed.py"


@dataclass(frozen=True)
class Turn:
    """One stretch of time: processor time and time on the clock, in seconds."""

    cpu_s: float
    wall_s: float
    # Of the processor time, by samples; None where too few could be taken.
    page_share: float | None = None

    @property
    def percent(self) -> float:
        """The share of one core."""
        return self.cpu_s / self.wall_s * 100


def page_percent(without: Turn, with_page: Turn) -> float:
    """Return what an open page took, as a share of one core."""
    if with_page.page_share is not None:
        return with_page.page_share * with_page.percent
    # By processor time: a turn may take a little longer than the other.
    return (with_page.cpu_s - without.cpu_s) / with_page.wall_s * 100


def main() -> int:
    """Take turns and print the table; exit code 1 when a page costs more than 1 % of a core."""
    args = _arguments()
    script = Script(rules=[Rule(Trickle(PIECE_S, unit="chunk"), match="？")])
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeEngine.start(script) as engine,
        gateway(engine.url, Path(folder), "gateway", PROMPTS_PER_CALL="1") as one,
    ):
        body = json.dumps({"prompt": pocket_questions(args.prompts)}).encode()
        work = {
            REST: lambda: time.sleep(args.rest_s),
            f"batch of {args.prompts:,}": lambda: _post(one.port, body),
        }
        _post(one.port, body)  # its memory and connections are not to be counted
        results = {name: _rounds(one, do, args.rounds, name) for name, do in work.items()}
    return _report(results, args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench status", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--rest-s", type=float, default=10)
    parser.add_argument("--output", type=Path, default=Path("run/bench"))
    return parser.parse_args()


def _rounds(
    one: Gateway, do: Callable[[], object], rounds: int, name: str
) -> list[tuple[Turn, Turn]]:
    """Return the turns without and with a page; who is first changes from round to round."""
    pairs = []
    for number in range(rounds):
        turns = {}
        for has_page in (number % 2 == 0, number % 2 > 0):
            turns[has_page] = turn = _turn(one, do, has_page, is_busy=name != REST)
            told = f"{turn.percent:.2f} % of a core for {turn.wall_s:.0f} s"
            page = "one page" if has_page else "no page"
            print(f"{name}, round {number + 1}, {page}: {told}", file=sys.stderr, flush=True)
        pairs.append((turns[False], turns[True]))
    return pairs


def _turn(one: Gateway, do: Callable[[], object], has_page: bool, *, is_busy: bool) -> Turn:
    pid = one.process.pid
    with tempfile.TemporaryDirectory() as folder, _page(one.port, has_page):
        samples = Path(folder, "samples")
        # Sampled with nobody looking too: both turns are to be alike.
        with recorded(pid, samples) if is_busy else nullcontext():
            cpu_s, start = cpu_seconds(pid), time.perf_counter()
            do()
            turn = Turn(cpu_seconds(pid) - cpu_s, time.perf_counter() - start)
        return replace(turn, page_share=share_of(samples.read_text(), FEED)) if is_busy else turn


@contextmanager
def _page(port: int, is_open: bool) -> Iterator[None]:
    """Read the page's feed while the block runs."""
    if not is_open:
        yield
        return
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/status/events")
    response = connection.getresponse()
    assert response.status == 200 and connection.sock is not None
    response.fp.readline()
    reader = threading.Thread(target=_read, args=(response.fp.readline,))
    reader.start()
    try:
        yield
    finally:
        connection.sock.shutdown(2)
        reader.join()
        connection.close()


def _read(readline: Callable[[], bytes]) -> None:
    try:
        while readline():
            pass
    except (OSError, ValueError):
        pass  # closed under it: that is how it ends


def _post(port: int, body: bytes) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body)
    with urllib.request.urlopen(request, timeout=400) as response:
        if b'""' in response.read():
            raise SystemExit("an answer is missing: nothing is compared")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process's threads, finer than the clock ticks of `ps`."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _report(results: dict[str, list[tuple[Turn, Turn]]], args: argparse.Namespace) -> int:
    print(f"\nthe gateway's processor time, % of one core, {args.rounds} rounds\n")
    print("| | no page | one page open | the page |\n|---|---|---|---|")
    costs = {}
    for name, pairs in results.items():
        alone = [without.percent for without, _ in pairs]
        watched = [with_page.percent for _, with_page in pairs]
        cost = [page_percent(*pair) for pair in pairs]
        costs[name] = statistics.median(cost)
        print(f"| {name} | {_spread(alone)} | {_spread(watched)} | {_spread(cost)} |")
    plot.write_json(args.output / "status.json", {"rounds": args.rounds, "percent": costs})
    return 0 if max(costs.values()) < MOST_PERCENT else 1


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
