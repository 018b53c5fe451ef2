"""Owns what each kind of hardware is given where the user set nothing: a table, and its use. Pure.

`python -m launcher.defaults` prints the table. A default counts as measured only where the figure
comes from a run on that hardware; the rest is reasoned, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.accelerator import NO_BFLOAT16, Accelerator
from launcher.settings import LauncherSettings


@dataclass(frozen=True)
class Default:
    """A value, None where the engine's own choice is the best known, and why it is that."""

    value: int | float | str | None
    reason: str
    is_measured: bool = False


@dataclass(frozen=True)
class Hardware:
    """A kind of hardware: its accelerator, how its device's name looks, its defaults."""

    name: str
    accelerator: Accelerator
    device: re.Pattern[str]
    defaults: Mapping[str, Default]


_ANY = re.compile("")
# Below 1 for what the driver, the graphs and other libraries allocate beside the engine.
_SHARE = Default(0.9, "vLLM's own; graphs and the driver need the rest")
_BY_MEMORY = Default(None, "vLLM chooses by the card's memory")
_ONE_SERVER = Default(
    1, "only `vllm serve` starts more, not the module used here; grouped calls relieve the one"
)
# Of another process, which knows no hardware; a test holds the two together.
_CONCURRENCY = Default(
    512, "the gateway's own everywhere: not below the sequences of a step; what waits, waits there"
)
_INTERVAL = Default(16, "tokens per event; at 16 streaming costs nothing measurable on a CPU")

_DTYPE = Default("auto", "the format that the model was saved in")
_COMMON = {"DTYPE": _DTYPE, "API_SERVER_COUNT": _ONE_SERVER, "STREAM_INTERVAL": _INTERVAL}
_UNKNOWN_CARD = {
    "VLLM_MAX_NUM_SEQS": _BY_MEMORY,
    "VLLM_MAX_NUM_BATCHED_TOKENS": _BY_MEMORY,
    "BATCH_CONCURRENCY": _CONCURRENCY,
    "GPU_MEMORY_UTILIZATION": _SHARE,
    **_COMMON,
}

_CPU = {
    "VLLM_MAX_NUM_SEQS": Default(256, "two waves for 358 questions; vLLM takes 128 there, three"),
    "VLLM_MAX_NUM_BATCHED_TOKENS": Default(None, "vLLM takes 2048 there"),
    "BATCH_CONCURRENCY": _CONCURRENCY,
    "GPU_MEMORY_UTILIZATION": Default(None, "has no meaning there; CPU_KV_CACHE_GIB has its part"),
    **_COMMON,
    "STREAM_INTERVAL": Default(
        16, "streamed ÷ whole was 0.97 (0.95–1.01) in `scripts/bench stream`", True
    ),
}

# The first that fits counts.
TABLE = (
    Hardware(
        "MetaX C500 (64 GB)",
        Accelerator.METAX,
        re.compile(r"C5\d\d\b"),
        {
            "VLLM_MAX_NUM_SEQS": Default(
                512,
                "vLLM takes 256 below 70 GB: a set of 292 or 358 questions would go in two waves, "
                "the second nearly empty; graphs are captured up to 512. Takes effect as far as "
                "BATCH_CONCURRENCY lets it",
            ),
            "VLLM_MAX_NUM_BATCHED_TOKENS": Default(
                8192,
                "vLLM takes 2048 below 70 GB, a dozen steps to read 358 prompts; 8192 is its own "
                "choice for cards with little more memory",
            ),
            "BATCH_CONCURRENCY": _CONCURRENCY,
            "GPU_MEMORY_UTILIZATION": _SHARE,
            **_COMMON,
        },
    ),
    Hardware(
        "NVIDIA H100, H200, A100 80 GB and larger",
        Accelerator.NVIDIA,
        re.compile(r"\b(?:H100|H200|H20|H800|GH200|B200|B300|GB200|A100\S* ?80GB|A800\S* ?80GB)"),
        {
            "VLLM_MAX_NUM_SEQS": _BY_MEMORY,
            "VLLM_MAX_NUM_BATCHED_TOKENS": _BY_MEMORY,
            "BATCH_CONCURRENCY": _CONCURRENCY,
            "GPU_MEMORY_UTILIZATION": _SHARE,
            **_COMMON,
        },
    ),
    Hardware(
        "NVIDIA RTX 4090, 5090 (24, 32 GB)",
        Accelerator.NVIDIA,
        re.compile(r"\b(?:RTX )?[45]090\b"),
        {
            "VLLM_MAX_NUM_SEQS": Default(
                384,
                "358 questions in one wave, where BATCH_CONCURRENCY lets them; more would only "
                "push each other out of a KV cache of a few GB",
            ),
            "VLLM_MAX_NUM_BATCHED_TOKENS": Default(
                4096, "twice vLLM's choice: half the steps to read a batch"
            ),
            "BATCH_CONCURRENCY": _CONCURRENCY,
            "GPU_MEMORY_UTILIZATION": _SHARE,
            **_COMMON,
        },
    ),
    Hardware("other NVIDIA", Accelerator.NVIDIA, _ANY, _UNKNOWN_CARD),
    Hardware("other MetaX", Accelerator.METAX, _ANY, _UNKNOWN_CARD),
    Hardware("Ascend", Accelerator.ASCEND, _ANY, _UNKNOWN_CARD),
    Hardware("Moore Threads", Accelerator.MOORE_THREADS, _ANY, _UNKNOWN_CARD),
    Hardware(
        "CPU without bfloat16",
        Accelerator.CPU,
        re.compile(NO_BFLOAT16),
        {
            **_CPU,
            "DTYPE": Default(
                "float32",
                "bfloat16 took 1.46 times as long (`scripts/bench settings DTYPE=bfloat16`)",
                is_measured=True,
            ),
        },
    ),
    Hardware(
        "CPU",
        Accelerator.CPU,
        _ANY,
        {**_CPU, "DTYPE": Default("auto", "bfloat16: half of the memory to read for each token")},
    ),
)


def hardware_of(accelerator: Accelerator, devices: str) -> Hardware:
    """Return the first of the table that fits; `devices` names them, as the vendor's tool does."""
    return next(
        each
        for each in TABLE
        if each.accelerator is accelerator and each.device.search(devices) is not None
    )


def with_defaults(
    settings: LauncherSettings, accelerator: Accelerator, devices: str
) -> LauncherSettings:
    """Return the settings with this hardware's defaults in place of what was not set.

    Only the launcher's own: what the gateway decides, it decides by its own settings.
    """
    chosen = {
        name.lower(): default.value
        for name, default in hardware_of(accelerator, devices).defaults.items()
        if default.value is not None
    }
    fields = type(settings).model_fields
    unset = chosen.keys() & fields.keys() - settings.model_fields_set
    changes = {name: chosen[name] for name in unset if chosen[name] != fields[name].default}
    return settings.model_copy(update=changes)


def table() -> str:
    """Return all defaults as a Markdown table."""
    lines = ["| hardware | setting | default | measured | why |", "|---|---|---|---|---|"]
    lines += [
        f"| {hardware.name} | `{name}` | {'–' if default.value is None else default.value} "
        f"| {'yes' if default.is_measured else 'no'} | {default.reason} |"
        for hardware in TABLE
        for name, default in hardware.defaults.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
