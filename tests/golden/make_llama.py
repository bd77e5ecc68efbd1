"""Makes llama_tiny.npz: logits and greedy continuations of small models of the Llama family in `transformers`.

    python -m tests.golden.make_llama

needs torch and transformers. The weights are those of `seeded.tensor`, times 2 where they are no scales of norms; the file holds
the configs, the shapes of the tensors, the ids, the logits and what greedy decoding gives.
"""

import json
from pathlib import Path

import numpy as np

from . import seeded

SIZES = {
    "vocab_size": 37,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def _rope(kind, theta=1e4, **options):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **options}}


_LENGTHS = {"factor": 4.0, "original_max_position_embeddings": 8}
_FREQUENCIES = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LISTS = {"short_factor": [1.1, 1.5], "long_factor": [2.0, 3.0], "partial_rotary_factor": 1.0}
_LONG = {"max_position_embeddings": 64, "original_max_position_embeddings": 32}
# The class in `transformers`, and its arguments.
CONFIGS = {
    "llama": ("Llama", {"head_dim": 6}),
    "llama_scaled": (
        "Llama",
        {
            **_rope("llama3", 500.0, **_LENGTHS, **_FREQUENCIES),
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "llama_linear": ("Llama", {**_rope("linear", factor=2.0), "num_key_value_heads": 4}),
    "mistral": ("Mistral", {"sliding_window": 4}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 8, **_rope("yarn", **_LENGTHS)}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 4}),
    "phi": ("Phi", {}),
    "phi3": ("Phi3", {"sliding_window": 5}),
    "phi3_long": ("Phi3", {**_LONG, **_rope("longrope", **_LISTS)}),
    "gemma": ("Gemma", {"head_dim": 8, "num_key_value_heads": 1}),
    "olmo2": ("Olmo2", {"num_key_value_heads": 4}),
}
NEW_TOKENS = 8


def values(name, shape, kind):
    """The values of a tensor: Gemma's scales of norms are differences from 1."""
    array = seeded.tensor(name, shape)
    if len(shape) == 1 and name.endswith("weight"):  # a norm's
        scale = (64 + np.random.RandomState(len(name)).randint(-16, 17, shape)) / 64
        return (scale - (kind == "gemma")).astype("float32")
    return array * 2 if len(shape) == 2 else array


def model(name, seed=None):
    """A model of `transformers`, of the weights of the names, or random ones of a seed."""
    import torch
    import transformers

    kind, options = CONFIGS[name]
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **options})
    if seed is not None:
        transformers.set_seed(seed)
    made = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for each, weight in made.named_parameters():
            if seed is not None:
                weight += 0.2 * torch.randn_like(weight)
            else:
                weight.copy_(torch.tensor(values(each, tuple(weight.shape), name.partition("_")[0])))
    return made


def logits(made, ids):
    """The logits of a model of `transformers`."""
    import torch

    with torch.no_grad():
        return made(torch.tensor(np.asarray(ids, "int64"))).logits.numpy()


def continued(made, ids):
    """Greedy continuations by a model of `transformers`."""
    import torch

    tokens = torch.tensor(np.asarray(ids, "int64"))
    how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}
    return made.generate(tokens, attention_mask=torch.ones_like(tokens), **how).numpy()


def main():
    """Writes the file beside this script."""
    ids = np.random.RandomState(0).randint(0, SIZES["vocab_size"], size=(2, 10)).astype("int32")
    arrays, folders = {"ids": ids}, {}
    for name in CONFIGS:
        made = model(name)
        shapes = {each: tuple(weight.shape) for each, weight in made.named_parameters()}
        config = {**made.config.to_diff_dict(), "architectures": [type(made).__name__]}
        folders[name] = {"config": config, "shapes": shapes}
        arrays[f"{name}/logits"], arrays[f"{name}/continued"] = logits(made, ids), continued(made, ids).astype("int32")
    np.savez_compressed(Path(__file__).with_name("llama_tiny.npz"), folders=json.dumps(folders), **arrays)


if __name__ == "__main__":
    main()
