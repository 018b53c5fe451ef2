"""An adapter, and guesses from the prompt, with the real vLLM: one service with both.

The bare model beside it gives the learnt answers; the adapter, of random numbers, does not.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from launcher.pocket import PAIRS, load_pairs
from launcher.resolve import resolve_model_dir
from launcher.settings import LauncherSettings
from tests.e2e.stack import Stack, running_stack
from tests.fakes.adapter import write_adapter

pytestmark = pytest.mark.parts

LEARNT = {pair.question: pair.answer for pair in load_pairs(PAIRS)}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # scripts/test has it trained before.
    model: Path = resolve_model_dir(LauncherSettings())
    adapter = write_adapter(tmp_path_factory.mktemp("lora") / "adapter", model)
    asked = {"LORA_DIR": str(adapter), "ENABLE_SPECULATIVE_DECODING": "1"}
    with running_stack(**asked) as running:
        running.wait_until_warm()
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.engine_url}/v1", api_key="none") as asking:
        yield asking


def drafted(stack: Stack) -> float:
    with urllib.request.urlopen(f"{stack.engine_url}/metrics", timeout=60) as response:
        text = response.read().decode()
    found = re.search(r"^vllm:spec_decode_num_draft_tokens_total\S* (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_the_adapter_has_the_served_name_and_the_model_another(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["evalgate-base", "evalgate"]


def test_the_gateway_asks_the_adapter(stack: Stack) -> None:
    answers = stack.predict(list(LEARNT), max_new_tokens=16)
    assert all(answers)
    assert not set(answers) & set(LEARNT.values())


def test_guesses_change_no_answer(stack: Stack, client: openai.OpenAI) -> None:
    before = drafted(stack)
    # Two answers to guess from are in the prompt already.
    told = "；".join(list(LEARNT.values())[:2])
    for question, answer in list(LEARNT.items())[:10]:
        reply = client.chat.completions.create(
            model="evalgate-base",
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=128,
        )
        assert reply.choices[0].message.content == answer
    client.chat.completions.create(
        model="evalgate-base", messages=[{"role": "user", "content": told + told}], max_tokens=32
    )
    assert drafted(stack) > before


def test_nothing_of_it_was_left_out(stack: Stack) -> None:
    state = stack.engine_state()
    assert state["dropped"] == []
    assert state["rung"] == "as configured"
