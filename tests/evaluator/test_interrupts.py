from __future__ import annotations

import os
import signal

import anyio
import pytest

from evaluator.interrupts import SIGNALS, Interrupts

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("number", SIGNALS)
async def test_signal_cancels_the_block(number: signal.Signals) -> None:
    interrupts = Interrupts()
    with anyio.fail_after(10):
        with interrupts.cancelling():
            os.kill(os.getpid(), number)
            await anyio.sleep_forever()
    assert (interrupts.has_come, interrupts.is_urgent) == (True, False)


async def test_second_signal_is_urgent() -> None:
    interrupts = Interrupts()
    with anyio.fail_after(10), interrupts.cancelling():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            with anyio.CancelScope(shield=True):
                while not interrupts.is_urgent:  # noqa: ASYNC110 - a signal is no event
                    await anyio.sleep(0.001)
    assert interrupts.count == 2


async def test_block_without_a_signal() -> None:
    interrupts = Interrupts()
    with interrupts.cancelling():
        pass
    assert (interrupts.has_come, interrupts.is_urgent) == (False, False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_errors_of_the_block_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="mine"), Interrupts().cancelling():
        raise ValueError("mine")


async def test_signal_that_was_ignored_stays_ignored() -> None:
    """As nohup does with SIGHUP."""
    interrupts = Interrupts()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.cancelling():
            os.kill(os.getpid(), signal.SIGHUP)
            await anyio.lowlevel.checkpoint()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not interrupts.has_come
