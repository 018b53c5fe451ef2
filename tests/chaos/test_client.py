"""How a reply ends, seen by the client of the matrix."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.chaos.client import Post, get, metric, total
from tests.chaos.latency import Latency, percentile_99
from tests.chaos.polling import NotSeen, require, wait_for
from tests.fakes.service import FakeService, Rule

EXPOSITION = """\
# HELP jobs_total Jobs
jobs_total{kind="a"} 2.0
jobs_total{kind="b"} 3.0
jobs_total_created 9.0
plain 7
"""


@pytest.fixture
def service() -> Iterator[FakeService]:
    rules = [
        Rule("cut", match="cut"),
        Rule("reset", match="reset"),
        Rule("stall", match="stall"),
        Rule(match="slow", delay_s=4),
    ]
    with FakeService(rules, metrics=[EXPOSITION]).running_in_a_thread() as running:
        yield running


def test_a_whole_reply(service: FakeService) -> None:
    reply = Post(service.url, ["a", "b"]).wait()
    assert (reply.status, reply.answers, reply.cut) == (200, ["answer to a", "answer to b"], "")


def test_a_reply_cut_in_its_middle_is_told_from_none(service: FakeService) -> None:
    assert Post(service.url, "cut").wait().cut == "half an answer"
    assert Post(service.url, "reset").wait().cut == "no answer"


def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        reply = get(f"http://127.0.0.1:{closed.getsockname()[1]}", "/")
    assert (reply.status, reply.cut, reply.answers) == (0, "no answer", [])


def test_a_client_that_leaves_is_done_at_once(service: FakeService) -> None:
    post = Post(service.url, "stall")
    wait_for("the request", lambda: service.in_flight == 1, 5)
    assert not post.is_done
    post.leave()
    assert post.wait().cut == "no answer"


def test_samples_of_a_metric_are_summed(service: FakeService) -> None:
    assert metric(service.url, "jobs_total") == 5
    assert total(EXPOSITION, "plain") == 7
    assert total(EXPOSITION, "nothing") == 0


def test_latency_is_measured_until_the_reply_is_there(service: FakeService) -> None:
    latency = Latency.measured(service.url, Post(service.url, "slow"))
    assert latency.num_looks >= 20
    assert 0 < latency.p99_s < 30
    assert str(latency).startswith(f"p99 of {latency.num_looks}: GET / ")


def test_percentile_leaves_out_the_slowest_in_a_hundred() -> None:
    assert percentile_99([1.0] * 199 + [9.0]) == 1.0
    assert percentile_99([1.0, 9.0]) == 9.0


def test_waits_end_with_what_they_waited_for() -> None:
    assert wait_for("nothing", lambda: True, 0) < 1
    with pytest.raises(NotSeen, match=r"a miracle: not within 0\.01 s"):
        wait_for("a miracle", lambda: False, 0.01, poll_s=0.001)
    with pytest.raises(NotSeen, match="not so"):
        require("not so", False)
