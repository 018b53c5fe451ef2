"""The engine's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.environment import engine_environment, free_shared_memory, holds_queues
from launcher.settings import load_settings

PYTHON = Path("/engine/bin/python")
OURS = Path("/gateway/.venv")


def build(environ: dict[str, str], accelerator: Accelerator = Accelerator.CPU) -> dict[str, str]:
    return engine_environment(environ, load_settings(environ), accelerator, PYTHON, OURS)


def test_settings_named_like_vllms_variables_do_not_reach_it() -> None:
    names = ("QUANTIZATION", "KV_CACHE_DTYPE", "LOAD_FORMAT")
    environ = {f"VLLM_{name}": "x" for name in names}
    environ |= {"VLLM_MAX_NUM_SEQS": "1", "VLLM_MAX_NUM_BATCHED_TOKENS": "1"}
    environ |= {"VLLM_ENFORCE_EAGER": "1", "VLLM_LOGGING_LEVEL": "DEBUG"}
    env = build(environ)
    assert not set(environ) & set(env) - {"VLLM_LOGGING_LEVEL"}
    assert env["VLLM_LOGGING_LEVEL"] == "DEBUG"


def test_secrets_do_not_reach_it_but_its_own_key_does() -> None:
    env = build({"MODELSCOPE_API_TOKEN": "token", "ENGINE_API_KEY": "key"})
    assert "token" not in env.values()
    assert [name for name, value in env.items() if value == "key"] == ["VLLM_API_KEY"]
    assert "VLLM_API_KEY" not in build({})


def test_settings_and_secrets_are_kept_back_in_small_letters_too() -> None:
    """Settings are read whatever the case of their names; a token so named went to the engine."""
    env = build(
        {"modelscope_api_token": "token", "Engine_Api_Key": "key", "vllm_quantization": "x"}
    )
    assert not {"token", "x"} & set(env.values())
    assert [name for name, value in env.items() if value == "key"] == ["VLLM_API_KEY"]


@pytest.mark.parametrize(("value", "is_kept"), [("", False), (" ", False), ("0", True)])
def test_a_blank_list_of_cards_is_removed(value: str, is_kept: bool) -> None:
    assert ("CUDA_VISIBLE_DEVICES" in build({"CUDA_VISIBLE_DEVICES": value})) is is_kept


def test_byte_code_is_kept_for_the_start_after_a_crash() -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in build({"PYTHONDONTWRITEBYTECODE": "1"})


@pytest.mark.parametrize(
    ("accelerator", "plugins"),
    [
        (Accelerator.CPU, ""),
        (Accelerator.NVIDIA, ""),
        (Accelerator.METAX, None),
        (Accelerator.ASCEND, None),
    ],
)
def test_vendor_plugins_are_off_where_the_vendors_card_is_not(
    accelerator: Accelerator, plugins: str | None
) -> None:
    assert build({}, accelerator).get("VLLM_PLUGINS") == plugins
    assert build({"VLLM_PLUGINS": "mine"}, accelerator)["VLLM_PLUGINS"] == "mine"


def test_nothing_goes_out_to_the_network() -> None:
    env = build({"HF_HUB_OFFLINE": "0"})
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"):
        assert env[name] == "1"


def test_the_engine_keeps_idle_connections_longer_than_the_gateway() -> None:
    assert build({})["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] == "40"
    assert build({"ENGINE_KEEPALIVE_S": "0.5"})["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] == "11"


def test_the_cpu_cache_has_a_size_that_vllms_own_name_wins_over() -> None:
    assert build({"CPU_KV_CACHE_GIB": "3"})["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert build({"VLLM_CPU_KVCACHE_SPACE": "7"})["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert "VLLM_CPU_KVCACHE_SPACE" not in build({}, Accelerator.NVIDIA)


def test_our_virtual_environment_does_not_leak_and_a_vendors_paths_stay() -> None:
    env = build(
        {
            "VIRTUAL_ENV": str(OURS),
            "PYTHONHOME": "/x",
            "PATH": f"{OURS}/bin:/usr/bin::/bin",
            "PYTHONPATH": f"{OURS}/lib/x:/usr/local/Ascend/python/site-packages",
            "LD_LIBRARY_PATH": "/opt/maca/lib",
        }
    )
    assert not {"VIRTUAL_ENV", "PYTHONHOME"} & set(env)
    assert env["PATH"] == "/engine/bin:/usr/bin:/bin"
    assert env["PYTHONPATH"] == "/usr/local/Ascend/python/site-packages"
    assert env["LD_LIBRARY_PATH"] == "/opt/maca/lib"


def test_a_python_path_of_ours_alone_is_gone() -> None:
    assert "PYTHONPATH" not in build({"PYTHONPATH": f"{OURS}/lib"})


MIB = 2**20


@pytest.mark.parametrize(
    ("free", "do_fit"), [(None, True), (400 * MIB, True), (399 * MIB, False), (64 * MIB, False)]
)
def test_the_queues_to_a_worker_do_not_fit_a_containers_shared_memory(
    free: int | None, do_fit: bool
) -> None:
    assert holds_queues(free) is do_fit


def test_shared_memory_that_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert free_shared_memory(tmp_path / "none") is None
    assert (free_shared_memory(tmp_path) or 0) > 0


def test_how_many_processes_vllm_has_can_be_set() -> None:
    assert build({"VLLM_ENABLE_V1_MULTIPROCESSING": "1"})["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
