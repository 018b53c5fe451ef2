import socket

import pytest

from launcher.checks import ports
from launcher.checks.result import Status
from launcher.settings import load_settings
from launcher.tracks import Track
from tests.ports import free_port

pytestmark = pytest.mark.anyio


async def test_ports_that_are_free_are_ok() -> None:
    settings = load_settings({"GATEWAY_PORT": str(free_port()), "ENGINE_PORT": str(free_port())})
    found = await ports.problems(settings)
    assert ports.check(settings, found, None).status is Status.OK


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load_settings({"GATEWAY_PORT": str(free_port()), "ENGINE_PORT": str(port)})
        found = await ports.problems(settings)
    row = ports.check(settings, found, None)
    assert row.status is Status.WARNING
    assert row.observed == f"ENGINE_PORT={port}: another program listens there"


def test_one_port_for_both_is_a_failure() -> None:
    settings = load_settings({"ENGINE_PORT": "8000"})
    assert ports.check(settings, [], None).status is Status.FAILURE


def test_a_track_s_evaluator_asks_port_8000() -> None:
    assert ports.check(load_settings({}), ["taken here"], Track.METAX).status is Status.OK
    settings = load_settings({"GATEWAY_PORT": "9000"})
    assert ports.check(settings, [], Track.METAX).status is Status.FAILURE
    assert ports.check(settings, [], None).status is Status.OK
