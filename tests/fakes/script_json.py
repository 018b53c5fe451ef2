"""The JSON form of a script: what goes to the program's command line and to its control route.

Must not do I/O.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tests.fakes.script import Action, Rule, Script

ACTIONS: dict[str, type[Action]] = {kind.name: kind for kind in Action.__subclasses__()}


class BadScript(ValueError):
    """A script that names something unknown."""


_Part = TypeVar("_Part", Action, Script)


def _checked(part: _Part) -> _Part:
    """Return `part`; raises `BadScript` when a choice among words is not one of them."""
    for name, hint in get_type_hints(type(part)).items():
        allowed = get_args(hint) if get_origin(hint) is Literal else ()
        value = getattr(part, name)
        if allowed and value not in allowed:
            raise BadScript(f"{name}={value!r}: expected one of {', '.join(allowed)}")
    return part


def _rule_to_dict(rule: Rule) -> dict[str, Any]:
    frame = {"match": rule.match, "times": rule.times, "after_s": rule.after_s}
    return {"action": rule.action.name, **frame, **dataclasses.asdict(rule.action)}


def _rule_from_dict(fields: dict[str, Any]) -> Rule:
    name = fields.get("action")
    kind = ACTIONS.get(str(name))
    if kind is None:
        raise BadScript(f"rule action {name!r}: expected one of {', '.join(sorted(ACTIONS))}")
    frame = {key: fields[key] for key in ("match", "times", "after_s") if key in fields}
    own = {key: value for key, value in fields.items() if key not in frame and key != "action"}
    return Rule(_checked(kind(**own)), **frame)


def to_json(script: Script) -> str:
    """Return the script as `from_json` reads it."""
    fields = {field.name: getattr(script, field.name) for field in dataclasses.fields(script)}
    fields["rules"] = [_rule_to_dict(rule) for rule in script.rules]
    return json.dumps(fields)


def from_json(text: str | bytes) -> Script:
    """Read a script; a rule is an object `{"action": NAME, …the action's and the rule's fields}`.

    Raises `BadScript` for anything that is not one.
    """
    try:
        fields = json.loads(text)
        rules = tuple(_rule_from_dict(rule) for rule in fields.pop("rules", []))
        return _checked(Script(rules=rules, **fields))
    except (TypeError, AttributeError, ValueError) as exc:
        raise BadScript(f"script: {exc}") from exc
