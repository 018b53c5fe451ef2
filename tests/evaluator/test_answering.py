from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from evaluator.answer_journal import Answered, Journal
from evaluator.answering import MAX_FAILED_IN_A_ROW, Asker, Patience, ServiceLost
from evaluator.client import Client
from tests.fakes.service import Action, FakeService, Health, Rule

pytestmark = pytest.mark.anyio
QUESTIONS = [f"q{number}" for number in range(7)]
QUICK = Patience(
    request_s=5,
    recovery_s=5,
    chunk_backoff_s=(0.01, 0.02),
    question_backoff_s=(0.01,),
    look_interval_s=0.01,
)


async def ask(
    service: FakeService, journal: Journal, chunk: int = 3, patience: Patience = QUICK
) -> None:
    async with Client(service.url) as client:
        await Asker(client, patience).answer_all(QUESTIONS, journal, chunk)


def journal_in(folder: Path) -> Journal:
    return Journal(folder / "side", "f", len(QUESTIONS))


def texts(journal: Journal) -> list[str]:
    return [journal.answers[index].answer for index in range(len(QUESTIONS))]


ALL = [f"answer to {question}" for question in QUESTIONS]


async def test_chunks_in_order_and_what_is_known_is_not_asked(tmp_path: Path) -> None:
    async with FakeService().running() as service:
        with journal_in(tmp_path) as journal:
            journal.add({1: Answered("known"), 2: Answered("", "given up")})
            await ask(service, journal)
            assert service.posts == [["q0", "q3", "q4"], ["q5", "q6"]]
            assert texts(journal) == [ALL[0], "known", "", *ALL[3:]]


async def test_chunk_of_one_is_a_string(tmp_path: Path) -> None:
    async with FakeService(health=["ok"]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal, chunk=1)
            assert service.posts == QUESTIONS
            assert texts(journal) == ALL


async def test_nothing_left_needs_no_service(tmp_path: Path) -> None:
    with journal_in(tmp_path) as journal:
        journal.add({index: Answered("a") for index in range(len(QUESTIONS))})
        async with Client("http://127.0.0.1:1") as client:
            await Asker(client, QUICK).answer_all(QUESTIONS, journal, 3)


async def test_service_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    seen: list[str] = []
    fake = FakeService(health=["503", "503", "batch"])
    async with fake.running(), Client(fake.url) as client:
        with journal_in(tmp_path) as journal:
            await Asker(client, QUICK, seen.append).answer_all(QUESTIONS, journal, 9)
    assert seen == ["status 503 ×1", "status 503 ×2"]


@pytest.mark.parametrize("action", ["status", "garbage", "short", "long", "cut", "reset", "stall"])
async def test_chunk_that_fails_once_is_asked_again(tmp_path: Path, action: Action) -> None:
    patience = Patience(3, 5, (0.01,), (0.01,), 0.01) if action == "stall" else QUICK
    async with FakeService([Rule(action, match="q3", times=1)]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal, patience=patience)
            assert service.posts == [QUESTIONS[:3], QUESTIONS[3:6], QUESTIONS[3:6], ["q6"]]
            assert texts(journal) == ALL


