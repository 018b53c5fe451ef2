"""Owns whether a prompt is asked again, and after how long a pause. It asks nothing itself."""

from __future__ import annotations

from gateway.batch import Batch
from gateway.errors import EngineFailure, EngineLost, EngineNotReady, GatewayError

FIRST_DELAY_S = 0.1
# An engine that fails may fail everybody for a second or two, as one that shuts down does: tries
# that are made within less would spend every prompt on it.
FIRST_FAILURE_DELAY_S = 0.5
MAX_DELAY_S = 5.0


class GroupRefused(GatewayError):
    """A call of several prompts gave nothing, which says nothing about any one of them."""


class Retries:
    """The rule for one gateway: `max_attempts` bounds what a prompt itself may be the cause of."""

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts

    def is_worth_another(self, batch: Batch, index: int, error: GatewayError) -> bool:
        """Tell whether a prompt is asked again; counts its tries in the batch.

        Without a bound of its own only where the engine did not take it: the deadline bounds that.
        """
        if isinstance(error, GroupRefused):
            return True
        batch.tries[index] = batch.tries.get(index, 0) + 1
        if isinstance(error, EngineLost):
            count = batch.losses[index] = batch.losses.get(index, 0) + 1
        elif isinstance(error, EngineNotReady):
            return True
        elif isinstance(error, EngineFailure) and error.can_pass:
            count = batch.failures[index] = batch.failures.get(index, 0) + 1
        else:
            return False
        return count < self._max_attempts

    def delay_s(self, batch: Batch, index: int) -> float:
        """Return how long to wait before a prompt is asked again."""
        # The exponent is bounded too: a deadline may be hours away.
        doublings = min(batch.tries[index] - 1, 10)
        first_s = FIRST_FAILURE_DELAY_S if batch.failures.get(index) else FIRST_DELAY_S
        return float(min(first_s * 2.0**doublings, MAX_DELAY_S))
