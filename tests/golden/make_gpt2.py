"""Makes gpt2_tiny.npz: the logits of small models of `transformers`, for tests that run without it.

    python -m tests.golden.make_gpt2

needs torch and transformers. The weights are those of `seeded.tensor`; the file holds the configs, the ids and the
logits.
"""

import json
from pathlib import Path

import numpy as np

from . import seeded

SIZES = {"vocab_size": 23, "n_positions": 10, "n_embd": 12, "n_layer": 2, "n_head": 3}
CONFIGS = {
    "default": SIZES,
    "gelu": {**SIZES, "n_inner": 20, "activation_function": "gelu", "layer_norm_epsilon": 1e-2},
    "upcast": {**SIZES, "n_layer": 1, "n_head": 1, "activation_function": "silu", "reorder_and_upcast_attn": True},
}


def logits(config, ids):
    """What a model of `transformers` gives for ids, and the config that it would save."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(**config, bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    state = {name: seeded.tensor(name, tuple(value.shape)) for name, value in model.state_dict().items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy(), config.to_diff_dict()


def main():
    """Writes the file beside this script."""
    ids = np.random.RandomState(0).randint(0, SIZES["vocab_size"], size=(2, SIZES["n_positions"]))
    arrays = {"ids": ids.astype("int32")}
    configs = {}
    for name, config in CONFIGS.items():
        arrays[f"logits_{name}"], configs[name] = logits(config, ids)
    np.savez_compressed(Path(__file__).with_name("gpt2_tiny.npz"), configs=json.dumps(configs), **arrays)


if __name__ == "__main__":
    main()
