"""Weight decay of matrices only: exactly these weights decay, on every backend, with optimizers of several kinds."""

import keras
import numpy as np
import pytest

from keras_tx.applications import GPT, Llama
from keras_tx.weight_decay import decay_matrices_only

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 4, "intermediate_dim": 4}
MODELS = {
    "gpt": lambda: GPT(10, 8, **SIZE),
    "llama": lambda: Llama(10, query_key_norm="all", attention_bias=True, packed=True, **SIZE),
}
OPTIMIZERS = {
    "adamw": lambda: keras.optimizers.AdamW(0.5, weight_decay=0.5),
    "sgd": lambda: keras.optimizers.SGD(0.5, weight_decay=0.5),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.5, weight_decay=0.5)),
}


def decays(model, optimizer):
    """The paths of the weights that a step without gradients changes."""
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, 2.0))
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # the outer one's `apply` does not run eagerly on JAX
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_variables], model.trainable_variables)
    changed = {}
    for weight in model.trainable_variables:
        values = set(keras.ops.convert_to_numpy(weight).ravel().tolist())
        assert values in ({2.0}, {1.5}), weight.path
        changed[weight.path] = values == {1.5}
    return changed


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_exactly_kernels_and_tables_decay(name, optimizer):
    model = MODELS[name]()
    found = decays(model, decay_matrices_only(OPTIMIZERS[optimizer](), model))
    assert {path.rpartition("/")[2] for path, decayed in found.items() if decayed} == {"kernel", "embeddings"}
    left = {path.rpartition("/")[2] for path, decayed in found.items() if not decayed}
    assert left == ({"bias", "gamma", "beta"} if name == "gpt" else {"bias", "scale"})
    assert not any(decayed for path, decayed in found.items() if "norm" in path)


@pytest.mark.once
def test_tables_may_be_left_out_and_what_cannot_be_is_refused():
    model = MODELS["gpt"]()
    found = decays(model, decay_matrices_only(OPTIMIZERS["adamw"](), model, embeddings=False))
    assert {path.rpartition("/")[2] for path, decayed in found.items() if decayed} == {"kernel"}
    built = OPTIMIZERS["adamw"]()
    built.build(model.trainable_variables)
    for optimizer, which, message in (
        (built, model, "must not have been built"),
        (keras.optimizers.Adam(), model, "must have a `weight_decay`"),
        ("adamw", model, "optimizer='adamw'"),
        (OPTIMIZERS["adamw"](), keras.Sequential([keras.layers.Dense(2)]), "a built keras.Model"),
    ):
        with pytest.raises(ValueError, match=message):
            decay_matrices_only(optimizer, which)
