"""Owns the translation of an engine's command line into arguments of vLLM's `LLM`: pure."""

from __future__ import annotations

from launcher.engines.base import EnginePlan

# What decides how the model is run; the rest is about the server.
_VALUES = {
    "--model": str,
    "--dtype": str,
    "--quantization": str,
    "--kv-cache-dtype": str,
    "--load-format": str,
    "--max-model-len": int,
    "--max-num-seqs": int,
    "--max-num-batched-tokens": int,
    "--tensor-parallel-size": int,
    "--gpu-memory-utilization": float,
}
_SWITCHES = {
    "--enforce-eager": ("enforce_eager", True),
    "--enable-prefix-caching": ("enable_prefix_caching", True),
    "--no-enable-prefix-caching": ("enable_prefix_caching", False),
    "--trust-remote-code": ("trust_remote_code", True),
}


def llm_arguments(plan: EnginePlan) -> dict[str, str | int | float | bool]:
    """Return what makes an engine in process the same as the served one."""
    found: dict[str, str | int | float | bool] = {}
    for flag, following in zip(plan.argv, [*plan.argv[1:], ""], strict=True):
        if flag in _VALUES:
            found[flag[2:].replace("-", "_")] = _VALUES[flag](following)
        elif flag in _SWITCHES:
            name, value = _SWITCHES[flag]
            found[name] = value
    return found
