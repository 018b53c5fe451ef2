import pytest

from evaluator import tracks as evaluators
from launcher.tracks import LIMITS, MACHINES, Track, memory_of_card


def test_the_evaluator_judges_by_the_same_limits() -> None:
    theirs = {
        track.value: (limits.build_s, limits.health_s, limits.predict_s)
        for track, limits in evaluators.LIMITS.items()
    }
    ours = {
        track.value: (limits.build_s, limits.health_s, limits.predict_s)
        for track, limits in LIMITS.items()
    }
    assert ours == theirs
    assert set(MACHINES) == set(Track)


@pytest.mark.parametrize(
    ("description", "gib"),
    [
        ("MetaX (1 x MXC500)", 64),
        ("NVIDIA (1 x NVIDIA GeForce RTX 5090)", 32),
        ("NVIDIA (1 x NVIDIA A100)", None),
    ],
)
def test_known_cards_have_a_memory(description: str, gib: int | None) -> None:
    assert memory_of_card(description) == (None if gib is None else gib * 2**30)
