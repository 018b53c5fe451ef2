from __future__ import annotations

import anyio
import pytest

from evaluator.client import Client
from evaluator.predicting import TIME_IS_UP, Answer, Prediction, predict_batch, predict_single
from tests.fakes.service import Action, FakeService, Rule

pytestmark = pytest.mark.anyio
QUESTIONS = [f"q{number}" for number in range(5)]
ANSWERS = [f"answer to q{number}" for number in range(5)]


async def batch(service: FakeService, limit_s: float = 10) -> Prediction:
    prediction = Prediction()
    async with service.running(), Client(service.url) as client:
        await predict_batch(client, QUESTIONS, limit_s, prediction)
    return prediction


async def single(service: FakeService, limit_s: float = 10) -> Prediction:
    prediction = Prediction()
    async with service.running(), Client(service.url) as client:
        await predict_single(client, QUESTIONS, limit_s, prediction)
    return prediction


def texts(prediction: Prediction) -> list[str]:
    return [answer.text for answer in prediction.answers]


async def test_batch_is_one_post_with_all_questions() -> None:
    service = FakeService([Rule(delay_s=0.1)])
    prediction = await batch(service)
    assert service.posts == [QUESTIONS]
    assert prediction.answers == [Answer(text) for text in ANSWERS]
    assert 0.1 <= prediction.post_s < 30
    assert (prediction.problem, prediction.warnings) == ("", [])


async def test_batch_over_the_limit_fails() -> None:
    prediction = await batch(FakeService([Rule("stall")]), limit_s=0.2)
    assert prediction.problem == "the one POST with all questions took longer than 0.2 s"
    assert prediction.answers == []
    assert 0.2 <= prediction.post_s < 30


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("status", "status 500"),
        ("garbage", "the body is not the contract"),
        ("numbers", "Expected `str`, got `int`"),
        ("no field", "missing required field"),
        ("cut", "connection cut"),
        ("reset", "connection cut"),
    ],
)
async def test_batch_without_a_valid_reply_fails(action: Action, reason: str) -> None:
    prediction = await batch(FakeService([Rule(action)]))
    assert prediction.problem.startswith("the one POST with all questions failed: ")
    assert reason in prediction.problem
    assert prediction.answers == []


async def test_too_few_answers_are_padded() -> None:
    prediction = await batch(FakeService([Rule("short")]))
    assert texts(prediction) == [*ANSWERS[:4], ""]
    assert prediction.answers[4].error == "not answered: the response was too short"
    assert prediction.warnings == ['1 answers fewer than questions; "" stands for the last ones']
    assert prediction.problem == ""


async def test_too_many_answers_are_reported() -> None:
    prediction = await batch(FakeService([Rule("long")]))
    assert texts(prediction) == ANSWERS
    assert prediction.warnings == ["2 answers more than questions; the last ones were dropped"]


async def test_single_is_one_post_after_the_other() -> None:
    service = FakeService([Rule(delay_s=0.02)])
    prediction = await single(service)
    assert service.posts == QUESTIONS
    assert service.most_in_flight == 1
    assert texts(prediction) == ANSWERS
    latencies = [answer.latency_s or 0 for answer in prediction.answers]
    assert all(0.02 <= latency < 30 for latency in latencies)
    assert prediction.post_s == pytest.approx(sum(latencies))


async def test_single_counts_what_is_done() -> None:
    counts: list[int] = []
    async with FakeService().running() as service, Client(service.url) as client:
        await predict_single(client, QUESTIONS, 10, Prediction(), counts.append)
    assert counts == [1, 2, 3, 4, 5]


async def test_single_that_runs_out_of_time_leaves_the_rest_empty() -> None:
    service = FakeService([Rule("stall", match="q2")])
    prediction = await single(service, limit_s=3)
    assert service.posts == ["q0", "q1", "q2"]
    assert texts(prediction) == [*ANSWERS[:2], "", "", ""]
    assert [answer.error for answer in prediction.answers[2:]] == [TIME_IS_UP] * 3
    assert [answer.latency_s is None for answer in prediction.answers[2:]] == [False, True, True]
    assert prediction.problem == ""
    assert prediction.seen == {"not answered in time": 3}
    assert prediction.warnings == ['3 questions were not answered in time and count as ""']
    assert 3 <= prediction.post_s < 30


@pytest.mark.parametrize("action", ["status", "garbage", "numbers", "no field", "cut", "reset"])
async def test_single_with_one_failing_request_goes_on(action: Action) -> None:
    service = FakeService([Rule(action, match="q1")])
    prediction = await single(service)
    assert service.posts == QUESTIONS
    assert texts(prediction) == [ANSWERS[0], "", *ANSWERS[2:]]
    error = prediction.answers[1].error
    assert error
    assert prediction.seen == {"failed requests": 1}
    assert prediction.warnings == [f'1 requests failed and count as ""; the first: {error}']
    assert prediction.problem == ""


async def test_what_is_there_when_it_is_cancelled_stays() -> None:
    prediction = Prediction()
    service = FakeService([Rule("stall", match="q3")])
    async with service.running(), Client(service.url) as client:
        with anyio.CancelScope() as scope:
            await predict_single(
                client,
                QUESTIONS,
                60,
                prediction,
                lambda count: scope.cancel() if count == 3 else None,
            )
    assert texts(prediction) == ANSWERS[:3]
    assert prediction.warnings == []
