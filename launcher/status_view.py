"""Owns how the status looks in a terminal: pure, from what was told to something rich can print.

What is told comes from elsewhere: nothing of it is taken for markup or a terminal's command.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

_STYLES = {"ready": "bold green", "lost": "bold red", "unknown": "bold red"}
_UNDER_WAY = "bold blue"
_BLOCKS = " ▁▂▃▄▅▆▇█"
_SECONDS_SHOWN = 60
_LAST_SHOWN = 5


def view(told: dict[str, Any], *, log_lines: int = 12) -> RenderableType:
    """Return the whole picture, the most important first."""
    parts = [_head(told), *_start(told), *_flights(told), *_rates(told), *_last(told)]
    parts += [*_troubles(told), *_log(told, log_lines)]
    return Group(*parts)


def duration(seconds: float) -> str:
    """Return seconds for people."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def printable(text: object) -> str:
    """Return a text on one line that cannot steer a terminal."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def _head(told: dict[str, Any]) -> Text:
    phase, engine = str(told.get("phase")), told.get("engine") or {}
    head = Text(printable(phase), style=_STYLES.get(phase, _UNDER_WAY))
    if since := told.get("phase_since"):
        head.append(f"  for {duration(told['time'] - since)}", style="not bold dim")
    for reason in filter(None, (told.get("reason"), told.get("gateway_error"))):
        head.append(f"\n{printable(reason)}", style="not bold default")
    if engine and not told.get("is_ready"):
        line = printable(f"engine {engine.get('phase')}: {engine.get('message')}")
        head.append(f"\n{line}", style="not bold default")
    for name, value in _facts(told, engine):
        head.append(f"\n{name:<10}", style="not bold dim").append(printable(value), style="default")
    return head


def _facts(told: dict[str, Any], engine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    memory = told.get("memory") or {}
    versions = ", ".join(f"{name} {each}" for name, each in (engine.get("versions") or {}).items())
    facts = {
        "model": str(engine.get("model_dir") or "").rstrip("/").rpartition("/")[2],
        "engine": versions,
        "hardware": engine.get("accelerator"),
        "memory": _memory(memory),
        "rung": "" if engine.get("rung") == "as configured" else engine.get("rung"),
        "losses": told.get("engine_losses"),
    }
    yield from ((name, str(value)) for name, value in facts.items() if value)


def _memory(memory: dict[str, Any]) -> str:
    total, available = memory.get("total_bytes"), memory.get("available_bytes")
    if not total or available is None:
        return ""
    return f"{available / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _start(told: dict[str, Any]) -> Iterator[RenderableType]:
    """Show where a start is, until it is over."""
    engine, start = told.get("engine") or {}, told.get("start") or {}
    if told.get("is_ready"):
        return
    table = Table.grid(padding=(0, 2))
    expected = start.get("expected") or {}
    for name, seconds in (engine.get("start_phases") or {}).items():
        usual = f"last time {duration(expected[name])}" if name in expected else ""
        table.add_row(Text(printable(name)), duration(seconds), Text(usual, style="dim"))
    if table.row_count:
        yield Rule("start", align="left", style="dim")
        yield table
    budget_s, began_at = start.get("budget_s"), start.get("began_at")
    if budget_s and began_at and not told.get("engine_losses"):
        left_s = began_at + budget_s - told["time"]
        if left_s > -budget_s:  # else it is the state of a service that ended long ago
            yield Text(
                f"{duration(abs(left_s))} {'left' if left_s >= 0 else 'over'} of {budget_s:g} s"
            )


def _flights(told: dict[str, Any]) -> Iterator[RenderableType]:
    batches = told.get("batches") or {}
    for flight in batches.get("in_flight", []):
        asked = max(flight["prompts"] - flight["blank"], 1)
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        left_s = flight["deadline_at"] - told["time"]
        counts = (
            f"{flight['whole']} of {asked} whole, {flight['under_way']} under way, "
            f"{flight['waiting']} waiting, {duration(left_s)} to the deadline"
        )
        grid.add_row(ProgressBar(total=asked, completed=flight["whole"]), counts)
        yield Rule("batch in flight", align="left", style="dim")
        yield grid


def _rates(told: dict[str, Any]) -> Iterator[RenderableType]:
    rates = told.get("rates") or {}
    for name in ("characters", "tokens"):
        values = rates.get(name, [])[-_SECONDS_SHOWN:]
        if any(values):
            line = Text(f"{name + '/s':<14}", style="dim")
            line.append(sparkline(values), style="blue" if name == "characters" else "yellow")
            yield line.append(f" {values[-1]:,}, peak {max(values):,}", style="default")


def sparkline(values: list[int]) -> str:
    """Return one block for each value, as high as it is against the highest."""
    top = max([*values, 1])
    return "".join(_BLOCKS[min(-(-value * 8 // top), 8)] for value in values)


def _last(told: dict[str, Any]) -> Iterator[RenderableType]:
    last = (told.get("batches") or {}).get("last", [])[:_LAST_SHOWN]
    if not last:
        return
    table = Table.grid(padding=(0, 2))
    for each in last:
        counts = ", ".join(f"{count} {kind}" for kind, count in each["counts"].items() if count)
        note = " (cut by the deadline)" if each["is_cut"] else ""
        table.add_row(
            _time(each["began_at"]),
            f"{each['prompts']} prompts",
            duration(each["seconds"]),
            Text(printable(counts + note + (f": {each['error']}" if each["error"] else ""))),
        )
    yield Rule("last batches", align="left", style="dim")
    yield table


def _troubles(told: dict[str, Any]) -> Iterator[RenderableType]:
    engine = told.get("engine") or {}
    lines = [(each["time"], each["message"]) for each in told.get("last_errors") or []]
    for step in engine.get("ladder") or []:
        lines.append((step["at"], f"start failed ({step['rung']}): {step['reason']}"))
    if end := engine.get("last_exit"):
        lines.append((end["at"], f"engine ended after {duration(end['lived_s'])}: {end['reason']}"))
    if not lines:
        return
    yield Rule("troubles", align="left", style="dim")
    for at, message in sorted(lines)[-_LAST_SHOWN:]:
        yield Text(f"{_time(at)}  {printable(message)}", style="yellow")


def _log(told: dict[str, Any], most: int) -> Iterator[RenderableType]:
    lines = (told.get("engine") or {}).get("log_lines") or []
    if not lines or most <= 0:
        return
    yield Rule("engine's log", align="left", style="dim")
    yield Text("\n".join(map(printable, lines[-most:])), style="dim", overflow="ellipsis")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%H:%M:%S}"
