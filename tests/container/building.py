"""Builds the Dockerfile with buildah, and tells what each of its steps took."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.container import pip_settings
from tests.container.tools import buildah, output_of, podman, temporary

REPOSITORY = Path(__file__).resolve().parents[2]
_STEP = re.compile(r"(?:\[(?P<stage>\d+/\d+)\] )?STEP \d+/\d+: (?P<text>.*)")


@dataclass(frozen=True)
class Step:
    """An instruction of the Dockerfile, with the seconds until the next one began."""

    text: str
    seconds: float


@dataclass(frozen=True)
class Build:
    """An image that was built."""

    name: str
    seconds: float
    steps: tuple[Step, ...]
    output: str


def build(
    name: str,
    base: str,
    arguments: Mapping[str, str],
    *options: str,
    is_fresh: bool = False,
    recipe: Path = REPOSITORY / "Dockerfile",
) -> Build:
    """Build this checkout on a base; `is_fresh`: use no layer of an earlier build."""
    named = {"BASE_IMAGE": base, **arguments}
    told = [part for item in named.items() for part in ("--build-arg", "=".join(item))]
    # OCI's format knows no health check.
    argv = buildah("bud", "--format", "docker", "--isolation", "chroot", "--layers", *told)
    with tempfile.TemporaryDirectory(dir=temporary()) as folder:
        argv += pip_settings.mounts(Path(folder))
        argv += ["--no-cache"] if is_fresh else []
        argv += [*options, "--file", str(recipe), "--tag", name]
        return _run([*argv, str(REPOSITORY)], name)


def _run(argv: Sequence[str], name: str) -> Build:
    began: list[tuple[float, str]] = []
    output: list[str] = []
    start = time.monotonic()
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            sys.stderr.write(line)
            if (step := _STEP.match(line)) is not None:
                began.append((time.monotonic(), step["text"].strip()))
    end = time.monotonic()
    text = "".join(output)
    assert process.returncode == 0, f"the build failed with {process.returncode}:\n{text[-4000:]}"
    return Build(name, end - start, tuple(_durations(began, end)), text)


def _durations(began: Sequence[tuple[float, str]], end: float) -> list[Step]:
    ends = [at for at, _ in began[1:]] + [end]
    return [Step(text, after - at) for (at, text), after in zip(began, ends, strict=True)]


def configuration(name: str) -> dict[str, object]:
    """Return the image's configuration: environment, ports, health check, command."""
    (told,) = json.loads(output_of(podman("image", "inspect", name)))
    return dict(told)


def history(name: str) -> str:
    """Return all that the image tells of its making."""
    return output_of(podman("history", "--no-trunc", "--format", "json", name))


def table(build: Build) -> str:
    """Show the seconds of each step, and the size of each layer, as text."""
    lines = [f"image {build.name}: built in {build.seconds:.0f} s"]
    lines += [f"  {step.seconds:7.1f} s  {step.text[:100]}" for step in build.steps]
    layers = json.loads(history(build.name))
    total = sum(layer["size"] for layer in layers)
    lines.append(f"size {total / 2**20:,.0f} MiB in all; the layers over 1 MiB:")
    for layer in layers:
        if layer["size"] > 2**20:
            text = " ".join(str(layer.get("CreatedBy", "")).split())
            lines.append(f"  {layer['size'] / 2**20:7,.0f} MiB  {text[:100]}")
    return "\n".join(lines)
