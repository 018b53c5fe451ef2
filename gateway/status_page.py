"""Owns the status page as bytes: one document with its style and scripts in it, and its policy."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "templates"
# In the order in which they run.
SCRIPTS = ("words.js", "text.js", "charts.js", "parts.js", "tryit.js", "status.js")


@dataclass(frozen=True)
class Page:
    """The document, and the headers that go with it."""

    body: bytes
    headers: dict[str, str]


def load(folder: Path = FOLDER) -> Page:
    """Put the page together from its files."""
    html, style, *scripts = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("status.html", "status.css", *SCRIPTS)
    )
    script = '"use strict";\n(() => {\n' + "\n".join(scripts) + "})();\n"
    body = html.replace("{{style}}", style).replace("{{script}}", script)
    return Page(body.encode(), _headers(style, script))


def _headers(style: str, script: str) -> dict[str, str]:
    # Nothing but what stands in the document runs, and it talks to nobody but this service.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
