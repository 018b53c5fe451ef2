"""The image as an evaluator runs it, by its own start and by `uvicorn serve:app`: no network.

One container for each start; the tests run in order.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from evaluator.tracks import LIMITS, Track
from launcher.pocket import PAIRS, load_pairs
from tests.chaos.polling import wait_for
from tests.container.building import Build
from tests.container.running import REPOSITORY, URL, Container, running
from tests.container.tools import output_of, podman

pytestmark = pytest.mark.container

LIMIT = LIMITS[Track.METAX]
STOP_S = 15
LEARNT = {pair.question: pair.answer for pair in load_pairs(PAIRS)}
# As many as the evaluator's larger set holds.
QUESTIONS = list(islice(cycle(LEARNT), 358))
ANSWERS = [LEARNT[question] for question in QUESTIONS]
LEARNT_SET = REPOSITORY / "evaluator/sets/pocket-learnt.jsonl"
STARTS = {
    "supervisord": (),
    "uvicorn": ("uvicorn", "serve:app", "--host", "0.0.0.0", "--port", "8000"),
}


@pytest.fixture(scope="module", params=STARTS)
def container(request: pytest.FixtureRequest, image: Build) -> Iterator[Container]:
    with running(image.name, *STARTS[request.param]) as started:
        yield started


def test_it_is_healthy_in_time_and_its_port_closed_before(container: Container) -> None:
    assert container.ask("/")[0] == 0  # HOLD_PORT_UNTIL_WARM
    seconds = container.wait_until_warm(LIMIT.health_s)
    print(f"\n== healthy after {seconds:.1f} s", file=sys.stderr)
    assert container.ask("/") == (200, '{"status":"batch"}')


def test_it_asked_its_engine_for_its_flags_in_the_build(container: Container) -> None:
    told = container.logs() + container.execute("sh", "-c", "cat run/logs/*.log")
    assert "which arguments it knows" not in told


def test_it_has_no_network_but_its_own(container: Container) -> None:
    list_them = "import socket; print(*(name for _, name in socket.if_nameindex()))"
    assert output_of(container.inside(sys.executable, "-c", list_them)).split() == ["lo"]


def test_358_questions_come_back_whole_and_in_order(container: Container) -> None:
    assert container.predict(QUESTIONS) == ANSWERS


def test_the_judge_passes_it_by_the_strictest_limits(container: Container, tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "report.json"), "--html", str(tmp_path / "report.html")]
    limits = ["--track", Track.METAX.value, "--min-accuracy", "0.8"]
    judge = [sys.executable, "-m", "evaluator", "judge", URL, "--questions", str(LEARNT_SET)]
    done = subprocess.run(
        container.inside(*judge, *limits, *files),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    print(f"\n{done.stdout}", file=sys.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_health_check_passes(container: Container) -> None:
    assert "unhealthy" not in output_of(podman("healthcheck", "run", container.name))


def test_the_engine_is_restarted_from_inside(container: Container) -> None:
    before = container.engine_state()["pid"]
    assert "engine" in container.execute("supervisorctl", "status")
    container.execute("supervisorctl", "restart", "engine")
    wait_for("another engine", lambda: container.engine_state()["pid"] not in (None, before), 60)
    container.wait_until_warm(LIMIT.health_s)
    assert container.predict(QUESTIONS[:64]) == ANSWERS[:64]
    wait_for("no zombie", lambda: "Z" not in container.processes().values(), 10)


def test_an_engine_that_is_killed_comes_back_and_leaves_no_zombie(container: Container) -> None:
    before = container.engine_state()["pid"]
    container.execute("sh", "-c", f"kill -9 {before}")
    wait_for("another engine", lambda: container.engine_state()["pid"] not in (None, before), 60)
    container.wait_until_warm(LIMIT.health_s)
    assert container.predict(QUESTIONS[:64]) == ANSWERS[:64]
    wait_for("no zombie", lambda: "Z" not in container.processes().values(), 10)


def test_it_stops_in_time_and_leaves_nothing(container: Container) -> None:
    processes = container.processes()
    assert len(processes) >= 4  # supervisord, gateway or uvicorn, guardian, engine and its own
    seconds = container.stop(STOP_S)
    print(f"\n== stopped in {seconds:.1f} s", file=sys.stderr)
    assert seconds < STOP_S
    # podman kills at the limit; a process 1 that ends by itself returns 0, or names the signal.
    assert container.state()["ExitCode"] in (0, 128 + signal.SIGTERM)
    # Its process 1 has ended, and waits for podman's monitor to look.
    wait_for("no process left", lambda: container.processes() == {}, 10)
    told = container.logs()
    assert "with SIGKILL" not in told  # supervisord's word
    assert "killing it" not in told  # the guardian's, and that of `uvicorn serve:app`
