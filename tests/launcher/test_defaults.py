"""What hardware is given where nothing is set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.settings import Settings
from launcher.accelerator import Accelerator
from launcher.defaults import TABLE, hardware_of, table, with_defaults
from launcher.engines.vllm import STABLE_FLAGS, argv
from launcher.settings import LauncherSettings, load_settings


@pytest.mark.parametrize(
    ("accelerator", "devices", "name"),
    [
        (Accelerator.METAX, "MetaX (1 x MetaX C500)", "MetaX C500 (64 GB)"),
        (Accelerator.METAX, "MetaX (1 x MXC500)", "MetaX C500 (64 GB)"),
        (Accelerator.METAX, "MetaX (2 x MetaX N260)", "other MetaX"),
        (Accelerator.METAX, "MetaX", "other MetaX"),
        (Accelerator.NVIDIA, "NVIDIA (8 x NVIDIA H100 80GB HBM3)", "NVIDIA H100"),
        (Accelerator.NVIDIA, "NVIDIA (1 x NVIDIA A100-SXM4-80GB)", "NVIDIA H100"),
        (Accelerator.NVIDIA, "NVIDIA (1 x NVIDIA A100-SXM4-40GB)", "other NVIDIA"),
        (Accelerator.NVIDIA, "NVIDIA (1 x NVIDIA GeForce RTX 4090)", "NVIDIA RTX 4090"),
        (Accelerator.NVIDIA, "NVIDIA (1 x NVIDIA GeForce RTX 5090 D)", "NVIDIA RTX 4090"),
        (Accelerator.NVIDIA, "NVIDIA (1 x Tesla T4)", "other NVIDIA"),
        (Accelerator.ASCEND, "Ascend (8 x 910B3)", "Ascend"),
        (Accelerator.MOORE_THREADS, "Moore Threads", "Moore Threads"),
        (Accelerator.CPU, "CPU (2 cores)", "CPU"),
        (Accelerator.CPU, "CPU (2 cores, no bfloat16)", "CPU without bfloat16"),
    ],
)
def test_hardware_is_told_by_its_devices_name(
    accelerator: Accelerator, devices: str, name: str
) -> None:
    assert hardware_of(accelerator, devices).name.startswith(name)


@pytest.mark.parametrize("accelerator", list(Accelerator))
def test_every_accelerator_has_defaults_whatever_its_name(accelerator: Accelerator) -> None:
    assert hardware_of(accelerator, "something new").defaults


def test_what_was_not_set_is_filled_in() -> None:
    settings = with_defaults(LauncherSettings(), Accelerator.METAX, "MetaX (1 x MetaX C500)")
    assert (settings.vllm_max_num_seqs, settings.vllm_max_num_batched_tokens) == (512, 8192)


def test_what_was_set_stays() -> None:
    environ = {"VLLM_MAX_NUM_SEQS": "7", "GPU_MEMORY_UTILIZATION": "0.5"}
    settings = with_defaults(load_settings(environ), Accelerator.METAX, "MetaX (1 x MetaX C500)")
    assert (settings.vllm_max_num_seqs, settings.gpu_memory_utilization) == (7, 0.5)
    assert settings.vllm_max_num_batched_tokens == 8192


def test_a_setting_without_a_default_is_left_to_the_engine() -> None:
    settings = with_defaults(LauncherSettings(), Accelerator.NVIDIA, "NVIDIA (1 x Tesla T4)")
    assert settings == LauncherSettings()


def test_no_default_is_told_as_a_setting_of_the_users_without_effect() -> None:
    """What the launcher chose itself must not be named as dropped: nobody asked for it."""
    for hardware in TABLE:
        settings = with_defaults(LauncherSettings(), hardware.accelerator, hardware.name)
        command = argv(settings, Path("/p"), Path("/m"), hardware.accelerator, STABLE_FLAGS)
        assert set(command.dropped) <= {"ENABLE_PREFIX_CACHING"}


def test_all_hardware_has_a_default_with_a_reason_for_the_same_settings() -> None:
    names = set(TABLE[0].defaults)
    for hardware in TABLE:
        assert set(hardware.defaults) == names
        assert all(len(default.reason) > 10 for default in hardware.defaults.values())


def test_only_what_ran_here_counts_as_measured() -> None:
    measured = {each.name for each in TABLE for one in each.defaults.values() if one.is_measured}
    assert measured <= {"CPU", "CPU without bfloat16"}


def test_the_gateways_own_default_is_told_as_it_is() -> None:
    """It is another process, with settings of its own: only this holds the two together."""
    own = Settings.model_fields["batch_concurrency"].default
    assert {hardware.defaults["BATCH_CONCURRENCY"].value for hardware in TABLE} == {own}


def test_the_stream_interval_is_told_as_it_is() -> None:
    own = LauncherSettings.model_fields["stream_interval"].default
    assert {hardware.defaults["STREAM_INTERVAL"].value for hardware in TABLE} == {own}


def test_the_table_is_one_row_for_each_default() -> None:
    rows = table().splitlines()
    assert len(rows) == 2 + sum(len(hardware.defaults) for hardware in TABLE)
    assert all(re.fullmatch(r"\|.*\|.*\|.*\|.*\|.*\|", row) for row in rows)
