"""What hostile requests leave behind in the gateway's process: nothing.

`HOSTILE_SCALE=20 pytest -s` of this file sends twenty times as many, and prints what was measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.gateway.attacks import BODIES, BROKEN, CUT, REQUESTS
from tests.gateway.hostile import SCALE, Target, post, under_attack

WARM_UP = 2_500  # what the process holds has levelled off by then
REQUESTS_SENT = 3_000 * SCALE
# A leak of a kilobyte in a third of the requests is what this tells from an allocator's noise.
TOLERATED_BYTES = 10 * 1024 * 1024
SETTLED = 10
NUM_LOOKS = 12


@pytest.fixture
def target() -> Iterator[Target]:
    with under_attack("memory") as target:
        yield target


def test_hostile_requests_leave_no_memory_and_no_descriptor_behind(target: Target) -> None:
    attacks = itertools.cycle(everything())
    before_fds = target.process.num_fds()
    attack(target, itertools.islice(attacks, WARM_UP))
    sizes = []
    for _ in range(NUM_LOOKS):
        attack(target, itertools.islice(attacks, REQUESTS_SENT // NUM_LOOKS))
        sizes.append(target.rss_bytes)
    fds = target.process.num_fds()
    told = ", ".join(f"{size / 1e6:.1f}" for size in sizes)
    print(f"\nmemory in MB: {told}; descriptors {before_fds}")
    # One request of megabytes is in the one look and not in the next: what stays is in all.
    half = NUM_LOOKS // 2
    assert min(sizes[half:]) - min(sizes[:half]) < TOLERATED_BYTES
    # The engine's connections come and go; those of 4,000 clients would be seen.
    assert fds <= before_fds + SETTLED


def everything() -> list[bytes]:
    """Return all attacks, as bytes for connections of their own."""
    bodies = [post(body) for body, _ in BODIES.values()]
    requests = [request.data for request in REQUESTS.values()]
    return [*bodies, *requests, *BROKEN.values(), *CUT.values()]


def attack(target: Target, attacks: Iterator[bytes]) -> None:
    """Send each, and leave after the first reply, or when there cannot be one."""
    for data in attacks:
        with target.wire() as wire:
            wire.send(data)
            if data in CUT.values():
                wire.end()
            reply = wire.reply()
            if reply is not None:
                reply.check()
    target.check()
