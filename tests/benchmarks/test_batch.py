"""How contestants take turns, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from benchmarks.batch import generated_tokens
from benchmarks.batch_rounds import Load, Measured, spread, table, take_turns
from benchmarks.contestants.contestant import Reply, Unavailable
from benchmarks.contestants.litellm_proxy import configuration
from benchmarks.endless import make_endless
from benchmarks.engine_arguments import llm_arguments
from launcher.engines.base import EnginePlan

pytestmark = pytest.mark.anyio
LOAD = Load(["a", "b"], max_tokens=3, rounds=3)


class Asked:
    """A contestant that keeps the order of the turns, which all of them share."""

    def __init__(self, name: str, turns: list[str], fails_in_turn: int = 0) -> None:
        self.name = name
        self.turns = turns
        self.fails_in_turn = fails_in_turn

    async def ask(
        self, session: aiohttp.ClientSession, prompts: list[str], max_tokens: int
    ) -> Reply:
        self.turns.append(self.name)
        if self.turns.count(self.name) == self.fails_in_turn:
            raise Unavailable("gone")
        return Reply([prompt * max_tokens for prompt in prompts], seconds=2.0, tokens=6)


async def measure(*contestants: Asked) -> dict[str, Measured]:
    async def no_tokens() -> int:
        return 0

    asks = {contestant.name: contestant.ask for contestant in contestants}
    async with aiohttp.ClientSession() as session:
        return await take_turns(asks, LOAD, session, no_tokens, pause_s=0)


async def test_contestants_take_turns_and_each_round_begins_with_another() -> None:
    turns: list[str] = []
    results = await measure(*(Asked(name, turns) for name in "xyz"))
    assert "".join(turns) == "xyzyzxzxyxyz"
    assert results["x"].seconds == [2.0, 2.0, 2.0]


async def test_the_first_round_does_not_count() -> None:
    results = await measure(Asked("x", []))
    assert len(results["x"].seconds) == LOAD.rounds


async def test_who_fails_is_told_with_the_reason_and_the_others_go_on() -> None:
    turns: list[str] = []
    results = await measure(Asked("x", turns), Asked("y", turns, fails_in_turn=2))
    assert results["y"].reason == "gone"
    assert turns.count("y") == 2
    assert len(results["x"].seconds) == LOAD.rounds
    text = table(results, ("x",))
    assert "| y | 2.00" not in text
    assert "not measured" in text
    assert "y: gone" in text


async def test_tokens_are_counted_outside_where_the_reply_does_not_tell() -> None:
    made = 0

    async def count() -> int:
        return made

    async def ask(session: aiohttp.ClientSession, prompts: list[str], max_tokens: int) -> Reply:
        nonlocal made
        made += 6
        return Reply(["aaa", "bbb"])

    async with aiohttp.ClientSession() as session:
        results = await take_turns({"x": ask}, LOAD, session, count, pause_s=0)
    assert results["x"].tokens == [6, 6, 6]


def test_a_ratio_is_taken_within_a_round() -> None:
    slow, fast = Measured([2.0, 8.0], ["ab"], [1, 1]), Measured([1.0, 2.0], ["ab"], [1, 1])
    assert slow.ratios_to(fast) == [2.0, 4.0]
    assert slow.chars_per_s == [1.0, 0.25]
    text = table({"slow": slow, "fast": fast}, ("fast",))
    assert "| slow | 5.00 (2.00–8.00) | 1 (0–1) | 1 | 1 | 3.00 (2.00–4.00) |" in text


def test_answers_that_differ_are_counted() -> None:
    one, other = Measured([1.0], ["a", "b"], [2]), Measured([1.0], ["a", "c"], [3])
    assert "| y | 1.00 (1.00–1.00) | 2 (2–2) | 3 | 1 |" in table({"x": one, "y": other}, ())


def test_nothing_measured_has_no_spread() -> None:
    assert spread([]) == "–"


def test_tokens_are_read_from_the_engines_metrics() -> None:
    page = (
        "# TYPE vllm:generation_tokens_total counter\n"
        'vllm:generation_tokens_total{engine="0",model_name="m"} 1.1456e+04\n'
        'vllm:generation_tokens_total{engine="1",model_name="m"} 4.0\n'
        'vllm:generation_tokens_created{engine="0"} 1.7e+09\n'
    )
    assert generated_tokens(page) == 11460


def test_an_engine_in_process_gets_what_decides_how_the_model_is_run() -> None:
    argv = (
        *("/p", "-m", "module", "--model", "/m", "--served-model-name", "e", "--port", "1"),
        *("--max-num-seqs", "256", "--dtype", "bfloat16", "--enforce-eager"),
        "--no-enable-prefix-caching",
    )
    assert llm_arguments(EnginePlan("", argv, {}, "", "")) == {
        "model": "/m",
        "max_num_seqs": 256,
        "dtype": "bfloat16",
        "enforce_eager": True,
        "enable_prefix_caching": False,
    }


def test_an_endless_model_is_the_same_but_for_its_end(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "config.json").write_text('{"eos_token_id": 2, "vocab_size": 9}')
    (model / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    endless = make_endless(model, tmp_path / "endless")
    assert json.loads((endless / "config.json").read_text()) == {"eos_token_id": 0, "vocab_size": 9}
    assert json.loads((endless / "tokenizer_config.json").read_text()) == {
        "eos_token": "<|endoftext|>"
    }
    assert (endless / "model.safetensors").read_bytes() == b"weights"
    assert (model / "config.json").read_text() == '{"eos_token_id": 2, "vocab_size": 9}'


def test_litellm_asks_the_same_engine_by_the_same_name() -> None:
    text = json.dumps(configuration("http://127.0.0.1:9"))
    assert '"model_name": "evalgate"' in text
    assert '"api_base": "http://127.0.0.1:9/v1"' in text
