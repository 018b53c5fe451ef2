"""`python -m tests.chaos.soak MINUTES`: mixed load on a service of its own; does anything grow?

Exit code 0: every slope within noise, no answer lost; 1: not so; 130: interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.interrupt import INTERRUPTED, interruptible
from tests.chaos.polling import NotSeen
from tests.chaos.soak_load import MEASURES, Load, Sample
from tests.chaos.soak_service import fake_service, real_service
from tests.chaos.trend import MIN_SAMPLES, Trend, trend_of

# The engine is restarted in the first part, so that the second is all of one kind.
RESTART_SHARE = 0.2


@dataclass
class Soak:
    """The samples so far, and when the part began that slopes are told of."""

    minutes: float
    samples: list[Sample] = field(default_factory=list)
    restarted_at_s: float | None = None
    restart_done_s: float = 0.0

    def run(self, load: Load, say: Callable[[str], None]) -> None:
        """Make rounds until the time is over; restart the engine once meanwhile."""
        limit_s = self.minutes * 60
        while (seconds := time.monotonic() - load.started) < limit_s:
            if self.restarted_at_s is None and seconds > limit_s * RESTART_SHARE:
                self._restart(load, seconds, say)
            load.round()
            self.samples.append(load.sample())
            if len(self.samples) % 10 == 0:
                say(_describe(self.samples[-1]))

    def _restart(self, load: Load, seconds: float, say: Callable[[str], None]) -> None:
        say(f"{seconds:.0f} s: restarting the engine, amid the next round")
        self.restarted_at_s = seconds
        load.round(amid=load.service.restart_engine)
        self.restart_done_s = time.monotonic() - load.started
        say(f"{self.restart_done_s:.0f} s: the round across the restart is answered")

    @property
    def second_part(self) -> list[Sample]:
        """The samples after half of the time, and after the restart."""
        start = max(self.samples[-1].at_s / 2 if self.samples else 0, self.restart_done_s)
        return [sample for sample in self.samples if sample.at_s >= start]

    def trends(self) -> list[Trend]:
        """Return the slope of everything that was sampled often enough."""
        found = []
        for measure in MEASURES:
            part = [each for each in self.second_part if measure.name in each.values]
            if len(part) < MIN_SAMPLES:
                continue
            values = [each.values[measure.name] for each in part]
            requests = [each.requests for each in part]
            found.append(trend_of(measure, [each.at_s for each in part], requests, values))
        return found


def _describe(sample: Sample) -> str:
    values = ", ".join(f"{name} {value:g}" for name, value in sample.values.items())
    return f"{sample.at_s:.0f} s, {sample.requests} requests: {values}"


def table(trends: Sequence[Trend]) -> Table:
    """Return the slopes for the terminal; what grows is red."""
    columns = ("measure", "first", "last", "per hour (95 %)", "per 1,000 requests", "bound/h", "")
    drawn = Table(*columns)
    for trend in trends:
        interval = f"{trend.low_per_hour:.2f} to {trend.high_per_hour:.2f}"
        drawn.add_row(
            f"{trend.measure.name} {trend.measure.unit}".strip(),
            f"{trend.first:g}",
            f"{trend.last:g}",
            f"{trend.per_hour:.2f} ({interval})",
            f"{trend.per_1000_requests:.3f}",
            f"{trend.measure.bound_per_hour:g}",
            "GROWS" if trend.is_growing else "flat",
            style="bold red" if trend.is_growing else "",
        )
    return drawn


def main(arguments: Sequence[str]) -> int:
    """Soak as told; return the exit code."""
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    soak = Soak(options.minutes)
    load: Load | None = None
    code = 1
    try:
        with interruptible(), fake_service() if options.fake else real_service() as service:
            load = Load(service)
            soak.run(load, console.print)
            code = 0
    except KeyboardInterrupt:
        console.print("interrupted")
        code = INTERRUPTED
    except NotSeen as exc:
        console.print(f"stopped: {exc}", style="bold red")
    return _conclude(options, console, soak, load, code)


def _conclude(
    options: argparse.Namespace, console: Console, soak: Soak, load: Load | None, code: int
) -> int:
    """Show what there is; return the exit code."""
    trends = soak.trends()
    console.print(table(trends))
    if load is not None:
        total = load.total
        console.print(
            f"{load.requests} requests, {total.prompts} prompts: {total.lost} lost, "
            f"{total.out_of_order} out of order, {total.late} late; "
            f"{load.num_bad} bad requests refused; {len(soak.second_part)} samples"
        )
    if options.json is not None:
        document = {"trends": list(map(asdict, trends)), "samples": list(map(asdict, soak.samples))}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if code == 0 and not trends:
        console.print("too short a time for slopes", style="bold red")
    is_good = load is not None and load.total.is_good and bool(trends)
    is_flat = not any(trend.is_growing for trend in trends)
    return code or int(not (is_good and is_flat))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("minutes", type=float, metavar="MINUTES")
    parser.add_argument("--fake", action="store_true", help="the fake engine, not the real one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write samples and slopes there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
