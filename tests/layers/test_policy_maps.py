"""Parts of a layer may compute in another dtype than it does: outputs are in the layer's own, and copies keep the map."""

import functools
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_tx import graph, layers

from .contract_rows import HEADS, INTERMEDIATE, joint_model, joint_numbers, reloaded, stir
from .contract_table import ROWS
from .execution import BACKEND, array, tensor
from .keras_attention import X, multi_head

# JAX promotes what the others refuse to mix, and takes long to compile.
MADE_OF_PARTS = [row for row in ROWS if row.inner and (keras.backend.backend() != "jax" or row.attentions)]


@functools.cache
def part_paths():
    return [part.path for _, part in graph.parts(joint_model(MADE_OF_PARTS)) if "/" in (part.path or "")]


def dtypes(model):
    return {part.path: (part.compute_dtype, part.variable_dtype) for _, part in graph.parts(model) if part.path}


@pytest.mark.parametrize(
    ("turn", "default", "other"), [(0, "float32", "mixed_bfloat16"), (1, "mixed_bfloat16", "float32")]
)
def test_each_part_may_have_a_dtype_of_its_own(turn, default, other, tmp_path):
    paths = part_paths()[turn::2]
    policy = keras.dtype_policies.DTypePolicyMap(default, dict.fromkeys(paths, keras.dtype_policies.get(other)))
    rows = [replace(row, make=functools.partial(row.make, dtype=policy)) for row in MADE_OF_PARTS]
    model, numbers = joint_model(rows), joint_numbers(rows)
    stir(model)
    expected = keras.dtype_policies.get(default).compute_dtype
    assert {output.dtype for output in model.outputs} == {expected}
    outputs = model(numbers)
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {expected}
    known = dtypes(model)
    assert all(known[path][0] == keras.dtype_policies.get(other).compute_dtype for path in paths if path in known)
    copy = reloaded(model, tmp_path)
    assert dtypes(copy) == dtypes(keras.models.clone_model(model)) == known
    for ours, theirs in zip(outputs, copy(numbers), strict=True):
        np.testing.assert_array_equal(array(theirs), array(ours))


def moved(layer):
    """Trains a layer for a step, and tells which weights it moved."""
    model = keras.Sequential([layer])
    model(tensor(X))
    stir(model)
    before = {weight.path: array(weight) for weight in model.weights}
    model.compile("sgd", "mse", run_eagerly=BACKEND == "tensorflow")
    model.fit(X, X * 0, epochs=1, verbose=0)
    return {weight.path for weight in model.trainable_weights if not np.array_equal(array(weight), before[weight.path])}


@pytest.mark.parametrize(
    ("block", "pattern"),
    [
        (layers.TransformerEncoder, ".*attention.*"),
        (layers.TransformerEncoder, ".*/feed_forward.*"),
        (layers.TransformerDecoder, ".*_norm"),
    ],
)
def test_every_weight_of_a_block_trains_under_a_map(block, pattern):
    """And its outputs are those of one dtype, to the rounding of the other."""
    policy = keras.dtype_policies.DTypePolicyMap("float32", {pattern: keras.dtype_policies.get("mixed_bfloat16")})
    made, plain = (block(INTERMEDIATE, HEADS, dropout=0.1, dtype=dtype, name="block") for dtype in (policy, "float32"))
    for each in (made, plain):
        each(tensor(X))
    stir(made)
    plain.set_weights(made.get_weights())
    outputs = made(tensor(X))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    assert not np.array_equal(array(outputs), array(plain(tensor(X))))
    np.testing.assert_allclose(array(outputs), array(plain(tensor(X))), atol=0.1)
    still = {weight.path for weight in made.weights} - moved(made)
    assert {path for path in still if not path.endswith("seed_generator_state")} <= {"block/attention/key/bias"}


def test_attention_of_keras_in_another_dtype_than_its_block():
    for block, inside, outside in (
        (layers.TransformerEncoder, "bfloat16", "float32"),
        (layers.TransformerDecoder, "float32", "bfloat16"),
    ):
        made = block(16, attention=multi_head(dtype=inside), dtype=outside)
        assert keras.backend.standardize_dtype(made(tensor(X)).dtype) == outside


def test_rotary_positions_in_float32_for_an_attention_in_bfloat16():
    rotary = layers.RotaryEmbedding(dtype="float32")
    layer = layers.MultiHeadSelfAttention(HEADS, causal=True, rotary=rotary, dtype="bfloat16")
    full = layer(tensor(X))
    cache = layer.init_cache(len(X), 5)
    for t in range(5):
        outputs, cache = layer(tensor(X[:, t : t + 1]), cache=cache)
        np.testing.assert_allclose(array(outputs), array(full)[:, t : t + 1], atol=0.05)


def test_a_dtype_that_was_given_to_a_part_survives(tmp_path):
    inputs = keras.Input((5, 8))
    block = layers.TransformerEncoder(16, HEADS, name="block")
    model = keras.Model(inputs, block(inputs))
    block.attention.query.dtype_policy = block.feed_forward.dtype_policy = "mixed_bfloat16"
    outputs = model(tensor(X))
    for copy in (reloaded(model, tmp_path), keras.models.clone_model(model)):
        assert dtypes(copy) == dtypes(model)
    np.testing.assert_array_equal(array(reloaded(model, tmp_path)(tensor(X))), array(outputs))


@pytest.mark.once
@pytest.mark.parametrize("width", [1, 7])
def test_a_layer_of_another_width_in_a_slot_is_refused(width):
    for slots in ({"feed_forward": keras.layers.Dense(width)}, {"attention": keras.layers.Dense(width)}):
        ((name, _),) = slots.items()
        sizes = (None, HEADS) if name == "feed_forward" else (16, None)
        with pytest.raises(
            ValueError, match=rf"`{name}` must map .* \(2, 5, {width}\) for inputs of shape \(2, 5, 8\)"
        ):
            layers.TransformerEncoder(*sizes, **slots)(tensor(X))
