"""GPT-2 folders put together without `transformers`: tensors from their names, in any dtype, with any fault."""

import json

import keras
import numpy as np

from ...checkpoints.files import file_bytes, write_shards
from ...golden import seeded

CONFIG = {
    "model_type": "gpt2",
    "vocab_size": 23,
    "n_positions": 10,
    "n_embd": 12,
    "n_layer": 2,
    "n_head": 3,
}
# Arguments of a small `GPT`.
SMALL = {
    "vocabulary_size": 11,
    "sequence_length": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 12,
}


def shapes(config):
    """The tensors of a GPT-2 by name, as its authors' code makes them."""
    d, f = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
    found = {"wte.weight": (config["vocab_size"], d), "wpe.weight": (config["n_positions"], d)}
    for index in range(config["n_layer"]):
        for name, shape in {
            "ln_1": (d,),
            "attn.c_attn": (d, 3 * d),
            "attn.c_proj": (d, d),
            "ln_2": (d,),
            "mlp.c_fc": (d, f),
            "mlp.c_proj": (f, d),
        }.items():
            found[f"h.{index}.{name}.weight"] = shape
            found[f"h.{index}.{name}.bias"] = shape[-1:]
    return {**found, "ln_f.weight": (d,), "ln_f.bias": (d,)}


def tensors(config):
    """The tensors of a GPT-2 with its head; each has the values of its full name."""
    return {
        f"transformer.{name}": seeded.tensor(f"transformer.{name}", shape) for name, shape in shapes(config).items()
    }


def write(folder, config=None, arrays=None, dtype="F32", num_shards=1):
    """Writes a folder; returns its path as a str."""
    config = CONFIG if config is None else config
    arrays = tensors(config) if arrays is None else arrays
    (folder / "config.json").write_text(json.dumps(config))
    if num_shards == 1:
        (folder / "model.safetensors").write_bytes(file_bytes(arrays, dict.fromkeys(arrays, dtype)))
    else:
        names = np.array_split(list(arrays), num_shards)
        write_shards(folder, [{name: arrays[name] for name in part} for part in names])
    return str(folder)


def changed(arrays, **by_name):
    """The arrays with some of them replaced, or taken out where `None` is given; `__` stands for a dot."""
    found = {**arrays, **{name.replace("__", "."): array for name, array in by_name.items()}}
    return {name: array for name, array in found.items() if array is not None}


def with_a_weight_more(model, name):
    """A copy of a model, whose layer of a name has a weight that is in no config."""

    def copied(layer):
        copy = type(layer).from_config(layer.get_config())
        if layer.name == name:
            copy.extra = keras.Variable(0.0, name="extra")
        return copy

    return keras.models.clone_model(model, clone_function=copied)