@pytest.mark.parametrize("action", ["status", "garbage", "numbers", "cut", "reset"])
async def test_poison_question_costs_only_itself(tmp_path: Path, action: Action) -> None:
    async with FakeService([Rule(action, match="q4")]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert texts(journal) == [*ALL[:4], "", *ALL[5:]]
            assert [index for index, known in journal.answers.items() if known.error] == [4]
            tries = [QUESTIONS[3:6]] * 3 + ["q3", "q4", "q4", "q5"]
            assert service.posts == [QUESTIONS[:3], *tries, ["q6"]]


@pytest.mark.parametrize("ended", ["", "whole=2 partial=0 blank=0 failed=1 unfinished=0"])
async def test_empty_answers_of_a_chunk_are_asked_one_by_one(tmp_path: Path, ended: str) -> None:
    """One answer makes a gateway's reply a 200; the "" of the others was recorded."""
    async with FakeService([Rule("empty", match="q4", times=1, ended=ended)]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert service.posts == [QUESTIONS[:3], QUESTIONS[3:6], "q4", ["q6"]]
            assert texts(journal) == ALL


async def test_prompt_that_fails_in_a_chunk_and_alone_has_an_error(tmp_path: Path) -> None:
    rules = [Rule("empty", match="q4", times=1), Rule("status", match="q4", code=502)]
    async with FakeService(rules).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert texts(journal) == [*ALL[:4], "", *ALL[5:]]
            assert journal.answers[4].error.startswith("status 502")


async def test_empty_answer_alone_is_the_answer(tmp_path: Path) -> None:
    async with FakeService([Rule("empty", match="q4")]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert journal.answers[4] == Answered("")
            assert service.posts == [QUESTIONS[:3], QUESTIONS[3:6], "q4", ["q6"]]


async def test_chunk_with_answers_that_are_cut_is_asked_one_by_one(tmp_path: Path) -> None:
    """Cut at the gateway's deadline; only its header tells, and not which ones."""
    rules = [Rule("partial", match="q4", times=1, ended="whole=2 partial=1 blank=0")]
    async with FakeService(rules).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert service.posts == [QUESTIONS[:3], QUESTIONS[3:6], "q3", "q4", "q5", ["q6"]]
            assert texts(journal) == ALL


async def test_blank_question_is_not_asked_again(tmp_path: Path) -> None:
    rules = [Rule("empty", match=" ")]
    async with FakeService(rules).running() as service, Client(service.url) as client:
        with Journal(tmp_path / "side", "f", 2) as journal:
            await Asker(client, QUICK).answer_all([" ", "a"], journal, 2)
            assert service.posts == [[" ", "a"]]
            assert journal.answers == {0: Answered(""), 1: Answered("answer to a")}


@pytest.mark.parametrize("question", [" ", "a"])
async def test_empty_answer_does_not_show_that_others_are_answered(
    tmp_path: Path, question: str
) -> None:
    rules = [Rule("status", match="poison"), Rule("empty")]
    async with FakeService(rules).running() as service, Client(service.url) as client:
        with Journal(tmp_path / "side", "f", 3) as journal:
            with pytest.raises(ServiceLost, match="not one question was answered"):
                await Asker(client, QUICK).answer_all(["poison", question, "poison"], journal, 1)
            assert journal.answers == {1: Answered("")}


async def test_poison_at_the_end_of_a_chunk_is_recorded_with_the_next_one(tmp_path: Path) -> None:
    async with FakeService([Rule("status", match="q2")]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert texts(journal) == [*ALL[:2], "", *ALL[3:]]


async def test_question_without_an_answer_in_time(tmp_path: Path) -> None:
    patience = Patience(2.5, 5, (), (), 0.01)
    async with FakeService([Rule("stall", match="q4")]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal, patience=patience)
            assert journal.answers[4] == Answered("", "no answer within 2.5 s")
            assert len(journal.answers) == len(QUESTIONS)


async def test_prompt_that_is_refused_is_not_tried_again(tmp_path: Path) -> None:
    async with FakeService([Rule("status", match="q4", code=413)]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert service.posts[1:-1] == [QUESTIONS[3:6], "q3", "q4", "q5"]
            assert journal.answers[4].error.startswith("status 413")


async def test_many_refused_prompts_are_their_own_fault(tmp_path: Path) -> None:
    rules = [Rule("status", match=question, code=400) for question in QUESTIONS[1:]]
    async with FakeService(rules).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal, chunk=1)
            assert texts(journal) == [ALL[0], *[""] * 6]


@pytest.mark.parametrize("code", [400, 404, 500])
async def test_service_that_answers_nothing_costs_no_answers(tmp_path: Path, code: int) -> None:
    async with FakeService([Rule("status", code=code)]).running() as service:
        with journal_in(tmp_path) as journal:
            message = f"{MAX_FAILED_IN_A_ROW} questions in a row failed, the last one with: status"
            with pytest.raises(ServiceLost, match=message):
                await ask(service, journal)
            assert journal.answers == {}


async def test_few_questions_that_all_fail_are_not_given_up(tmp_path: Path) -> None:
    async with FakeService([Rule("status")]).running() as service, Client(service.url) as client:
        with journal_in(tmp_path) as journal:
            with pytest.raises(ServiceLost, match="not one question was answered, the last one"):
                await Asker(client, QUICK).answer_all(QUESTIONS[:2], journal, 2)
            assert journal.answers == {}


async def test_last_questions_that_fail_are_recorded(tmp_path: Path) -> None:
    async with FakeService([Rule("status", match="q6")]).running() as service:
        with journal_in(tmp_path) as journal:
            await ask(service, journal)
            assert journal.answers[6].error.startswith("status 500")
        with journal_in(tmp_path) as journal:
            assert len(journal.answers) == len(QUESTIONS)


@pytest.mark.parametrize("chunk", [1, 3])
async def test_service_that_is_gone_costs_no_answers(tmp_path: Path, chunk: int) -> None:
    patience = Patience(5, 3, (0.01,), (0.01,), 0.01)
    health: list[Health] = ["batch", "503"]
    async with FakeService([Rule("reset", match="q4")], health).running() as service:
        with journal_in(tmp_path) as journal:
            with pytest.raises(ServiceLost, match=r"not healthy .* status 503 \(3 s\)"):
                await ask(service, journal, chunk, patience)
            assert sorted(journal.answers) == [0, 1, 2, 3][: 4 if chunk == 1 else 3]


async def test_cancelled_chunk_is_not_recorded(tmp_path: Path) -> None:
    async with FakeService([Rule("stall", match="q3")]).running() as service:
        async with Client(service.url) as client:
            with journal_in(tmp_path) as journal, anyio.CancelScope() as scope:
                await Asker(client, QUICK).answer_all(QUESTIONS, journal, 3, scope.cancel)
        with journal_in(tmp_path) as journal:
            assert sorted(journal.answers) == [0, 1, 2]
