import os
from pathlib import Path

import pytest

from gateway.status_memory import KEPT_S, Memory

MEMINFO = "MemTotal:  4096 kB\nMemFree:  1 kB\nMemAvailable:  1024 kB\nHugePages_Total:  0\n"
PAGE = os.sysconf("SC_PAGE_SIZE")


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="ascii")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "proc/meminfo", MEMINFO)
    put(tmp_path, "proc/self/statm", "900 30 10 1 0 1 0\n")
    return tmp_path


def test_the_machines_and_the_processes_memory_is_told(root: Path) -> None:
    put(root, "proc/7/statm", "9 5 1 0 0 0 0\n")
    put(root, "proc/8/statm", "9 3 1 0 0 0 0\n")
    told = Memory(root).told([7, 8, 9])
    assert told == {
        "total_bytes": 4096 * 1024,
        "available_bytes": 1024 * 1024,
        "engine_bytes": 6 * PAGE,
        "gateway_bytes": 20 * PAGE,
        "cores": os.cpu_count(),
    }


def test_an_engine_that_is_not_here_has_no_memory(root: Path) -> None:
    assert Memory(root).told([])["engine_bytes"] is None
    assert Memory(root).told([9])["engine_bytes"] is None


@pytest.mark.parametrize(
    "folder", ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"]
)
def test_a_containers_limit_counts(root: Path, folder: str) -> None:
    put(root, folder, "1000000\n")
    used = folder.replace("memory.max", "memory.current").replace("limit_in", "usage_in")
    assert Memory(root).told([])["available_bytes"] is None
    put(root, used, "300000\n")
    told = Memory(root).told([])
    assert (told["total_bytes"], told["available_bytes"]) == (1_000_000, 700_000)


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n"])
def test_no_limit_is_none(root: Path, limit: str) -> None:
    put(root, "sys/fs/cgroup/memory.max", limit)
    assert Memory(root).told([])["total_bytes"] == 4096 * 1024


def test_without_a_kernel_that_tells_there_are_no_figures(tmp_path: Path) -> None:
    told = Memory(tmp_path).told([1])
    assert told["total_bytes"] is told["available_bytes"] is told["engine_bytes"] is None


def test_figures_are_read_every_few_seconds_only(root: Path) -> None:
    now = 100.0
    memory = Memory(root, lambda: now)
    first = memory.told([])
    put(root, "proc/self/statm", "900 50 10 1 0 1 0\n")
    now += KEPT_S - 0.1
    assert memory.told([]) == first
    now += 0.2
    assert memory.told([])["gateway_bytes"] == 40 * PAGE


def test_this_machine_tells(anyio_backend: str) -> None:
    told = Memory().told([os.getpid()])
    assert told["gateway_bytes"] > 0
    assert told["engine_bytes"] > 0
    assert 0 < told["available_bytes"] <= told["total_bytes"]
