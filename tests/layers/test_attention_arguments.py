"""What queries, keys and scores of an attention are made of: scale, norms, biases and embeddings of positions."""

import keras
import numpy as np
import pytest

from keras_tx import layers

from .attention_reference import attended
from .contract_rows import reloaded, stir
from .execution import array, tensor

B, T, S, D, C, N = 2, 5, 4, 8, 6, 4
_RANDOM = np.random.default_rng(5)
X, PLACES = _RANDOM.normal(size=(2, B, T, D)).astype("float32")
CONTEXT, CONTEXT_PLACES = _RANDOM.normal(size=(2, B, S, C)).astype("float32")
REAL = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0]], bool)
CONTEXT_REAL = np.array([[1, 1, 0, 1], [0, 1, 1, 1]], bool)


def norms(axis):
    return {slot: keras.layers.RMSNormalization(axis, 1e-5) for slot in ("query_norm", "key_norm")}


SETTINGS = {
    "scale": {"scale": 1.0},
    "no bias at the end": {"use_output_bias": False},
    "a bias at the end alone": {"use_bias": False, "use_output_bias": True},
    "a norm a head": {"num_key_value_heads": 2, "axis": -1},
    "a norm over all heads": {"num_key_value_heads": 2, "axis": (-2, -1)},
}


def made(kind, axis=None, **settings):
    layer = kind(N, key_dim=3, bias_initializer="normal", **settings, **(norms(axis) if axis else {}))
    layer.build((B, T, D), *([(B, S, C)] if kind is layers.MultiHeadCrossAttention else []))
    stir(layer)
    return layer


@pytest.mark.parametrize("embedded", [False, True], ids=["", "positions"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_self_attention_is_the_formula(settings, embedded):
    layer = made(layers.MultiHeadSelfAttention, causal=True, **settings)
    places = PLACES if embedded else np.zeros_like(PLACES)
    junk = np.where(REAL[..., None], places, np.nan).astype("float32")
    found = array(layer(tensor(X), mask=tensor(REAL), position_embedding=tensor(junk) if embedded else None))
    for row in range(B):
        allowed = np.tri(T, dtype=bool) & REAL[row] & REAL[row][:, None]
        wanted = attended(layer, X[row], X[row], allowed, X[row] + places[row], X[row] + places[row])
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_cross_attention_is_the_formula(settings):
    layer = made(layers.MultiHeadCrossAttention, **settings)
    embedding = {"position_embedding": tensor(PLACES[0])}  # one for all rows
    junk = tensor(np.where(CONTEXT_REAL[..., None], CONTEXT_PLACES, np.nan).astype("float32"))
    beside = {"context_mask": tensor(CONTEXT_REAL), "context_position_embedding": junk}
    found = array(layer(tensor(X), tensor(CONTEXT), **embedding, **beside))
    for row in range(B):
        context, located = CONTEXT[row], CONTEXT[row] + CONTEXT_PLACES[row]
        allowed = np.broadcast_to(CONTEXT_REAL[row], (T, S))
        wanted = attended(layer, X[row], context, allowed, X[row] + PLACES[0], located)
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)
    cache = layer.init_cache(B, S, tensor(CONTEXT), **beside)
    np.testing.assert_allclose(array(layer(tensor(X), cache=cache, **embedding)[0]), found, atol=1e-6)


def test_embeddings_of_positions_are_cached_with_the_keys_and_fold_like_the_inputs():
    layer = made(layers.MultiHeadSelfAttention, causal=True)
    whole = array(layer(tensor(X), position_embedding=tensor(PLACES)))
    cache, outputs = layer.init_cache(B, T), []
    for start, stop in ((0, 2), (2, 3), (3, T)):
        part = tensor(X[:, start:stop])
        found, cache = layer(part, cache=cache, position_embedding=tensor(PLACES[:, start:stop]))
        outputs.append(array(found))
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), whole, atol=1e-5)
    one = array(layer(tensor(X), position_embedding=tensor(PLACES[0])))
    stacked = layer(tensor(X[:, None]), position_embedding=tensor(PLACES[:1, None]))
    np.testing.assert_allclose(array(stacked)[:, 0], one, atol=1e-6)


