"""Which rung follows which failure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.engines.base import Capacity, Symptom, SymptomKind
from launcher.ladder import AS_CONFIGURED, FALLBACK, Rung, Spent, climb

CARD = Capacity(max_model_len=32768, max_num_seqs=256, memory_share=0.9, has_transformers=True)
CPU = Capacity(is_eager=True, max_model_len=2048, max_num_seqs=256, cpu_kv_cache_gib=1)
PLENTY = Spent(used_s=20, lived_s=20, budget_s=170)
SCARCE = Spent(used_s=90, lived_s=60, budget_s=170)


def failing(kind: SymptomKind) -> Symptom:
    return Symptom(kind, "words")


def given(rung: Rung, start: Capacity = CARD) -> Capacity:
    """What a rung gives the engine, on a machine that starts with `start`."""
    return replace(
        start,
        is_eager=start.is_eager or rung.is_eager,
        max_model_len=rung.max_model_len or start.max_model_len,
        max_num_seqs=rung.max_num_seqs or start.max_num_seqs,
        memory_share=rung.memory_share or start.memory_share,
        cpu_kv_cache_gib=rung.cpu_kv_cache_gib or start.cpu_kv_cache_gib,
    )


def whole_climb(symptom: Symptom, start: Capacity = CARD, spent: Spent = PLENTY) -> list[Rung]:
    """Every rung that follows when all of them fail in the same way, until one repeats."""
    rungs = [AS_CONFIGURED]
    while True:
        following = climb(rungs[-1], given(rungs[-1], start), symptom, spent)
        if following == rungs[-1]:
            return rungs
        rungs.append(following)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("other", ["as configured", "eager", "smaller", "transformers"]),
        ("graphs", ["as configured", "eager", "smaller", "smallest"]),
        ("memory", ["as configured", "smaller", "smallest"]),
        ("final", ["as configured", "eager", "smaller", "transformers"]),
    ],
)
def test_each_kind_of_failure_has_its_way_up(kind: SymptomKind, names: list[str]) -> None:
    assert [rung.name for rung in whole_climb(failing(kind))] == names


@pytest.mark.parametrize("kind", ["other", "graphs", "memory", "context"])
def test_another_engine_beside_it_is_the_last_rung_of_all(kind: SymptomKind) -> None:
    start = replace(CARD, has_fallback=True)
    assert whole_climb(failing(kind), start)[-1] == FALLBACK
    assert [rung for rung in whole_climb(failing(kind), start) if rung.engine] == [FALLBACK]


def test_the_last_chance_after_the_safest_rung_is_the_other_engine() -> None:
    rung = Rung("smaller", is_eager=True, max_model_len=4096)
    capacity = replace(given(rung), has_fallback=True)
    assert climb(rung, capacity, failing("other"), SCARCE) == FALLBACK


def test_an_engine_that_dies_at_work_is_asked_for_less_before_it_is_another() -> None:
    capacity = replace(CPU, has_fallback=True)
    rung = climb(AS_CONFIGURED, capacity, failing("other"), PLENTY, was_ready=True)
    names = [rung.name]
    while rung != FALLBACK:
        rung = climb(rung, given(rung, capacity), failing("other"), PLENTY, was_ready=True)
        names.append(rung.name)
    assert names == ["smaller", "smallest", FALLBACK.name]


def test_what_is_eager_already_skips_that_rung() -> None:
    names = [rung.name for rung in whole_climb(failing("other"), CPU)]
    assert names == ["as configured", "smaller"]


def test_an_engine_without_the_transformers_library_skips_that_rung() -> None:
    start = replace(CARD, has_transformers=False)
    assert [rung.name for rung in whole_climb(failing("other"), start)][-1] == "smaller"


def test_a_blind_step_takes_less_of_everything() -> None:
    smaller, smallest = whole_climb(failing("memory"))[1:]
    assert smaller == Rung("smaller", True, 4096, 64, 0.8)
    assert smallest == Rung("smallest", True, 2048, 16, 0.55)


def test_a_small_configuration_is_not_made_larger() -> None:
    start = replace(CARD, max_model_len=1024, max_num_seqs=8, memory_share=0.15)
    for rung in whole_climb(failing("memory"), start)[1:]:
        assert (rung.max_model_len, rung.max_num_seqs, rung.memory_share) == (1024, 8, 0.1)


def test_what_the_engine_chose_itself_gets_a_limit() -> None:
    start = Capacity(memory_share=0.9)
    assert climb(AS_CONFIGURED, start, failing("memory"), PLENTY).max_model_len == 4096


def test_a_told_length_is_all_that_changes() -> None:
    """A compiled engine stays compiled when only its context was too long."""
    symptom = replace(failing("context"), max_model_len=12336)
    assert climb(AS_CONFIGURED, CARD, symptom, PLENTY) == Rung("smaller", max_model_len=12336)


def test_a_told_length_that_does_not_do_either_is_followed_by_the_smallest() -> None:
    symptom = replace(failing("context"), max_model_len=12336)
    smallest = whole_climb(symptom)[-1]
    assert smallest == Rung("smallest", True, 2048, 16)


def test_a_told_share_is_all_that_changes() -> None:
    symptom = replace(failing("memory"), memory_share=0.72)
    assert climb(AS_CONFIGURED, CARD, symptom, PLENTY) == Rung("smaller", memory_share=0.72)


def test_a_told_share_means_nothing_where_the_engine_was_given_none() -> None:
    symptom = replace(failing("memory"), memory_share=0.95)
    assert climb(AS_CONFIGURED, CPU, symptom, PLENTY).memory_share is None


def test_the_last_rung_follows_what_the_engine_tells_next() -> None:
    """A neighbour on the card may take more and more of it."""
    last = Rung("smallest", True, 2048, 16, 0.55)
    symptom = replace(failing("memory"), memory_share=0.3)
    assert climb(last, given(last), symptom, PLENTY) == Rung("smallest", True, 2048, 16, 0.3)


def test_a_cpu_gets_the_cache_that_fits() -> None:
    start = replace(CPU, cpu_kv_cache_gib=40)
    symptom = replace(failing("memory"), cpu_kv_cache_gib=2)
    assert climb(AS_CONFIGURED, start, symptom, PLENTY) == Rung("smaller", cpu_kv_cache_gib=2)
    assert climb(AS_CONFIGURED, start, failing("memory"), PLENTY).cpu_kv_cache_gib == 20


@pytest.mark.parametrize(
    ("spent", "is_last_chance"),
    [
        (Spent(used_s=20, lived_s=20, budget_s=170), False),
        (Spent(used_s=50, lived_s=60, budget_s=170), False),
        (Spent(used_s=51, lived_s=60, budget_s=170), True),
        (Spent(used_s=400, lived_s=5, budget_s=170), True),
        (Spent(used_s=9999, lived_s=600, budget_s=0), False),
        (Spent(used_s=3, lived_s=3, budget_s=170), False),
    ],
)
def test_the_budget_has_room_for_two_more_starts_or_not(spent: Spent, is_last_chance: bool) -> None:
    assert spent.is_last_chance is is_last_chance


@pytest.mark.parametrize(
    ("kind", "name"),
    [("other", "smaller"), ("graphs", "smallest"), ("memory", "smallest")],
)
def test_the_last_chance_goes_to_the_safest_rung(kind: SymptomKind, name: str) -> None:
    rung = climb(AS_CONFIGURED, CARD, failing(kind), SCARCE)
    assert (rung.name, rung.is_eager) == (name, True)


def test_after_the_safest_rung_what_is_left_is_tried() -> None:
    rung = climb(AS_CONFIGURED, CARD, failing("other"), SCARCE)
    assert climb(rung, given(rung), failing("other"), SCARCE).name == "transformers"


def test_the_last_chance_keeps_what_the_engine_told() -> None:
    symptom = replace(failing("context"), max_model_len=1008)
    rung = climb(AS_CONFIGURED, CARD, symptom, SCARCE)
    assert (rung.name, rung.max_model_len, rung.memory_share) == ("smallest", 1008, None)


@pytest.mark.parametrize(
    ("rung", "shown"),
    [
        (AS_CONFIGURED, "as configured"),
        (Rung("eager", True), "eager"),
        (
            Rung("smaller", True, 4096, 64, 0.8),
            "smaller (eager, context 4096, 64 sequences, 0.8 of the memory)",
        ),
        (Rung("smaller", cpu_kv_cache_gib=2), "smaller (KV cache 2 GiB)"),
    ],
)
def test_a_rung_says_what_it_changes(rung: Rung, shown: str) -> None:
    assert str(rung) == shown


def test_a_rung_of_a_later_version_counts_as_the_lowest() -> None:
    assert climb(Rung("unknown"), CARD, failing("other"), PLENTY).name == "eager"
