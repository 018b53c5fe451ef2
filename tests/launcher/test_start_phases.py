"""Where an engine's start spends its time, as its log tells."""

from __future__ import annotations

import pytest

from launcher.start_phases import StartPhases

STAMP = "INFO 11-21 04:00:36"
IMPORTED = f"(APIServer pid=1) {STAMP} [api_utils.py:347] version 0.32.0"
CORE = f"(EngineCore pid=2) {STAMP} [core.py:133] Initializing a V1 LLM engine (v0.32.0) with"
LOADING = f"(Worker pid=3) {STAMP} [cpu_model_runner.py:68] Starting to load model /m..."
LOADED = f"(Worker pid=3) {STAMP} [default_loader.py:501] Loading weights took 0.02 seconds"
COMPILED = f"(EngineCore pid=2) {STAMP} [monitor.py:34] torch.compile takes 21.40 s in total"
GRAPHS = f"{STAMP} [gpu_model_runner.py:3480] Graph capturing finished in 8 secs, took 0.31 GiB"
INITIALIZED = (
    f"{STAMP} [core.py:402] init engine (profile, create kv cache, warmup model) took 40 s"
)
SERVING = f"(APIServer pid=1) {STAMP} [entry.py:140] Starting vLLM server on http://127.0.0.1:8001"


def read(*moments: tuple[str, float]) -> StartPhases:
    phases = StartPhases(1000.0)
    for line, after_s in moments:
        phases.feed([line], 1000.0 + after_s)
    return phases


def test_a_start_is_divided_into_phases_whose_sum_is_the_whole() -> None:
    phases = read(
        (IMPORTED, 9), (CORE, 19), (LOADING, 29), (LOADED, 31), (INITIALIZED, 71), (SERVING, 72)
    ).seconds(1072.5)
    assert list(phases.items()) == [
        ("imports", 9),
        ("engine process", 10),
        ("worker processes", 10),
        ("weights", 2),
        ("memory and warm-up", 40),
        ("server", 1),
        ("until healthy", 0.5),
    ]


def test_compiling_and_graphs_are_told_apart_from_the_rest_of_the_warm_up() -> None:
    moments = ((IMPORTED, 0), (LOADED, 1), (COMPILED, 20), (GRAPHS, 40), (INITIALIZED, 41))
    assert read(*moments).seconds() == {
        "imports": 0,
        "weights": 1,
        "compile": 21.4,
        "graphs": 8,
        "memory and warm-up": 10.6,
    }


def test_newer_engines_tell_of_compiling_in_the_line_that_ends_the_warm_up() -> None:
    line = f"{INITIALIZED} (compilation: 12.50 s)"
    assert read((IMPORTED, 0), (LOADED, 1), (line, 41)).seconds() == {
        "imports": 0,
        "weights": 1,
        "compile": 12.5,
        "memory and warm-up": 27.5,
    }


def test_parts_that_are_longer_than_the_whole_are_not_believed() -> None:
    moments = ((IMPORTED, 0), (LOADED, 1), (COMPILED, 2), (INITIALIZED, 11))
    assert read(*moments).seconds() == {
        "imports": 0,
        "weights": 1,
        "memory and warm-up": 10,
    }


def test_what_is_not_told_is_part_of_the_next_phase() -> None:
    assert read((IMPORTED, 9), (SERVING, 30)).seconds(1031) == {
        "imports": 9,
        "server": 21,
        "until healthy": 1,
    }


def test_a_start_that_is_not_over_has_the_phases_so_far() -> None:
    assert read((IMPORTED, 9), (CORE, 19)).seconds() == {"imports": 9, "engine process": 10}
    assert StartPhases(0).seconds() == {}


def test_of_several_workers_the_last_ends_a_phase() -> None:
    phases = read((IMPORTED, 1), (LOADED, 5), (LOADED, 8), (INITIALIZED, 9)).seconds()
    assert phases == {"imports": 1, "weights": 7, "memory and warm-up": 1}


def test_a_phase_does_not_begin_again_after_a_later_one() -> None:
    """An engine that reloads weights while it runs tells of it in the same words."""
    phases = read((IMPORTED, 1), (LOADED, 5), (SERVING, 9), (LOADED, 500), (IMPORTED, 501))
    assert phases.seconds(1010) == {"imports": 1, "weights": 4, "server": 4, "until healthy": 1}


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("INFO 07-23 10:22:20 [gpu_model_runner.py:1801] Model loading took 14.2 GiB", "weights"),
        ("INFO 10-06 12:00:41 [api_server.py:1971] Starting vLLM API server 0 on http", "server"),
        (
            "INFO 11-03 15:47:45 [llm_engine.py:428] init engine (profile) took 28.44 seconds",
            "memory and warm-up",
        ),
    ],
)
def test_the_words_of_other_versions_are_known(line: str, phase: str) -> None:
    assert read((IMPORTED, 1), (line, 3)).seconds() == {"imports": 1, phase: 2}


def test_other_lines_end_no_phase() -> None:
    line = "Loading safetensors checkpoint shards: 100% Completed | 1/1"
    assert read((line, 1), (IMPORTED, 2), (line, 3)).seconds() == {"imports": 2}
