"""What stands for a tensor while Keras builds promises a shape: no layer refuses it, and models come back as they were."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .contract_rows import BATCH, reloaded, stir
from .contract_table import ROWS
from .execution import BACKEND, COMPILES, SeenMask, array, arrays, quick, tensor

IDS = np.array([[3, 1, 0, 0], [2, 10, 5, 0]], "int32")
EMBEDDINGS = {
    "tokens": lambda **kw: layers.TokenAndPositionEmbedding(11, 8, 16, mask_zero=True, **kw),
    "segments": lambda **kw: layers.SegmentEmbedding(11, 16, **kw),
}
every_embedding = pytest.mark.parametrize("name", EMBEDDINGS)


@keras.saving.register_keras_serializable(package="keras_tx_tests")
class Subclassed(keras.Model):
    """A model as users write them: its layers are made in the constructor, and built by the first call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [row.make() for row in ROWS]

    def call(self, inputs):
        return [
            row.call(part, *inputs[str(number)])
            for number, (row, part) in enumerate(zip(ROWS, self.parts, strict=True))
        ]


@keras.saving.register_keras_serializable(package="keras_tx_tests")
class Wrapped(keras.layers.Layer):
    """A layer with an embedding inside, which Keras builds by a call with placeholders."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = EMBEDDINGS["tokens"](dtype=self.dtype_policy)
        self.positions = layers.LearnedPositionEncoding(8, dtype=self.dtype_policy)
        self.block = layers.TransformerEncoder(8, 2, dtype=self.dtype_policy)

    def call(self, inputs):
        return self.block(self.positions(self.embedding(inputs)))


def test_a_subclassed_model_of_every_layer_comes_back_from_its_file(tmp_path):
    model, inputs = Subclassed(), {str(number): row.values() for number, row in enumerate(ROWS)}
    model({str(number): row.symbols(BATCH, dynamic=False, graph=False) for number, row in enumerate(ROWS)})
    stir(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        copy = reloaded(model, tmp_path)
    found = zip(ROWS, arrays(quick(copy)(inputs)), arrays(quick(model)(inputs)), strict=True)
    assert not [str(row) for row, ours, theirs in found if not np.array_equal(ours, theirs)]


@pytest.mark.parametrize("row", [row for row in ROWS if len(row.inputs) == 1 and not row.variant], ids=str)
def test_a_sequential_model_needs_no_input_layer(row):
    model = keras.Sequential([row.make()])
    (inputs,) = row.values()
    np.testing.assert_array_equal(array(model(inputs)), array(model.layers[0](inputs)))


@every_embedding
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_ids_may_come_as_floats(name, policy):
    layer, seen = EMBEDDINGS[name](dtype=policy), SeenMask()
    wanted, real = array(seen(layer(tensor(IDS)))), array(seen.mask)
    np.testing.assert_array_equal(array(seen(layer(tensor(IDS.astype("float32"))))), wanted)
    np.testing.assert_array_equal(array(seen.mask), real)


@pytest.mark.parametrize(("name", "jit_compile"), [("tokens", False), ("tokens", True), ("segments", True)])
def test_models_of_float_inputs_train_as_those_of_integers(name, jit_compile):
    def trained(first, inputs):
        keras.utils.set_random_seed(0)
        parts = [EMBEDDINGS[name](), layers.MaskedMeanPooling(), keras.layers.Dense(1)]
        model = keras.Sequential([*first, *parts])
        model.compile(keras.optimizers.SGD(1e-5), "mse", jit_compile=jit_compile and COMPILES)
        return model.fit(inputs, np.ones((2, 1)), epochs=2, verbose=0).history["loss"]

    wanted = trained([keras.Input((None,), dtype="int32")], IDS)
    assert wanted[1] != wanted[0]
    for first, inputs in [([], IDS), ([keras.Input((4,))], IDS), ([keras.Input((None,))], IDS.astype("float32"))]:
        np.testing.assert_allclose(trained(first, inputs), wanted, rtol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("length", [4] if BACKEND == "jax" else [4, None])
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_layer_of_the_users_own_is_built_with_placeholders(policy, length, dtype):
    inputs = keras.Input((length,), dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        layer = Wrapped(dtype=policy)
        model = keras.Model(inputs, layer(inputs))
    assert model.count_params() > 0
    assert array(model(tensor(IDS))).shape == (2, 4, 16)


def test_ids_in_a_narrow_float_are_refused_where_it_would_round_them():
    model = keras.Sequential([layers.TokenAndPositionEmbedding(300, 8, 4, dtype="mixed_bfloat16")])
    with pytest.raises(ValueError, match=r"(?s)bfloat16 rounds those above 256;.*dtype='int32'"):
        model(tensor(IDS))
    with_input = keras.Sequential([keras.Input((None,), dtype="int32"), *model.layers])
    assert tuple(with_input(tensor(IDS)).shape) == (2, 4, 4)


@pytest.mark.once
def test_numbers_in_floats_reach_layers_of_half_precision_unrounded():
    policy, far = {"dtype": "mixed_bfloat16"}, 299
    x = tensor(np.random.default_rng(0).normal(size=(1, 300, 1, 4)).astype("float32"))
    calls = [
        (layers.TokenAndPositionEmbedding(300, 8, 4, **policy), lambda layer, at: layer(at)),
        (layers.SegmentEmbedding(300, 4, **policy), lambda layer, at: layer(at)),
        (layers.GatherPositions(**policy), lambda layer, at: layer(x[:, :, 0], at)),
        (layers.SpanBoundary(300, **policy), lambda layer, at: layer(x[:, :, 0], at, at, at)),
        (layers.RotaryEmbedding(**policy), lambda layer, at: layer(x[:, :1], at)),
        (layers.WindowPositionBias(1, (1, 300), "normal", **policy), lambda layer, at: layer(at, ops.zeros_like(at))),
        (layers.LearnedPositionEncoding(300, **policy), lambda layer, at: layer(x[:, :1, 0], cache=at[0])[0]),
        (layers.SinusoidalPositionEncoding(**policy), lambda layer, at: layer(x[:, :1, 0], cache=at[0])[0]),
    ]
    for layer, call in calls:
        call(layer, tensor([[1]], "int32"))
        found, wanted = (array(call(layer, tensor([[far]], dtype))) for dtype in ("float32", "int32"))
        np.testing.assert_array_equal(found, wanted, err_msg=layer.name)
        assert np.abs(found - array(call(layer, tensor([[far - 1]], "int32")))).max() > 0, layer.name
