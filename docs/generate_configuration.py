"""Writes docs/configuration.md from the settings classes: `python docs/generate_configuration.py`.

With --check it writes nothing and fails when the file is not what it would write.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

REPOSITORY = Path(__file__).absolute().parent.parent
sys.path.insert(0, str(REPOSITORY))

from annotated_types import Ge, Gt, Interval, Le, Lt  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402
from pydantic_settings import BaseSettings  # noqa: E402

from gateway.settings import Settings  # noqa: E402
from launcher.settings import LauncherSettings  # noqa: E402

TARGET = REPOSITORY / "docs" / "configuration.md"
HEAD = """\
# Configuration

<!-- Written by docs/generate_configuration.py from the settings classes; edit those. -->

Every setting is an environment variable: set it before `scripts/serve`, with `ENV` in the image,
or in the environment of `supervisord`. Both programs read the same environment. An empty value
counts as not set. A value that breaks its rule stops the start with exit code 3 and one line that
names the key, the value and the rule. What is in force is shown by `GET /info`, where secrets are
`***`: the gateway's under `settings`, the engine's as its command line under `engine.argv`.

Booleans take `1`, `true`, `yes`, `on` and their opposites. Paths are relative to the repository.
"""


def page() -> str:
    """Return the whole page."""
    shared = set(Settings.model_fields) & set(LauncherSettings.model_fields)
    sections = [
        HEAD,
        "## Gateway\n\nRead by `python -m gateway`. A † marks what the launcher reads as well.\n",
        table(Settings, shared),
        "## Launcher and engine\n\nRead by `python -m launcher`.\n",
        table(LauncherSettings, set(), leave_out=shared),
        (REPOSITORY / "docs" / "configuration.tail.md").read_text(encoding="utf-8"),
    ]
    return "\n".join(sections)


def table(
    settings: type[BaseSettings], marked: Collection[str], leave_out: Collection[str] = ()
) -> str:
    """Return a Markdown table of one settings class."""
    rows = ["| setting | default | takes | what it does |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        if name not in leave_out:
            mark = " †" if name in marked else ""
            default, takes = shown_default(field), " ".join(rules(field))
            rows.append(f"| `{names(name, field)}`{mark} | {default} | {takes} | {text(field)} |")
    return "\n".join(rows) + "\n"


def names(name: str, field: FieldInfo) -> str:
    """Return the environment names of a field, joined as a cell shows them."""
    choices = getattr(field.validation_alias, "choices", [name])
    return "` `".join(str(choice).upper() for choice in choices)


def shown_default(field: FieldInfo) -> str:
    """Return a default as it would be written in the environment; empty for none."""
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return f"`{int(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def rules(field: FieldInfo) -> Iterator[str]:
    """Yield what a value has to be: its type, its words, its bounds."""
    yield kind(field.annotation)
    for rule in field.metadata:
        for sign, attribute in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le")):
            bound = getattr(rule, attribute, None)
            if isinstance(rule, (Ge, Gt, Le, Lt, Interval)) and bound is not None:
                yield f"{sign} {bound:,}"


def kind(annotation: Any) -> str:
    """Name a field's type for people."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(kind(arg) for arg in get_args(annotation) if arg is not type(None))
    if get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        return kind(get_args(annotation)[0])
    simple = {bool: "boolean", int: "integer", float: "number", str: "text", Path: "path"}
    return simple.get(annotation, "secret" if "Secret" in str(annotation) else "list")


def text(field: FieldInfo) -> str:
    """Return the description as one table cell."""
    return (field.description or "").replace("|", "\\|")


def main() -> int:
    """Write the page, or with --check compare it; return the exit code."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        is_current = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted
        if not is_current:
            print(f"{TARGET.name} is not up to date: run python docs/generate_configuration.py")
        return 0 if is_current else 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
