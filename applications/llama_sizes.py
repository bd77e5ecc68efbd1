"""The sizes of published models of the Llama family, as arguments of `Llama`. `tests/applications/test_llama.py` counts them."""

from ..ops.activations import gelu_tanh


def _sizes(vocabulary_size, num_layers, num_heads, num_key_value_heads, hidden_dim, intermediate_dim, **others):
    return {
        "vocabulary_size": vocabulary_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_key_value_heads": num_key_value_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": intermediate_dim,
        **others,
    }


_LLAMA_3 = {"max_wavelength": 5e5, "norm_epsilon": 1e-5}
_LLAMA_3_SCALING = {
    "type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_PHI = {
    "norm": "layer",
    "norm_epsilon": 1e-5,
    "parallel": True,
    "activation": gelu_tanh,
    "gated": False,
    "rotary_dim": 32,
    **dict.fromkeys(("attention_bias", "output_bias", "feed_forward_bias", "logits_bias"), True),
}
_GEMMA = {"norm": "zero_centered_rms", "activation": gelu_tanh, "tied": True}
LLAMA_SIZES = {
    "smollm2_135m": _sizes(49152, 30, 9, 3, 576, 1536, max_wavelength=1e5, norm_epsilon=1e-5, tied=True),
    "smollm2_360m": _sizes(49152, 32, 15, 5, 960, 2560, max_wavelength=1e5, norm_epsilon=1e-5, tied=True),
    "tinyllama_1b": _sizes(32000, 22, 32, 4, 2048, 5632, norm_epsilon=1e-5),
    "llama2_7b": _sizes(32000, 32, 32, 32, 4096, 11008, norm_epsilon=1e-5),
    "llama3_8b": _sizes(128256, 32, 32, 8, 4096, 14336, **_LLAMA_3),
    "llama3.2_1b": _sizes(128256, 16, 32, 8, 2048, 8192, **_LLAMA_3, rotary_scaling=_LLAMA_3_SCALING, tied=True),
    "mistral_7b": _sizes(32000, 32, 32, 8, 4096, 14336, norm_epsilon=1e-5, window=4096),
    "qwen2_0.5b": _sizes(151936, 24, 14, 2, 896, 4864, max_wavelength=1e6, attention_bias=True, tied=True),
    "qwen3_0.6b": _sizes(
        151936, 28, 16, 8, 1024, 3072, key_dim=128, max_wavelength=1e6, query_key_norm="heads", tied=True
    ),
    "smollm3_3b": _sizes(
        128256, 36, 16, 4, 2048, 11008, max_wavelength=5e6, rotary_layers=[True, True, True, False] * 9, tied=True
    ),
    "phi_1.5": _sizes(51200, 24, 32, 32, 2048, 8192, **_PHI),
    "phi3_mini": _sizes(32064, 32, 32, 32, 3072, 8192, norm_epsilon=1e-5, window=2047),
    "gemma_2b": _sizes(256000, 18, 8, 1, 2048, 16384, key_dim=256, **_GEMMA, embedding_scale=2048**0.5),
    "olmo2_1b": _sizes(
        100352,
        16,
        16,
        16,
        2048,
        8192,
        max_wavelength=5e5,
        normalize_first=False,
        normalize_branch=True,
        query_key_norm="all",
    ),
}
