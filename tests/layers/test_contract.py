"""What every public layer keeps: saving, symbolic calls, compilation, precision, masks, training. A row a layer, at least."""

import inspect
import json

import keras
import numpy as np
import pytest

from keras_tx import graph, layers

from .contract_rows import BATCH, CONTEXT, HEADS, LENGTH, ROWS, stir
from .execution import (
    BACKEND,
    COMPILES,
    POLICIES,
    AttachMask,
    SeenMask,
    array,
    arrays,
    compiled,
    frozen,
    gradients,
    tensor,
    weighted_sum,
)


def rows(**wanted):
    """Parametrizes over the rows in which every one of the named fields is not empty."""
    chosen = [row for row in ROWS if all(bool(getattr(row, name)) is value for name, value in wanted.items())]
    return pytest.mark.parametrize("row", chosen, ids=str)


every_row = rows()


def reloaded(model, folder):
    path = folder / "model.keras"
    model.save(path)
    return keras.models.load_model(path)


def inner(layer, path):
    for name in path.split("/") if path else ():
        layer = getattr(layer, name, None) or next(part for _, part in graph.parts(layer) if part.name == name)
    return layer


def test_every_public_layer_has_a_row():
    assert {row.layer.__name__ for row in ROWS} == set(layers.__all__)


@every_row
def test_config_lists_the_arguments_of_the_constructor(row):
    signature = inspect.signature(row.layer.__init__).parameters
    named = {name for name, parameter in signature.items() if parameter.kind is not parameter.VAR_KEYWORD}
    assert set(row.make().get_config()) == (named - {"self"}) | {"name", "dtype", "trainable"}


@every_row
def test_config_survives_json(row):
    layer = row.built(name="own_name", dtype="mixed_float16")
    config = json.dumps(layer.get_config(), sort_keys=True)
    copy = row.layer.from_config(json.loads(config))
    assert json.dumps(copy.get_config(), sort_keys=True) == config
    assert (copy.name, copy.dtype_policy.name) == ("own_name", "mixed_float16")


@every_row
def test_saved_file_reloads_with_equal_outputs(row, tmp_path):
    model, inputs = row.model(), row.values(graph=True)
    copy = reloaded(model, tmp_path)
    np.testing.assert_array_equal(array(copy(inputs)), array(model(inputs)))
    assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]


@every_row
def test_copies_of_a_model_keep_its_parameters(row):
    model, inputs = row.model(), row.values(graph=True)
    for copy in (keras.models.clone_model(model), keras.Model.from_config(model.get_config())):
        assert copy.count_params() == model.count_params()
        assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
        copy.set_weights(model.get_weights())
        np.testing.assert_array_equal(array(copy(inputs)), array(model(inputs)))


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
    layer = row.built(dtype=policy)
    outputs = layer(*row.values())
    symbolic = layer(*row.symbols(BATCH, dynamic=False, graph=False))
    assert tuple(symbolic.shape) == tuple(outputs.shape) == (BATCH, *row.outputs)
    assert symbolic.dtype == keras.backend.standardize_dtype(outputs.dtype)
    assert tuple(layer.compute_output_shape(*((BATCH, *shape) for _, shape in row.inputs))) == symbolic.shape


@every_row
def test_batch_and_time_may_be_unknown(row):
    model = row.model()
    timed = len(row.outputs) > 1
    assert model.output_shape == (None, None, *row.outputs[1:]) if timed else (None, *row.outputs)
    shorter = [value[:1, :3] for value in row.numbers(graph=True)]
    outputs = model.predict_on_batch(shorter)
    assert outputs.shape == (1, 3, *row.outputs[1:]) if timed else (1, *row.outputs)


@every_row
@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_compiled_outputs_are_the_eager_ones(row):
    layer, inputs = row.built(), row.values()
    np.testing.assert_allclose(array(compiled(layer)(*inputs)), array(layer(*inputs)), atol=1e-5)


@every_row
@pytest.mark.parametrize("policy", POLICIES)
def test_half_precision_is_finite_and_reaches_every_sublayer(row, policy):
    layer, inputs = row.built(dtype=policy), row.values()
    policies = {path: part.dtype_policy.name for path, part in graph.parts(layer)}
    assert policies == dict.fromkeys(policies, policy)
    for training in (False, True) if layer._call_has_training_arg else (None,):
        outputs = layer(*inputs) if training is None else layer(*inputs, training=training)
        assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
        assert np.all(np.isfinite(array(outputs)))
    wide = row.built()
    wide.set_weights([array(weight) for weight in layer.weights])
    np.testing.assert_allclose(array(layer(*inputs)), array(wide(*inputs)), atol=0.1, rtol=0.05)