def test_embeddings_of_positions_are_data_of_a_functional_model(tmp_path):
    inputs, context = keras.Input((None, D)), keras.Input((None, C))
    places, context_places = keras.Input((None, D)), keras.Input((None, C))
    x = layers.MultiHeadSelfAttention(N, **norms(-1))(inputs, position_embedding=places)
    x = layers.MultiHeadCrossAttention(N, scale=1.0)(
        x, context, position_embedding=places, context_position_embedding=context_places
    )
    model = keras.Model([inputs, context, places, context_places], x)
    stir(model)
    values = [tensor(each) for each in (X, CONTEXT, PLACES, CONTEXT_PLACES)]
    np.testing.assert_allclose(array(reloaded(model, tmp_path)(values)), array(model(values)), rtol=1e-5, atol=1e-6)
    without = model([*values[:2], *(0 * each for each in values[2:])])
    assert np.abs(array(without) - array(model(values))).max() > 1e-3


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
def test_norms_stay_frozen_in_their_policy_and_beside_what_is_quantized(tmp_path):
    inputs = keras.Input((None, D))
    slots = norms((-2, -1))
    slots["key_norm"] = keras.layers.RMSNormalization(dtype="mixed_bfloat16")
    model = keras.Model(inputs, layers.MultiHeadSelfAttention(N, name="attention", **slots)(inputs))
    model.get_layer("attention").query_norm.trainable = False
    stir(model)
    model.quantize("int8")
    for copy in (keras.models.clone_model(model), reloaded(model, tmp_path)):
        copy.set_weights(model.get_weights())
        attention = copy.get_layer("attention")
        assert (attention.query_norm.trainable, attention.key_norm.trainable) == (False, True)
        assert attention.key_norm.dtype_policy.name == "mixed_bfloat16"
        assert attention.query.quantization_mode == "int8"
        np.testing.assert_allclose(array(copy(tensor(X))), array(model(tensor(X))), rtol=1e-5, atol=1e-6)


class Halves(keras.layers.Layer):
    def call(self, x):
        return x[..., ::2]


@pytest.mark.once
def test_what_cannot_be_added_or_normalized_is_refused():
    norm = keras.layers.RMSNormalization(name="one")
    with pytest.raises(ValueError, match=r"`key_norm` must be another layer .* Received: one in both slots"):
        layers.MultiHeadSelfAttention(N, query_norm=norm, key_norm=norm)
    with pytest.raises(ValueError, match=r"`query_norm` must map .* outputs of shape \(2, 5, 4, 1\)"):
        layers.MultiHeadCrossAttention(N, query_norm=Halves())(tensor(X), tensor(CONTEXT))
    layer, cross = made(layers.MultiHeadSelfAttention), made(layers.MultiHeadCrossAttention)
    symbol = keras.KerasTensor((B, T, D))
    for x, wrong in ((tensor(X), tensor(X[:, 1:])), (symbol, keras.KerasTensor((B, T - 1, D)))):
        with pytest.raises(ValueError, match=r"`position_embedding` must have shape \(5, 8\) or \(2, 5, 8\)"):
            layer(x, position_embedding=wrong)
        with pytest.raises(ValueError, match=r"`context_position_embedding` must have shape \(4, 6\) or \(2, 4, 6\)"):
            cross(x, tensor(CONTEXT), context_position_embedding=wrong)
    with pytest.raises(ValueError, match=r"`position_embedding` must be a float tensor.* of dtype int32"):
        cross(tensor(X), tensor(CONTEXT), position_embedding=tensor(np.zeros((T, D), "int32")))
