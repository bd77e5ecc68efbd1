"""What every public layer keeps: config, saving, symbolic calls, compilation, precision, masks. A row a layer, at least."""

import functools
import inspect
import json

import keras
import numpy as np
import pytest

from keras_tx import graph, layers
from keras_tx.layers import cache_protocol

from .contract_rows import (
    BATCH,
    CONTEXT,
    HEADS,
    LENGTH,
    built_once,
    find,
    joint_model,
    joint_numbers,
    reloaded,
    stir,
    with_context,
)
from .contract_table import ROWS
from .execution import COMPILES, POLICIES, AttachMask, SeenMask, array, arrays, compiled, quick, tensor

every_row = pytest.mark.parametrize("row", ROWS, ids=str)
rows_with_scores = pytest.mark.parametrize("row", [row for row in ROWS if row.attentions], ids=str)
rows_with_slots = pytest.mark.parametrize("row", [row for row in ROWS if row.variant == "slots"], ids=str)
rows_over_time = pytest.mark.parametrize("row", [row for row in ROWS if row.carries_mask is not None], ids=str)


@pytest.fixture(scope="module")
def joint():
    """A model with a branch for each row, and its inputs: to save, copy and trace all at once takes a fraction of the time."""
    model = joint_model(ROWS)
    stir(model)
    return model, joint_numbers(ROWS)


def assert_same(copy, model, numbers):
    assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
    for row, ours, theirs in zip(ROWS, quick(model)(numbers), quick(copy)(numbers), strict=True):
        np.testing.assert_array_equal(array(theirs), array(ours), err_msg=str(row))


def test_every_public_layer_has_a_row():
    assert {row.layer.__name__ for row in ROWS} == set(layers.__all__)


@pytest.mark.once
@every_row
def test_config_lists_the_arguments_of_the_constructor(row):
    signature = inspect.signature(row.layer.__init__).parameters
    named = {name for name, parameter in signature.items() if parameter.kind is not parameter.VAR_KEYWORD}
    assert set(row.make().get_config()) == (named - {"self"}) | {"name", "dtype", "trainable"}


@pytest.mark.once
@every_row
def test_config_survives_json(row):
    layer = row.built(name="own_name", dtype="mixed_float16")
    config = json.dumps(layer.get_config(), sort_keys=True)
    copy = row.layer.from_config(json.loads(config))
    if row.layer is not layers.TiedLogits:  # which waits for its graph
        copy.build(*row.shapes())
    assert json.dumps(copy.get_config(), sort_keys=True) == config
    assert (copy.name, copy.dtype_policy.name) == ("own_name", "mixed_float16")


def test_saved_file_reloads_with_equal_outputs(joint, tmp_path):
    model, numbers = joint
    assert_same(reloaded(model, tmp_path), model, numbers)


@pytest.mark.once
def test_copies_of_a_model_keep_its_parameters(joint):
    model, numbers = joint
    for copy in (keras.models.clone_model(model), keras.Model.from_config(model.get_config())):
        assert copy.count_params() == model.count_params()
        copy.set_weights(model.get_weights())
        assert_same(copy, model, numbers)


@pytest.mark.once
def test_copies_of_tied_logits_read_the_table_of_their_own_model(tmp_path):
    row = next(row for row in ROWS if row.layer is layers.TiedLogits)
    model = row.model()
    copies = [
        keras.models.clone_model(model),
        keras.Model.from_config(model.get_config()),
        reloaded(model, tmp_path),
    ]
    for each in [model, *copies]:
        assert each.get_layer("layer").embedding is each.get_layer("embedding")


@every_row
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_symbolic_outputs_are_those_of_a_call(row, policy):
    layer = built_once(row) if policy == "float32" else row.built(dtype=policy)
    outputs = row.call(layer, *row.values())
    symbolic = row.call(layer, *row.symbols(BATCH, dynamic=False, graph=False))
    assert tuple(symbolic.shape) == tuple(outputs.shape) == (*(BATCH,) * row.has_batch, *row.outputs)
    assert symbolic.dtype == keras.backend.standardize_dtype(outputs.dtype)
    assert tuple(layer.compute_output_shape(*row.shapes())) == symbolic.shape


