"""Owns which tools there are."""

from __future__ import annotations

from evaluator.third_party.aisbench import AisBench
from evaluator.third_party.evalscope import EvalScope
from evaluator.third_party.job import Tool
from evaluator.third_party.lm_eval import LmEval

TOOLS: tuple[Tool, ...] = (AisBench(), EvalScope(), LmEval())


def find(name: str) -> Tool:
    """Return the tool of that name."""
    return next(tool for tool in TOOLS if tool.name == name)
