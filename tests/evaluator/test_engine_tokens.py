from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from evaluator import engine_tokens
from evaluator.client import Client
from evaluator.engine_tokens import TokenizerError, Tokens
from evaluator.report import Speed
from tests.fakes.service import FakeService

GATEWAY = """\
# TYPE evalgate_tokens_total counter
evalgate_tokens_total{kind="prompt"} 7.0
evalgate_tokens_total{kind="completion"} 120.0
vllm:generation_tokens_total{engine="0"} 9999.0
"""
VLLM = """\
vllm:generation_tokens_created{engine="0"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="a{b}"} 1.5e+02
vllm:generation_tokens_total{engine="1",model_name="m"} 50.0 1700000000
vllm:prompt_tokens_total NaN
"""


def write_tokenizer(folder: Path) -> Path:
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1, "?": 2, "<s>": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def test_gateway_counter_wins_over_the_engines() -> None:
    assert engine_tokens.read_counter(GATEWAY) == ("evalgate_tokens_total", 120)


def test_engines_counters_are_added_up() -> None:
    assert engine_tokens.read_counter(VLLM) == ("vllm:generation_tokens_total", 200)


@pytest.mark.parametrize("text", ["", "<html>", 'evalgate_tokens_total{kind="prompt"} 7'])
def test_no_counter(text: str) -> None:
    assert engine_tokens.read_counter(text) is None


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        (("a", 5.0), ("a", 12.0), 7),
        (("a", 5.0), ("a", 5.0), 0),
        (None, ("a", 5.0), None),
        (("a", 5.0), None, None),
        (("a", 5.0), ("b", 9.0), None),
        (("a", 5.0), ("a", 4.0), None),
    ],
)
def test_difference(
    before: tuple[str, float] | None, after: tuple[str, float] | None, count: int | None
) -> None:
    expected = None if count is None else Tokens(count, "engine metrics")
    assert engine_tokens.difference(before, after) == expected


@pytest.mark.anyio
async def test_scrape() -> None:
    async with FakeService(metrics=[VLLM]).running() as service, Client(service.url) as client:
        assert await engine_tokens.scrape(client) == ("vllm:generation_tokens_total", 200)
    async with FakeService().running() as service, Client(service.url) as client:
        assert await engine_tokens.scrape(client) is None


def test_tokenizer_counts_without_the_marks(tmp_path: Path) -> None:
    file = write_tokenizer(tmp_path)
    for path in (file, tmp_path):
        tokenizer = engine_tokens.load_tokenizer(path)
        assert engine_tokens.count_tokens(tokenizer, ["a b", "", "b"]) == Tokens(3, "tokenizer")


def test_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(TokenizerError, match=r"x\.json: cannot be read: No such file"):
        engine_tokens.load_tokenizer(file)
    file.write_text("{}")
    with pytest.raises(TokenizerError, match=r"x\.json: is not a tokenizer\.json: "):
        engine_tokens.load_tokenizer(file)
    file.write_bytes(b"\xff")
    with pytest.raises(TokenizerError, match=r"x\.json: is not a tokenizer\.json: "):
        engine_tokens.load_tokenizer(file)


def test_speed_gets_its_tokens() -> None:
    speed = Speed(characters=10, post_s=2.0, characters_per_s=5.0)
    assert engine_tokens.with_tokens(speed, None) is speed
    counted = engine_tokens.with_tokens(speed, Tokens(7, "tokenizer"))
    assert (counted.tokens, counted.tokens_per_s, counted.tokens_source) == (7, 3.5, "tokenizer")
    still = Speed(characters=0, post_s=0.0, characters_per_s=0.0)
    assert engine_tokens.with_tokens(still, Tokens(0, "tokenizer")).tokens_per_s == 0