def test_batch_and_time_may_be_unknown(joint):
    model, numbers = joint
    outputs = model.predict_on_batch([value[:1, :3] for value in numbers])
    for row, shape, output in zip(ROWS, model.output_shape, outputs, strict=True):
        assert shape == (None, *row.outputs_for(None)), row
        assert output.shape == (1, *row.outputs_for(3)), row


@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_compiled_outputs_are_the_eager_ones():
    rows = [row for row in ROWS if row.variant not in ("slots", "grouped")]
    calls = [functools.partial(row.call, built_once(row)) for row in rows]

    def call(*inputs):
        return [each(*own) for each, own in zip(calls, inputs, strict=True)]

    inputs = [row.values() for row in rows]
    for row, ours, theirs in zip(rows, compiled(call)(*inputs), call(*inputs), strict=True):
        np.testing.assert_allclose(array(ours), array(theirs), atol=1e-5, err_msg=str(row))


@pytest.mark.parametrize(
    ("row", "policy"),
    [(row, policy) for row in ROWS for policy in POLICIES if policy == "mixed_float16" or not row.variant],
    ids=str,
)
def test_half_precision_is_finite_and_reaches_every_sublayer(row, policy):
    layer, inputs = row.built(dtype=policy), row.values()
    policies = {path: part.dtype_policy.name for path, part in graph.parts(layer)}
    assert policies == dict.fromkeys(policies, policy)
    for training in (False, True):
        outputs = row.call(
            layer, *inputs, **({"training": training} if cache_protocol.takes(layer, "training") else {})
        )
        assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
        assert np.all(np.isfinite(array(outputs)))
    wide = built_once(row)
    wide.set_weights([array(weight) for weight in layer.weights])
    np.testing.assert_allclose(array(row.call(layer, *inputs)), array(row.call(wide, *inputs)), atol=0.1, rtol=0.05)


@rows_over_time
def test_outputs_carry_the_mask_where_they_keep_the_time(row):
    real = np.arange(row.inputs[0][1][0]) < np.array([[5], [3], [0], [1]])
    seen = SeenMask()
    first, *others = row.values()
    seen(row.call(built_once(row), AttachMask()(first, tensor(real)), *others))
    if row.carries_mask:
        np.testing.assert_array_equal(array(seen.mask), real)
    else:
        assert seen.mask is None


@every_row
def test_counts_of_variables_are_exact(row):
    layer = built_once(row)
    states = [variable for variable in layer.variables if not any(variable is weight for weight in layer.weights)]
    assert len(layer.trainable_weights) == row.trainable
    assert len(layer.non_trainable_weights) == row.frozen
    assert len(states) == row.seeds


@rows_with_scores
def test_scores_come_from_a_symbolic_call_too(row, tmp_path):
    inputs = row.symbols()
    layer = row.make(name="layer")
    outputs, scores = row.call(layer, *inputs, return_attention_scores=True)
    model = keras.Model(inputs, [outputs, scores])
    stir(model)
    values = row.values()
    found = keras.tree.flatten(arrays(model(values)))
    eager = row.call(layer, *values, return_attention_scores=True)
    copy = reloaded(model, tmp_path)(values)
    for other in (eager, copy):
        for ours, theirs in zip(found, keras.tree.flatten(arrays(other)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    first = found[1]
    heads = find(layer, row.attentions[0]).num_heads
    keys = CONTEXT if row.call is with_context or row.layer is layers.MultiHeadCrossAttention else LENGTH
    assert first.shape == (BATCH, heads, LENGTH, keys)
    np.testing.assert_allclose(first.sum(-1), 1.0, atol=1e-5)
    if len(row.attentions) == 2:
        assert found[2].shape == (BATCH, HEADS, LENGTH, CONTEXT)


@pytest.mark.once
@rows_with_slots
def test_layers_in_slots_survive_a_reload(row, tmp_path):
    model = row.model()
    block = reloaded(model, tmp_path).get_layer("layer")
    assert block.attention.num_key_value_heads == 1
    assert (block.feed_forward.gated, block.feed_forward.name) == (True, "network")
    assert block.get_config() == model.get_layer("layer").get_config()
