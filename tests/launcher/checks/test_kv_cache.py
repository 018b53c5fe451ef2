from typing import Any

import pytest

from launcher.checks import kv_cache

QWEN3_8B: dict[str, Any] = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 4096,
    "torch_dtype": "bfloat16",
}


def test_a_token_of_a_known_model_takes_what_vllm_says() -> None:
    # 2 x 36 layers x 8 heads x 128 x 2 bytes
    assert kv_cache.bytes_per_token(QWEN3_8B, None, "auto") == 147_456


@pytest.mark.parametrize(
    ("kv_cache_dtype", "dtype", "share"),
    [("fp8", "auto", 0.5), ("fp8_e5m2", "auto", 0.5), ("bfloat16", "float32", 1)]
    + [("auto", "float32", 2), (None, "float16", 1)],
)
def test_the_number_format_counts(kv_cache_dtype: str | None, dtype: str, share: float) -> None:
    assert kv_cache.bytes_per_token(QWEN3_8B, kv_cache_dtype, dtype) == 147_456 * share


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # No head_dim: hidden_size / num_attention_heads, here the same.
        ({"head_dim": None}, 147_456),
        # No grouping of heads.
        ({"num_key_value_heads": None}, 4 * 147_456),
        # Every fourth layer keeps keys and values.
        ({"layer_types": ["linear_attention"] * 27 + ["full_attention"] * 9}, 147_456 // 4),
        # DeepSeek's compressed cache: 36 x (512 + 64) x 2 bytes.
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 41_472),
        ({"kv_lora_rank": 512}, 36_864),
        ({"num_hidden_layers": None}, None),
        ({"num_hidden_layers": True}, None),
        ({"head_dim": None, "hidden_size": "large"}, None),
        ({"num_attention_heads": 0, "num_key_value_heads": None}, None),
    ],
)
def test_models_of_other_shapes(changes: dict[str, Any], expected: int | None) -> None:
    assert kv_cache.bytes_per_token({**QWEN3_8B, **changes}, None, "auto") == expected


def test_the_language_part_of_a_model_that_sees_counts() -> None:
    config = {"vision_config": {}, "text_config": QWEN3_8B}
    assert kv_cache.bytes_per_token(config, None, "auto") == 147_456
    assert kv_cache.weight_dtype(config) == "bfloat16"


@pytest.mark.parametrize(
    ("config", "dtype", "expected"),
    [
        ({"torch_dtype": "bfloat16"}, "auto", 1000),
        ({"dtype": "float32"}, "auto", 500),
        ({"dtype": "float32"}, "float32", 1000),
        ({"torch_dtype": "torch.float32"}, "auto", 500),
        ({"torch_dtype": ["float32"]}, "auto", 1000),
        ({}, "auto", 1000),
        ({"torch_dtype": "float16"}, "float", 2000),
        ({"torch_dtype": "float32", "quantization_config": {"bits": 4}}, "auto", 1000),
    ],
)
def test_weights_are_loaded_in_the_number_format_asked_for(
    config: dict[str, Any], dtype: str, expected: int
) -> None:
    assert kv_cache.loaded_bytes(1000, config, dtype) == expected
