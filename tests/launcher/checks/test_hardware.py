from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.checks import hardware
from launcher.checks.hardware import Here
from launcher.checks.result import Status
from launcher.settings import load_settings
from launcher.tracks import GIB, Track

pytestmark = pytest.mark.anyio
PROCESSOR = Here(Accelerator.CPU, "CPU (2 cores)", 16 * GIB)
CARD = Here(Accelerator.NVIDIA, "NVIDIA (1 x NVIDIA GeForce RTX 5090)", 64 * GIB)


async def test_the_device_files_tell_what_is_here(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "mxcd").touch()
    here = await hardware.look(tmp_path, search_path=str(tmp_path))
    assert here == Here(Accelerator.METAX, "MetaX", None)
    row = hardware.check(here, None)
    assert row.status is Status.WARNING
    assert "its tool mx-smi named no card" in row.observed


def test_a_card_that_no_known_tool_names_is_not_judged() -> None:
    """Moore Threads' was told that the tools of other vendors do not work."""
    row = hardware.check(Here(Accelerator.MOORE_THREADS, "Moore Threads", None), None)
    assert row.status is Status.SKIPPED
    assert "device files of Moore Threads" in row.observed


def test_the_machine_s_own_hardware_is_told() -> None:
    assert hardware.check(PROCESSOR, None).observed == "none, so CPU (2 cores)"
    assert hardware.check(CARD, None).observed == CARD.description


def test_a_track_s_card_is_checked_for_on_a_machine_without_one() -> None:
    row = hardware.check(PROCESSOR, Track.METAX)
    assert row.status is Status.OK
    assert "MetaX C500" in row.observed
    device = hardware.memory_device(PROCESSOR, Track.METAX, load_settings({}), {})
    assert device is not None
    assert (device.usable_bytes, device.name) == (int(64 * GIB * 0.9), "MetaX C500 64 GB x 0.9")


def test_cards_add_up_and_the_share_counts() -> None:
    environ = {"TENSOR_PARALLEL_SIZE": "2", "GPU_MEMORY_UTILIZATION": "0.5"}
    device = hardware.memory_device(CARD, None, load_settings(environ), {})
    assert device is not None
    assert device.usable_bytes == 32 * GIB
    assert device.name.startswith("2 x ")


def test_a_card_of_no_track_has_the_memory_that_is_told() -> None:
    other = Here(Accelerator.NVIDIA, "NVIDIA (1 x NVIDIA A100-SXM4-80GB)", None)
    settings = load_settings({})
    assert hardware.memory_device(other, None, settings, {}) is None
    device = hardware.memory_device(other, None, settings, {}, card_bytes=80 * GIB)
    assert device is not None
    assert device.total_bytes == 80 * GIB


@pytest.mark.parametrize(("environ", "gib"), [({}, 3), ({"VLLM_CPU_KVCACHE_SPACE": "5"}, 5)])
def test_a_processor_shares_the_free_memory(environ: dict[str, str], gib: int) -> None:
    settings = load_settings({"CPU_KV_CACHE_GIB": "3"})
    device = hardware.memory_device(PROCESSOR, None, settings, environ)
    assert device is not None
    assert (device.usable_bytes, device.kv_cache_bytes) == (16 * GIB, gib * GIB)


def test_a_machine_that_does_not_tell_its_memory_is_not_judged() -> None:
    here = Here(Accelerator.CPU, "CPU (2 cores)", None)
    assert hardware.memory_device(here, None, load_settings({}), {}) is None