@every_row
def test_outputs_carry_the_mask_where_they_keep_the_time(row):
    real = np.arange(row.inputs[0][1][0]) < np.array([[5], [3]])
    seen = SeenMask()
    if not row.carries_mask and row.layer is layers.RotaryEmbedding:
        pytest.skip("heads are not positions: the layer is called inside an attention")
    first, *others = row.values()
    seen(row.built()(AttachMask()(first, tensor(real)), *others))
    if row.carries_mask:
        np.testing.assert_array_equal(array(seen.mask), real)
    else:
        assert seen.mask is None


@rows(trainable=True)
def test_every_trainable_weight_gets_a_gradient(row):
    layer, inputs = row.built(), row.values()
    training = {"training": True} if layer._call_has_training_arg else {}
    weights = layer.trainable_weights
    if row.layer is layers.TiedLogits:
        weights = [weight for weight in weights if "position" not in weight.path]
    found = gradients(lambda: weighted_sum(layer(*inputs, **training)), weights)
    assert len(weights) > 0
    for weight, gradient in zip(weights, found, strict=True):
        assert gradient is not None, weight.path
        assert np.all(np.isfinite(gradient)), weight.path
        if weight.path.endswith("key/bias"):
            # It adds one number to all scores of a query, which the softmax takes out again.
            assert np.max(np.abs(gradient)) < 1e-4, weight.path
        else:
            assert np.max(np.abs(gradient)) > 1e-4, weight.path


@every_row
def test_loss_falls_in_a_compiled_fit(row):
    inputs = row.symbols()
    outputs = row.connect(row.make(name="layer"), *inputs) if row.graph_inputs else row.make(name="layer")(*inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(outputs))
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=COMPILES)
    targets = np.full((BATCH, *row.outputs[:-1], 1), 2.0, "float32")
    numbers = row.numbers(graph=True)
    history = model.fit(numbers, targets, batch_size=BATCH, epochs=12, verbose=0).history["loss"]
    assert np.all(np.isfinite(history))
    assert history[-1] < 0.8 * history[0]


@every_row
def test_counts_of_variables_are_exact(row):
    layer = row.built()
    states = [variable for variable in layer.variables if not any(variable is weight for weight in layer.weights)]
    assert len(layer.trainable_weights) == row.trainable
    assert len(layer.non_trainable_weights) == 0
    assert len(states) == row.seeds


@rows(inner=True)
def test_low_rank_adapters_train_and_save(row, tmp_path):
    model = row.model()
    layer = model.get_layer("layer")
    adapted = [inner(layer, path) for path in row.inner]
    for part in adapted:
        part.enable_lora(2)
    before = [array(part._kernel if hasattr(part, "_kernel") else part._embeddings) for part in adapted]
    model.compile(keras.optimizers.Adam(0.05), "mse")
    targets = np.zeros((BATCH, *row.outputs), "float32")
    history = model.fit(row.numbers(graph=True), targets, batch_size=BATCH, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for part, start in zip(adapted, before, strict=True):
        np.testing.assert_array_equal(array(part._kernel if hasattr(part, "_kernel") else part._embeddings), start)
        learned = part.lora_kernel_b if hasattr(part, "lora_kernel_b") else part.lora_embeddings_b
        assert np.max(np.abs(array(learned))) > 0.01
    inputs = row.values(graph=True)
    copy = reloaded(model, tmp_path)
    np.testing.assert_allclose(array(copy(inputs)), array(model(inputs)), atol=1e-5)


@rows(inner=True)
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
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


@rows(attentions=True)
def test_scores_come_from_a_symbolic_call_too(row, tmp_path):
    inputs = row.symbols()
    layer = row.make(name="layer")
    outputs, scores = layer(*inputs, return_attention_scores=True)
    model = keras.Model(inputs, [outputs, scores])
    stir(model)
    values = row.values()
    found = arrays(model(values))
    eager = arrays(list(layer(*values, return_attention_scores=True)))
    keras.tree.map_structure(np.testing.assert_array_equal, found, eager)
    keras.tree.map_structure(np.testing.assert_array_equal, arrays(reloaded(model, tmp_path)(values)), found)
    first = found[1][0] if len(row.attentions) == 2 else found[1]
    heads = inner(layer, row.attentions[0]).num_heads
    keys = CONTEXT if row.layer is layers.MultiHeadCrossAttention else LENGTH
    assert first.shape == (BATCH, heads, LENGTH, keys)
    np.testing.assert_allclose(first.sum(-1), 1.0, atol=1e-5)
    if len(row.attentions) == 2:
        assert found[1][1].shape == (BATCH, HEADS, LENGTH, CONTEXT)


@pytest.mark.parametrize("row", [row for row in ROWS if row.variant == "slots"], ids=str)
def test_layers_in_slots_survive_a_reload(row, tmp_path):
    model = row.model()
    block = reloaded(model, tmp_path).get_layer("layer")
    assert block.attention.num_key_value_heads == 1
    assert (block.feed_forward.gated, block.feed_forward.name) == (True, "network")
    assert block.get_config() == model.get_layer("layer").get_config()
