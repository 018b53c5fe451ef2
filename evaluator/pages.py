"""Owns what every page of a report has: one file that loads nothing and runs only its own script.

The content security policy names the hashes of script and style, so that nothing an answer says
can run, load or restyle anything even if it became markup.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).with_name("templates")
_UNSHOWABLE = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
}
"""Control characters become their pictures; half a surrogate pair cannot be encoded at all."""


def render(template: str, *, style: str, script: str = "", **values: object) -> str:
    """Return the whole page; `style` and `script` name files beside the template."""
    script_text = _asset(script) if script else ""
    style_text = _asset(style)
    page = (
        _environment()
        .get_template(template)
        .render(
            script=Markup(script_text),
            style=Markup(style_text),
            script_hash=_hash(script_text),
            style_hash=_hash(style_text),
            **values,
        )
    )
    return page.translate(_UNSHOWABLE)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
