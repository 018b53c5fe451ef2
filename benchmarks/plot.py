"""Owns what a benchmark leaves behind: a JSON document and plots. It measures nothing.

matplotlib is imported when something is drawn: the rest runs without it.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Text stays text, and the same figures give the same bytes: a plot can be kept in git.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "evalgate",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
}


@dataclass(frozen=True)
class Spread:
    """A median with the least and the most."""

    median: float
    low: float
    high: float


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a document, with the command, the time and the machine that it was measured on."""
    # Run with -m, the first argument is the module's file.
    command = ["scripts/bench", Path(sys.argv[0]).stem, *sys.argv[1:]]
    whole = {"command": " ".join(command), "machine": machine(), **document}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def machine() -> dict[str, object]:
    """Describe where and when this runs."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(Path("/proc/cpuinfo")),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor(cpuinfo: Path) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bars(path: Path, title: str, x_label: str, values: Mapping[str, Spread | None]) -> None:
    """Draw one horizontal bar for each name, the first on top; SVG or PNG by the path's ending.

    None is something that was not measured: it is shown as such.
    """
    names = list(values)
    figure, axes = _figure(title, height=1.2 + 0.42 * len(names))
    for place, value in enumerate(values.values()):
        if value is None:
            axes.text(0, place, " not measured", va="center", style="italic")
            continue
        whiskers = [[value.median - value.low], [value.high - value.median]]
        axes.barh(place, value.median, xerr=whiskers, capsize=3, color="#4477aa")
        axes.text(value.high, place, f"  {value.median:.3g}", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel(x_label)
    _save(figure, path)


def lines(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    is_log_x: bool = False,
    is_log_y: bool = False,
) -> None:
    """Draw one line for each name through its (x, y) points; SVG or PNG by the path's ending."""
    figure, axes = _figure(title, height=4.5)
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    if is_log_x:
        axes.set_xscale("log")
    if is_log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend()
    _save(figure, path)


def _figure(title: str, height: float) -> tuple[Any, Any]:
    # The test environment, which checks the types, has no matplotlib.
    from matplotlib import rc_context  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    with rc_context(_STYLE):
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    is_svg = path.suffix == ".svg"
    with rc_context(_STYLE):
        figure.savefig(path, dpi=120, metadata={"Date": None} if is_svg else None)
    print(f"written: {path}", file=sys.stderr)
