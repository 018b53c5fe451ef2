"""The whole stack as scripts/serve runs it: supervisord, guardian, engine and gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants.contestant import Ask, Unavailable, predict_at
from tests.e2e.stack import Stack, running_stack


@contextmanager
def started(model_dir: Path) -> Iterator[tuple[Stack, Callable[[], Ask]]]:
    """Start it in a checkout of its own; what is given back waits until it is warm."""
    # Empty: the gateway's own environment, as for a user, not that of the tests.
    own = {"EVALGATE_PYTHON": "", "MODEL_DIR": str(model_dir), "PREDICT_DEADLINE_S": "345"}
    with running_stack(**own) as stack:
        yield stack, lambda: _ready(stack)


def _ready(stack: Stack) -> Ask:
    try:
        stack.wait_until_warm()
    except AssertionError as exc:
        raise Unavailable(str(exc)) from exc
    return predict_at(stack.gateway_url)
