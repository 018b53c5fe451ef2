"""What pip is told on this machine, handed to a build that knows nothing of this machine.

A configuration file and the folders that it names, mounted where they are here. Must not name any.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs")
_LINE = re.compile(r"(?P<scope>[^=]+)\.(?P<name>[\w-]+)=(?P<value>['\"].*)")


def mounts(folder: Path) -> list[str]:
    """Write the configuration into `folder`; return the options that a build needs for it."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = read(told.stdout)
    conf = folder / "pip.conf"
    conf.write_text(write(settings))
    sources = [(conf, Path("/etc/pip.conf")), *((path, path) for path in places(settings))]
    if CERTIFICATES.is_dir():
        sources.append((CERTIFICATES, CERTIFICATES))
    unique = dict.fromkeys(f"{source}:{target}:ro" for source, target in sources)
    return [part for mount in unique for part in ("--volume", mount)]


def read(listing: str) -> dict[str, str]:
    """Read what `pip config list` prints; what the environment says wins."""
    found = [match for line in listing.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    found.sort(key=lambda match: match["scope"] == ":env:")
    return {match["name"]: str(ast.literal_eval(match["value"])) for match in found}


def write(settings: dict[str, str]) -> str:
    """Write a configuration file."""
    lines = [f"{name} = {' '.join(value.split())}" for name, value in settings.items()]
    return "\n".join(["[global]", *lines, ""])


def places(settings: dict[str, str]) -> Iterator[Path]:
    """Yield the folders and files of this machine that the settings name."""
    for word in (word for value in settings.values() for word in value.split()):
        path = Path(word.removeprefix("file://"))
        if not path.is_absolute() or not path.exists():
            continue
        # An index's pages link to files that lie beside it.
        yield path.parent if word.startswith("file://") else path
