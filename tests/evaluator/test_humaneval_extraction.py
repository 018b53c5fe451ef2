from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.humaneval.extraction import extract, without_thoughts

PROMPT = '''from typing import List


def helper(x: int) -> int:
    return x + 1


def f(x: int) -> List[int]:
    """ Return a list.
    """
'''
WHOLE = "def f(x):\n    return [x]\n"


def value_of(answer: str) -> object:
    """Run the prompt with the completion below it, and the function on 7."""
    scope: dict[str, object] = {}
    exec(PROMPT + extract(answer, "f"), scope)
    function = scope["f"]
    assert callable(function)
    return function(7)


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{WHOLE}```",
        f"Sure!\n\n```python\n{WHOLE}```\nIt works because `x` is put into a list.",
        f"```\n{WHOLE}```",
        f"```py\r\n{WHOLE}```".replace("\n", "\r\n"),
        f"~~~python\n{WHOLE}~~~",
        f"````python\n{WHOLE}````",
        f"```python\n{WHOLE}",
        f"First:\n```bash\npip install nothing\n```\n```python\n{WHOLE}```",
        f"```python\nprint(f(3))\n```\nwith\n```python\n{WHOLE}```",
        f"```python\ndef f(x): return (\n```\nI mean\n```python\n{WHOLE}```",
        "1. Write it:\n   ```python\n   def f(x):\n       return [x]\n   ```",
        f"<think>\n```python\ndef f(x): return 0\n```\n</think>\n```python\n{WHOLE}```",
        f"so I think ```python\ndef f(x): return 0\n```\n</think>\n```python\n{WHOLE}```",
        f"<thinking>no</thinking>```python\n{WHOLE}```",
        f"```python\n{PROMPT}    return [x]\n```",
        "```python\ndef f(x):\n    return [helper(x) - 1]\n```",
        "```python\nclass A:\n    def f(self): pass\ndef f(x):\n    return [x]\n```",
        WHOLE,
        f"Here it is:\n{WHOLE}\nThis puts x into a list.",
        "    return [x]\n",
        "return [x]",
        "```python\n    return [x]\n```",
        "```python\nreturn [x]\n```",
        "y = [x]\n    return y",
        "if x:\n    return [x]\nreturn []",
        "    return [x]\n\n\ndef test():\n    this is not Python",
        "    return [x]\n\nprint(f(3))",
        "    return [x]\n# and so on\nassert False",
    ],
)
def test_code_is_found(answer: str) -> None:
    assert value_of(answer) == [7]


@pytest.mark.parametrize("answer", ["", "  \n", "<think>never done\n```python\ndef f(x): 1\n```"])
def test_no_code_leaves_the_function_empty(answer: str) -> None:
    assert extract(answer, "f") == ""
    assert value_of(answer) is None


def test_long_sum_before_the_return() -> None:
    """Its RecursionError kept `generate` from ever writing its file."""
    total = " + ".join(["1"] * 1500)
    assert value_of(f"```python\ny = {total}\nreturn [y - 1493]\n```") == [7]


def test_imports_and_helpers_of_an_answer_stay() -> None:
    answer = "```python\nimport math\ndef g(x): return math.floor(x)\ndef f(x): return [g(x)]\n```"
    assert value_of(answer) == [7]


def test_answer_without_the_function_is_kept_as_it_is() -> None:
    assert (
        extract("```python\ndef other(x):\n    return x\n```", "f").strip().startswith("def other")
    )


def test_prose_after_code_is_dropped() -> None:
    code = extract(f"{WHOLE}\nThat's all, isn't it?\n\nGreetings (and more", "f")
    ast.parse(code)


def test_name_that_only_begins_alike_is_another_function() -> None:
    answer = "```python\ndef f2(x): return 0\n```\n```python\ndef f(x): return [x]\n```"
    assert value_of(answer) == [7]


def test_thoughts() -> None:
    assert without_thoughts("a<think>b</think>c<think>d") == "ac"
    assert without_thoughts("a</think>b") == "b"


@given(st.text(alphabet=st.sampled_from("`~\n def:f(x)return[]#<think>/\t'\""), max_size=200))
def test_no_answer_is_too_odd(answer: str) -> None:
    assert isinstance(extract(answer, "f"), str)
