"""What vLLM's own error lines are taken for; texts of 0.32, and older ones where they differ."""

from __future__ import annotations

import pytest

from launcher.engines.base import Symptom
from launcher.engines.vllm_errors import MAX_TEXT_CHARS, read_symptom, tells_death

PREFIX = "(EngineCore_DP0 pid=64528) ERROR 11-18 13:44:09 [core.py:842] "


def told(line: str) -> tuple[str, int | None, float | None, int | None]:
    symptom = read_symptom(line)
    assert symptom is not None
    values = (symptom.max_model_len, symptom.memory_share, symptom.cpu_kv_cache_gib)
    return (symptom.kind, *values)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "ValueError: To serve at least one request with the model's max seq len (40960), "
            "(4.38 GiB KV cache is needed, which is larger than the available KV cache memory "
            "(4.0 GiB). Based on the available memory, the estimated maximum model length is "
            "37376. Try increasing `gpu_memory_utilization`",
            35504,
        ),
        (
            "ValueError: The model's max seq len (32768) is larger than the maximum number of "
            "tokens that can be stored in KV cache (7344). Try increasing",
            6976,
        ),
        (
            "ValueError: To serve at least one request with the models's max seq len (262144), "
            "(11.75 GiB KV cache is needed, which is larger than the available KV cache memory "
            "(8.03 GiB). Try increasing",
            170192,
        ),
        ("the estimated maximum model length is 3.", 16),
        (
            "  Value error, User-specified max_model_len (65536) is greater than the derived "
            "max_model_len (max_position_embeddings=32768 or model_max_length=None in model's "
            "config.json).",
            32768,
        ),
    ],
)
def test_a_context_that_does_not_fit_comes_with_the_length_that_does(
    line: str, expected: int
) -> None:
    assert told(PREFIX + line) == ("context", expected, None, None)


@pytest.mark.parametrize(
    ("line", "share"),
    [
        (
            "ValueError: Free memory on device (59.32/79.15 GiB) on startup is less than desired "
            "GPU memory utilization (0.9, 71.24 GiB).",
            0.72,
        ),
        (
            "ValueError: Free memory on device cuda:0 (34.34/121.63 GiB) on startup is less than "
            "desired GPU memory utilization (0.8, 97.3 GiB).",
            0.26,
        ),
        ("Free memory on device cuda:0 (0.1/80 GiB) on startup is less than desired", None),
        ("Free memory on device cuda:0 (0/0 GiB) on startup is less than desired", None),
        ("ValueError: No available memory for the cache blocks. Try increasing", 0.95),
    ],
)
def test_short_memory_comes_with_the_share_that_is_there(line: str, share: float | None) -> None:
    assert told(line) == ("memory", None, share, None)


def test_a_cpu_says_how_much_memory_it_has() -> None:
    line = (
        "ValueError: Available memory on node 0 (5.42/23.45 GiB) on kv cache allocation is less "
        "than requested memory for kv (40.0 GiB). Decrease --kv-cache-memory-bytes"
    )
    assert told(line) == ("memory", None, None, 2)
    other = "Available memory on node 0 (1.0/9.0 GiB) on startup is less than desired CPU memory"
    assert told(other) == ("memory", None, None, None)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.74 GiB.", "graphs"),
        ("torch.cuda.OutOfMemoryError: HIP out of memory.", "graphs"),
        ("RuntimeError: MACA out of memory.", "graphs"),
        ("RuntimeError: NPU out of memory. Tried", "graphs"),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: "
            "can't allocate memory: you tried to allocate 9 bytes.",
            "graphs",
        ),
        (
            "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy "
            "requests. Please try lowering `max_num_seqs`",
            "memory",
        ),
        ("Capturing CUDA graph shapes:  69%|###", "capturing"),
        ('  File "gpu_model_runner.py", line 3, in capture_model', "capturing"),
        ("ImportError: libcuda.so.1: cannot open shared object file", "other"),
        ("torch.AcceleratorError: CUDA error: an illegal memory access", "other"),
    ],
)
def test_other_failures_are_told_apart(line: str, kind: str) -> None:
    assert told(PREFIX + line)[0] == kind


@pytest.mark.parametrize(
    "words",
    [
        "Model architectures ['FooForCausalLM'] are not supported for now.",
        "Model architecture Foo was supported in vLLM until v0.9, and is not supported anymore.",
        "Model architecture Foo is not supported in-tree anymore. Please install the plugin at",
        "The checkpoint you are trying to load has model type `foo` but Transformers does not "
        "recognize this architecture. This could be because of an issue",
        "Unrecognized model in /m. Should have a `model_type` key in its config.json.",
        "/m is not a local folder and is not a valid model identifier listed on",
        "Unknown quantization method: foo. Must be one of",
        "Cannot find the config file for gptq",
        "Quantization method specified in the model config (awq) does not match the quantization "
        "method specified in the `quantization` argument (gptq).",
        "The quantization method awq is not supported for the current GPU. Minimum capability: 75.",
        "fp8 quantization is currently not supported in maca.",
        "torch.bfloat16 is not supported for quantization method gptq. Supported dtypes:",
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
        "Total number of attention heads (14) must be divisible by tensor parallel size (4).",
        "World size (2) is larger than the number of available GPUs (1) in this node.",
        "Cannot find any model weights with `/m`",
        "Error while deserializing header: MetadataIncompleteBuffer",
        "The repository /m contains custom code which must be executed to correctly load the "
        "model. Please pass the argument `trust_remote_code=True` to allow",
    ],
)
def test_what_nothing_cures_is_told_in_the_engines_words(words: str) -> None:
    line = f"(APIServer pid=7)   Value error, {words} [type=value_error, input_value=ArgsKwargs(())"
    assert read_symptom(line) == Symptom("final", words)


@pytest.mark.parametrize(
    "line",
    [
        "INFO 11-18 13:44:09 [core.py:84] Initializing a V1 LLM engine with config: "
        "enforce_eager=False, cudagraph_mode=FULL",
        "If out-of-memory error occurs during cudagraph capture, consider decreasing",
        "UserWarning: resource_tracker: There appear to be 2 leaked shared_memory objects",
        "    raise ValueError(",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core",
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
        "",
    ],
)
def test_most_lines_tell_nothing(line: str) -> None:
    assert read_symptom(line) is None


def test_words_are_kept_short() -> None:
    symptom = read_symptom(f"ValueError: {'x' * 900}")
    assert symptom is not None
    assert len(symptom.text) == MAX_TEXT_CHARS


def test_a_list_of_every_model_is_left_out() -> None:
    words = "Model architectures ['Foo'] are not supported for now."
    line = f"ValueError: {words} Supported architectures: dict_keys(['A', 'B"
    assert read_symptom(line) == Symptom("final", f"ValueError: {words}")


def test_what_a_validation_says_is_its_second_line() -> None:
    line = "(APIServer pid=7)   Value error, no such thing [type=value_error, input_value=1]"
    assert read_symptom(line) == Symptom("other", "no such thing")


@pytest.mark.parametrize(
    ("line", "is_death"),
    [
        ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", True),
        ("ERROR [core.py:1512] EngineCore encountered a fatal error.", True),
        ("Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.", True),
        ("Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down", True),
        ("[shutdown] MPClient: engine core exited unexpectedly; starting cleanup", True),
        ("INFO: Application startup complete.", False),
        ("WARNING: the request died unexpectedly", False),
    ],
)
def test_a_death_is_told_by_few_exact_words(line: str, is_death: bool) -> None:
    assert tells_death(line) is is_death
