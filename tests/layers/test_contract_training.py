"""What every public layer keeps in training: gradients, a falling loss, low-rank adapters; and rounding to int8.

What has to be compiled is compiled for all rows at once, which takes a fraction of the time.
"""

import functools

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.layers import cache_protocol

from .contract_rows import BATCH, find, joint_model, joint_numbers, reloaded
from .contract_table import ROWS
from .execution import BACKEND, COMPILES, array, gradients, weighted_sum

ADAPTED = [row for row in ROWS if row.inner]


def unadapted(part):
    """The weights that an adapter leaves as they are."""
    return next(weight for weight in part.weights if weight.name in ("kernel", "embeddings"))


def test_every_trainable_weight_gets_a_gradient():
    rows = [row for row in ROWS if row.trainable and row.variant != "slots"]
    built = [row.built() for row in rows]
    calls = [
        (
            functools.partial(row.call, layer),
            row.values(),
            {"training": True} if cache_protocol.takes(layer, "training") else {},
        )
        for row, layer in zip(rows, built, strict=True)
    ]
    names, weights = [], []
    for row, layer in zip(rows, built, strict=True):
        for weight in layer.trainable_weights:
            if row.layer is layers.TiedLogits and "position" in weight.path:
                continue  # the logits read the other table
            names.append(f"{row}: {weight.path}")
            weights.append(weight)

    def loss():
        return sum(weighted_sum(call(*inputs, **training)) for call, inputs, training in calls)

    for name, gradient in zip(names, gradients(loss, weights)(), strict=True):
        assert gradient is not None, name
        assert np.all(np.isfinite(gradient)), name
        if name.endswith("key/bias"):
            # It adds one number to all scores of a query, which the softmax takes out again.
            assert np.max(np.abs(gradient)) < 1e-4, name
        else:
            assert np.max(np.abs(gradient)) > 1e-4, name


def test_every_loss_falls_in_a_compiled_fit():
    rows = [row for row in ROWS if not row.variant]
    assert {row.layer.__name__ for row in rows} == set(layers.__all__)
    branches = joint_model(rows)
    # Where the last axis has no known size, each number is one of its own.
    outputs = [each[..., None] if each.shape[-1] is None else each for each in branches.outputs]
    heads = [keras.layers.Dense(1, name=f"head_{number}")(each) for number, each in enumerate(outputs)]
    model = keras.Model(branches.inputs, heads)
    model.compile(keras.optimizers.SGD(0.02), "mse", jit_compile=COMPILES)
    targets = [
        np.full((BATCH, *row.outputs[: len(each.shape) - 2], 1), 2.0, "float32")
        for row, each in zip(rows, outputs, strict=True)
    ]
    history = model.fit(joint_numbers(rows), targets, batch_size=BATCH, epochs=12, verbose=0).history
    for number, row in enumerate(rows):
        losses = history[f"head_{number}_loss"]
        assert np.all(np.isfinite(losses)), row
        assert losses[-1] < 0.8 * losses[0], row


def test_low_rank_adapters_train_and_save(tmp_path):
    rows = [row for row in ADAPTED if not row.variant]
    model = joint_model(rows)
    parts = []
    for number, row in enumerate(rows):
        layer = model.get_layer(f"layer_{number}")
        parts += [(f"{row}: {path}", find(layer, path)) for path in row.inner]
    for _, part in parts:
        part.enable_lora(2)
    starts = [array(unadapted(part)) for _, part in parts]
    # A graph takes longer to trace than these few steps to run; JAX would compile each operation by itself.
    model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=BACKEND == "tensorflow")
    numbers = joint_numbers(rows)
    targets = [np.full((BATCH, *row.outputs), 2.0, "float32") for row in rows]
    history = model.fit(numbers, targets, batch_size=BATCH, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for (name, part), start in zip(parts, starts, strict=True):
        np.testing.assert_array_equal(array(unadapted(part)), start, err_msg=name)
        learned = part.lora_kernel_b if hasattr(part, "lora_kernel_b") else part.lora_embeddings_b
        assert np.max(np.abs(array(learned))) > 0, name

    copy = reloaded(model, tmp_path)
    for row, ours, theirs in zip(rows, model(numbers), copy(numbers), strict=True):
        np.testing.assert_allclose(array(theirs), array(ours), atol=1e-5, err_msg=str(row))


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning")
@pytest.mark.parametrize("row", ADAPTED, ids=str)
def test_int8_stays_close_and_reloads_with_equal_outputs(row, tmp_path):
    model, inputs = row.model(), row.values(graph=True)
    exact = array(model(inputs))
    model.quantize("int8")
    rounded = array(model(inputs))
    assert any(keras.backend.standardize_dtype(weight.dtype) == "int8" for weight in model.weights)
    assert 0 < np.max(np.abs(rounded - exact)) < 0.05 * np.max(np.abs(exact))
    copy = reloaded(model, tmp_path)
    assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
    np.testing.assert_array_equal(array(copy(inputs)), rounded)
