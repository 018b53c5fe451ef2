"""Owns the limit of open files: every prompt under way is a connection, and so a descriptor."""

from __future__ import annotations

import logging
import resource

WANTED_FILES = 65_536

_log = logging.getLogger("gateway")


# Listeners, log files, libraries, and the connections that are no completion.
_OTHER_FILES = 64


def affordable_connections(file_limit: int) -> int:
    """Tell how many completions may be under way: the clients' connections need descriptors too.

    Beyond, a new connection fails, also the one that asks for the engine's health.
    """
    return max((file_limit - _OTHER_FILES) * 3 // 4, 1)


def raise_file_limit(wanted: int = WANTED_FILES) -> int:
    """Raise the soft limit of open files as far as the hard limit allows; return what holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        _log.info("open-file limit raised from %d to %d", soft, target)
        return target
    return soft
