from __future__ import annotations

import pytest

from tests.fakes.script import Rule, Script, Status
from tests.fakes.script_json import ACTIONS, BadScript, from_json, to_json


def test_every_action_survives_its_json_form() -> None:
    rules = tuple(Rule(kind(), match=name, times=2) for name, kind in ACTIONS.items())
    assert len(rules) == 16
    script = Script(rules=rules, model="m", idle_close_s=1.5, startup="refused", health="stall")
    assert from_json(to_json(script)) == script


def test_a_rule_is_one_flat_object() -> None:
    text = '{"rules": [{"action": "status", "code": 503, "match": "x", "times": 1}]}'
    assert from_json(text).rules == (Rule(Status(503), match="x", times=1),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "script: "),
        ("[]", "script: "),
        ('{"speed": 1}', "speed"),
        ('{"rules": [{"action": "explode"}]}', "rule action 'explode': expected one of answer, "),
        ('{"rules": [{"action": "stall", "s": 1}]}', "'s'"),
        ('{"health": "ill"}', "health='ill': expected one of ok, 503, stall"),
        ('{"rules": [{"action": "reset", "when": "later"}]}', "when='later': expected one of "),
    ],
)
def test_what_is_no_script_is_named(text: str, message: str) -> None:
    with pytest.raises(BadScript, match=message):
        from_json(text)
