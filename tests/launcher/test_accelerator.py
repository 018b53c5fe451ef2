"""The hardware: found by device files, described by the vendors' tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import accelerator
from launcher.accelerator import Accelerator, describe, detect

MX_SMI = """\
mx-smi  version: 2.1.6
=================== MetaX System Management Interface Log ===================
Attached GPUs                                     : 2
GPU#0    MXC500    0000:0e:00.0    Available (UUID: GPU-0a)
GPU#1    MXC500    0000:0f:00.0    Available (UUID: GPU-0b)
"""
NVIDIA_SMI = "NVIDIA GeForce RTX 5090\nNVIDIA L4\n"
NPU_SMI = """\
| NPU   Name                | Health        | Power(W)    Temp(C)           |
+===========================+===============+====================================+
| 0     910B3               | OK            | 93.2        40                |
| 0                         | 0000:C1:00.0  | 0           0    / 0          |
"""


def tool(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


def printing(folder: Path, name: str, text: str) -> str:
    (folder / "text").write_text(text)
    return tool(folder, name, f'while read -r line; do echo "$line"; done < {folder / "text"}')


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([], Accelerator.CPU),
        (["dri", "nvidia-caps"], Accelerator.CPU),
        (["nvidia0"], Accelerator.NVIDIA),
        (["nvidiactl"], Accelerator.NVIDIA),
        (["davinci3"], Accelerator.ASCEND),
        (["mxcd"], Accelerator.METAX),
        (["nvidia0", "mxcd"], Accelerator.METAX),
        (["mtgpu.0"], Accelerator.MOORE_THREADS),
    ],
)
def test_device_files_tell_the_hardware(
    tmp_path: Path, devices: list[str], expected: Accelerator
) -> None:
    (tmp_path / "dev").mkdir()
    for device in devices:
        (tmp_path / "dev" / device).touch()
    assert detect(tmp_path) is expected


def test_no_device_folder_is_a_cpu(tmp_path: Path) -> None:
    assert detect(tmp_path) is Accelerator.CPU


@pytest.mark.anyio
async def test_a_cpu_is_described_by_its_cores() -> None:
    assert (await describe(Accelerator.CPU)).startswith("CPU (")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("cpuinfo", "is_lacking"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", False),
        ("processor\t: 0\nflags\t\t: fpu amx_tile amx_bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", True),
        ("processor\t: 0\n", False),
    ],
)
async def test_a_cpu_that_computes_no_bfloat16_says_so(
    tmp_path: Path, cpuinfo: str, is_lacking: bool
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    described = await describe(Accelerator.CPU, root=tmp_path)
    assert (accelerator.NO_BFLOAT16 in described) is is_lacking


@pytest.mark.anyio
async def test_a_cpu_that_tells_nothing_is_not_said_to_lack_anything(tmp_path: Path) -> None:
    assert accelerator.NO_BFLOAT16 not in await describe(Accelerator.CPU, root=tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "name", "text", "expected"),
    [
        (Accelerator.METAX, "mx-smi", MX_SMI, "MetaX (2 x MXC500)"),
        (
            Accelerator.NVIDIA,
            "nvidia-smi",
            NVIDIA_SMI,
            "NVIDIA (1 x NVIDIA GeForce RTX 5090, 1 x NVIDIA L4)",
        ),
        (Accelerator.ASCEND, "npu-smi", NPU_SMI, "Ascend (1 x 910B3)"),
        (Accelerator.ASCEND, "npu-smi", "nothing of use", "Ascend"),
        (Accelerator.MOORE_THREADS, "mthreads-gmi", "not asked", "Moore Threads"),
    ],
)
async def test_the_vendors_tool_names_and_counts(
    tmp_path: Path, kind: Accelerator, name: str, text: str, expected: str
) -> None:
    assert await describe(kind, printing(tmp_path, name, text)) == expected


@pytest.mark.anyio
async def test_without_the_tool_only_the_vendor_is_known(tmp_path: Path) -> None:
    assert await describe(Accelerator.NVIDIA, str(tmp_path)) == "NVIDIA"
    assert (await describe(Accelerator.METAX)).startswith("MetaX")


@pytest.mark.anyio
@pytest.mark.parametrize("script", ["exit 9", "exec sleep 60"])
async def test_a_tool_that_fails_or_hangs_is_told_and_tolerated(
    tmp_path: Path,
    script: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(accelerator, "TOOL_TIMEOUT_S", 0.5)
    assert await describe(Accelerator.NVIDIA, tool(tmp_path, "nvidia-smi", script)) == "NVIDIA"
    assert "nvidia-smi gave no answer" in caplog.text
