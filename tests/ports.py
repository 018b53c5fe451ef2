"""Ports for programs that are to be started: free, and such that nobody else is given them."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

FIRST = 10_000
# The kernel gives those from here on to outgoing connections: one of them may be taken by the time
# that the program listens. See ip_local_port_range in Linux's documentation of ip-sysctl.
EPHEMERAL = 32_768
ATTEMPTS = 100
# Not the shared generator: hypothesis seeds that, in every process alike.
_random = random.SystemRandom()


def free_port() -> int:
    """Return a port of this machine that nothing listens on.

    Raises:
        OSError: none was found.
    """
    for _ in range(ATTEMPTS):
        port = _random.randrange(FIRST, EPHEMERAL)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no free port from {FIRST} to {EPHEMERAL} in {ATTEMPTS} attempts")
