"""The null engine's answers are what the gateway reads from a real engine."""

from __future__ import annotations

import json

from benchmarks import null_answers
from gateway.completion import decode
from gateway.policy import Policy, clean
from gateway.streaming import Draft, EventReader


def test_whole_completion_reads_as_the_answer() -> None:
    completion = decode(null_answers.completion().encode())

    assert completion.text == null_answers.ANSWER
    assert completion.completion_tokens == 32


def test_stream_reads_as_the_same_completion() -> None:
    reader = EventReader(Draft())

    reader.feed(null_answers.events().encode())

    assert reader.completion() == decode(null_answers.completion().encode())


def test_stream_brings_the_answer_in_several_pieces() -> None:
    events = [line[6:] for line in null_answers.events().split("\n\n") if line]
    assert events.pop() == "[DONE]"

    deltas = [
        choice["delta"].get("content")
        for event in events
        for choice in json.loads(event)["choices"]
    ]

    assert deltas == ["", *null_answers.PIECES]


def test_answer_survives_the_clean_up_of_answers() -> None:
    assert clean(null_answers.ANSWER, Policy().answer) == null_answers.ANSWER


def test_mark_counts_conversations_and_not_what_prompts_say() -> None:
    prompts = ['"role":"user"', "什么是warp？", '\\"role":"user"']
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]

    body = json.dumps({"messages": conversations}, separators=(",", ":"))

    assert body.count(null_answers.MARK) == len(prompts)


def test_grouped_answer_is_put_together_from_the_single_one() -> None:
    parts = (null_answers.PREFIX, null_answers.CHOICE, null_answers.SUFFIX)
    prefix, choice, suffix = parts

    whole = json.loads(f'{prefix}[{{"index":0{choice}}},{{"index":1{choice}}}]{suffix}')

    single = json.loads(null_answers.completion())
    assert whole["choices"] == [single["choices"][0], {**single["choices"][0], "index": 1}]
    assert whole["usage"] == single["usage"]
    assert all(part in null_answers.LUA_TABLE for part in parts)
