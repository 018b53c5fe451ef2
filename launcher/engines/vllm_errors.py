"""Owns what vLLM's log lines mean for a failed start, or a death: pure functions of one line.

The texts are those of vLLM 0.32, and of 0.10 where a note says so. A text that is not known here
costs a rung of the ladder; one that is taken for final ends the tries, so those are few and exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from launcher.engines.base import Symptom

MAX_TEXT_CHARS = 300
# The profile of a second start differs a little: MiB on a card, a block on a CPU.
_FIT = 0.95
_BLOCK_TOKENS = 16
# Of what is free: the rest of the machine, and the engine's own work, live in it too.
_CPU_FIT = 0.5
# What another program's use of the same card moves between two starts.
_SHARE_MARGIN = 0.02
_GIB = r"(\d+(?:\.\d+)?)"

Reader = Callable[["re.Match[str]", str], Symptom]


def _context(match: re.Match[str], text: str) -> Symptom:
    fitting = int(int(match[1]) * _FIT) // _BLOCK_TOKENS * _BLOCK_TOKENS
    return Symptom("context", text, max_model_len=max(fitting, _BLOCK_TOKENS))


def _declared_context(match: re.Match[str], text: str) -> Symptom:
    return Symptom("context", text, max_model_len=int(match[1]))


def _needed_context(match: re.Match[str], text: str) -> Symptom:
    """Without an estimate of vLLM's own, what is there over what is needed tells the length."""
    length, needed, available = int(match[1]), float(match[2]), float(match[3])
    fitting = int(length * available / needed * _FIT) // _BLOCK_TOKENS * _BLOCK_TOKENS
    return Symptom("context", text, max_model_len=max(fitting, _BLOCK_TOKENS))


def _free_memory(match: re.Match[str], text: str) -> Symptom:
    free, total = float(match[1]), float(match[2])
    share = int((free / total - _SHARE_MARGIN) * 100) / 100 if total else 0.0
    return Symptom("memory", text, memory_share=share if share > _SHARE_MARGIN else None)


def _cpu_memory(match: re.Match[str], text: str) -> Symptom:
    return Symptom("memory", text, cpu_kv_cache_gib=max(1, int(float(match[1]) * _CPU_FIT)))


def _cache_blocks(match: re.Match[str], text: str) -> Symptom:
    # The weights take the engine's share: more of the card is what vLLM itself advises.
    return Symptom("memory", text, memory_share=0.95)


def _memory(match: re.Match[str], text: str) -> Symptom:
    return Symptom("memory", text)


def _graphs(match: re.Match[str], text: str) -> Symptom:
    return Symptom("graphs", text)


def _final(match: re.Match[str], text: str) -> Symptom:
    return Symptom("final", text)


def _capturing(match: re.Match[str], text: str) -> Symptom:
    return Symptom("capturing", "")


def _other(match: re.Match[str], text: str) -> Symptom:
    return Symptom("other", text)


# The first that is found decides.
_READERS: tuple[tuple[str, Reader], ...] = (
    (r"estimated maximum model length is (\d+)", _context),
    # Up to 0.8.
    (r"tokens that can be stored in KV cache \((\d+)\)", _context),
    (
        rf"max seq len \((\d+)\), \(?{_GIB} GiB KV cache is needed.*KV cache memory \({_GIB} GiB",
        _needed_context,
    ),
    (r"greater than the derived max_model_len \(\w+=(\d+)", _declared_context),
    (
        # 0.10 names no device.
        rf"Free memory on device (?:\S+ )?\({_GIB}/{_GIB} GiB\) on startup is less than",
        _free_memory,
    ),
    (rf"Available memory on node \S+ \({_GIB}/{_GIB} GiB\) on kv cache allocation", _cpu_memory),
    (r"Available memory on node \S+ .* is less than desired CPU memory", _memory),
    (r"No available memory for the cache blocks", _cache_blocks),
    # Its own words: fewer sequences or less memory; graphs have been captured before.
    (r"out of memory occurred when warming up", _memory),
    # torch's for CUDA and HIP, the vendors' for MACA, MUSA and NPU; torch's for a CPU.
    (r"\b\w+ out of memory\b|OutOfMemoryError\b|DefaultCPUAllocator: .*allocate memory", _graphs),
    (r"Capturing (?:CUDA|cuda) ?graph|\bcapture_model\b", _capturing),
    (r"Model architectures? .{1,200} (?:are|is) not supported (?:for now|in-tree|anymore)", _final),
    (r"Model architecture \S+ was supported in vLLM until", _final),
    (r"Transformers does not recognize this architecture", _final),
    (r"Unrecognized model in ", _final),
    (r"is not a local folder and is not a valid model identifier", _final),
    (r"Unknown quantization method", _final),
    (r"Cannot find the config file for \w+", _final),
    (r"does not match the quantization method specified in the `quantization`", _final),
    (r"The quantization method \S+ is not supported for the current GPU", _final),
    (r"quantization is currently not supported in ", _final),
    (r"is not supported for quantization method", _final),
    (r"Bfloat16 is only supported on GPUs with compute capability", _final),
    (r"must be divisible by tensor parallel size", _final),
    (r"World size \(\d+\) is larger than the number of available", _final),
    (r"Cannot find any (?:safetensors )?model weights with", _final),
    (r"Error while deserializing header", _final),
    (r"(?:execute|contains custom code).{1,300}trust_remote_code=True", _final),
    (r"(?:^|[\s.])[A-Z]\w*(?:Error|Exception): \S|^(?:\(.*\))?\s+Value error, \S", _other),
)
_COMPILED = tuple((re.compile(pattern), read) for pattern, read in _READERS)
# Only says that something has failed, which another process or the next line says why.
_ECHO = re.compile(
    r"Engine core initialization failed|EngineDeadError|WorkerProc initialization"
    r"|\d validation errors? for \w+$"
)
# "(EngineCore pid=12) ERROR 11-21 04:00:00 [core.py:708] " and pydantic's "  Value error, ".
_PREFIX = re.compile(
    r"^(?:\(\S+(?: pid=\d+)?\) )?(?:[A-Z]+ \S+ \S+ \[[^\]]+\] )?\s*(?:Value error, )?"
)
# What pydantic adds, the whole input; and a list of some hundred names.
_SUFFIX = re.compile(r" \[type=\w+, input_value=.*| Supported architectures: .*")


# Only said once a process that it cannot do without is gone, also by 0.10.
_DEATH = re.compile(
    r"EngineDeadError|EngineCore encountered a fatal error|"
    r"(?:Worker|Engine core) proc \S+ died unexpectedly|engine core exited unexpectedly",
    re.IGNORECASE,
)


def tells_death(line: str) -> bool:
    """Tell whether a line says that the engine is dead, whatever its API server still does."""
    return _DEATH.search(line) is not None


def read_symptom(line: str) -> Symptom | None:
    """Return what a line of the log tells about a failure; most lines tell nothing."""
    if _ECHO.search(line):
        return None
    for pattern, read in _COMPILED:
        if (match := pattern.search(line)) is not None:
            return read(match, _words(line))
    return None


def _words(line: str) -> str:
    return _SUFFIX.sub("", _PREFIX.sub("", line, count=1))[:MAX_TEXT_CHARS]
