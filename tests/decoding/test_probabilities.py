"""A model that ends in a softmax is decoded as the same model without it; outputs that are neither are refused by name."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.decoding import Beam, Sample, check_decodable, generate, init_caches
from keras_tx.decoding.decoder import Decoder
from keras_tx.decoding.step import logits_step
from keras_tx.export.endpoints import cache_endpoints

SIZE = 11


@keras.saving.register_keras_serializable("tests")
class OwnSoftmax(keras.layers.Layer):
    """A layer of which nothing tells what it does."""

    def call(self, inputs):
        return ops.softmax(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.fixture(scope="module")
def trunk():
    """Ids, what the last block makes of them, and the weights of a head with clear choices."""
    keras.utils.set_random_seed(5)
    wide = keras.initializers.RandomNormal(stddev=1.0)
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(SIZE, 40, 8, embeddings_initializer=wide)(ids)
    x = layers.TransformerDecoder(16, 2)(x)
    rng = np.random.default_rng(0)
    return ids, x, [rng.normal(0, 2, (8, SIZE)), rng.normal(0, 1, SIZE)]


def head(weights, activation=None, **options):
    layer = keras.layers.Dense(SIZE, activation=activation, **options)
    layer.build((None, None, 8))
    layer.set_weights(weights)
    return layer


def ended(trunk, end, activation=None, **options):
    ids, x, weights = trunk
    return keras.Model(ids, end(head(weights, activation, **options)(x)))


def nested(*ends):
    inputs = keras.Input((None, SIZE))
    x = inputs
    for end in ends:
        x = end(x)
    return keras.Model(inputs, x)


def time_distributed(trunk):
    ids, x, weights = trunk
    return keras.Model(ids, keras.layers.TimeDistributed(head(weights, "softmax"))(x))


def nested_head(trunk):
    ids, x, weights = trunk
    inputs = keras.Input((None, 8))
    inner = keras.Model(inputs, head(weights, "softmax")(inputs))
    return keras.Model(ids, keras.Sequential([keras.Input((None, 8)), inner, keras.layers.Dropout(0.3)])(x))


ENDINGS = {
    "dense": lambda trunk: ended(trunk, lambda x: x, "softmax"),
    "activation": lambda trunk: ended(trunk, keras.layers.Activation("softmax")),
    "layer": lambda trunk: ended(trunk, keras.layers.Softmax()),
    "operation": lambda trunk: ended(trunk, ops.softmax),
    "function": lambda trunk: ended(trunk, keras.activations.softmax),
    "time distributed": time_distributed,
    "nested": lambda trunk: ended(trunk, nested(keras.layers.Softmax())),
    "nested head": nested_head,
    "cast": lambda trunk: ended(trunk, lambda x: ops.cast(keras.layers.Softmax()(x), "float32")),
    "reshape": lambda trunk: ended(trunk, lambda x: keras.layers.Reshape((-1, SIZE))(ops.softmax(x, axis=-1))),
    "linear": lambda trunk: ended(trunk, lambda x: keras.layers.Activation("linear")(keras.layers.Softmax()(x))),
    "own layer": lambda trunk: ended(trunk, OwnSoftmax()),
    "mixture": lambda trunk: ended(trunk, lambda x: 0.5 * ops.softmax(x) + 0.5 * ops.softmax(x)),
    "clipped": lambda trunk: ended(trunk, lambda x: ops.clip(ops.softmax(x), 1e-30, 1.0)),
    "log softmax": lambda trunk: ended(trunk, lambda x: x, "log_softmax"),
}


# A walk over the graph knows most of them; the trial that tells of the others runs on each backend.
EVERYWHERE = ("dense", "operation", "own layer", "mixture")


@pytest.mark.parametrize(
    "ending", [pytest.param(each, marks=[pytest.mark.once] * (each not in EVERYWHERE)) for each in ENDINGS]
)
def test_each_way_to_end_in_a_softmax_gives_the_logits_before_it(trunk, ending):
    ids = np.array([[3, 4, 5]])
    expected = ops.log_softmax(ended(trunk, lambda x: x)(ids))
    model = ENDINGS[ending](trunk)
    check_decodable(model)
    mask = np.ones((1, 3), bool)
    logits, _ = logits_step(Decoder.of(model), ids, init_caches(model, 1, 8), ops.convert_to_tensor(mask))
    found = ops.convert_to_numpy(ops.log_softmax(logits))
    np.testing.assert_allclose(found, ops.convert_to_numpy(expected), atol=1e-4)


def test_beams_and_samples_are_those_of_the_logits(trunk):
    models = ENDINGS["dense"](trunk), ended(trunk, lambda x: x)
    (beams, scores), (expected, values) = (
        generate(model, [[5], [1, 2]], 5, Beam(3, num_return=2), return_scores=True) for model in models
    )
    assert beams.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, values, atol=1e-4)
    draws, drawn = (generate(model, [[5]] * 64, 1, Sample(top_p=0.9)) for model in models)
    assert draws.tolist() == drawn.tolist()


@pytest.mark.parametrize("end", ["dense", "activation", "operation"])
def test_probabilities_that_float16_rounds_to_nothing_are_told_apart(trunk, end):
    ids, x, _ = trunk
    weights = [np.zeros((8, SIZE)), -3.0 * np.arange(SIZE)]
    half = head(weights, "softmax" if end == "dense" else None, dtype="float16")(x)
    if end == "activation":
        half = keras.layers.Activation("softmax", dtype="float16")(half)
    model = keras.Model(ids, ops.softmax(half) if end == "operation" else half)
    assert ops.convert_to_numpy(model(np.array([[1]]))).min() == 0
    check_decodable(model)
    logits, _ = logits_step(Decoder.of(model), np.array([[1]]), init_caches(model, 1, 8))
    np.testing.assert_allclose(ops.convert_to_numpy(logits)[0, 0], -3.0 * np.arange(SIZE), rtol=1e-3)


def test_a_probability_of_zero_is_never_drawn(trunk):
    ids, x, _ = trunk
    likely = ops.softmax(head([np.zeros((8, SIZE)), np.arange(SIZE) < 3])(x))
    likely = ops.where(likely < 0.1, 0.0, likely)
    model = keras.Model(ids, likely / ops.sum(likely, axis=-1, keepdims=True))
    assert ops.convert_to_numpy(model(np.array([[1]])))[0, 0, 3:].max() == 0
    assert set(generate(model, [[5]] * 64, 1, Sample(temperature=3.0))[:, 1].tolist()) == {0, 1, 2}
    rows, scores = generate(model, [[5]], 1, Beam(4, num_return=4), return_scores=True)
    assert rows[0, :3, 1].max() < 3
    assert np.isfinite(scores[0, :3]).all()
    assert scores[0, 3] == -np.inf


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda trunk: ended(trunk, lambda x: x, "sigmoid", name="last"), r"'sigmoid' in 'last' \(Dense\)"),
        (lambda trunk: ended(trunk, lambda x: x, "tanh", name="last"), r"'tanh' in 'last' \(Dense\)"),
        (lambda trunk: ended(trunk, keras.layers.Activation("relu", name="last")), r"'relu' in 'last' \(Activation\)"),
        (lambda trunk: ended(trunk, keras.layers.ReLU(name="last")), r"'relu' in 'last' \(ReLU\)"),
        (lambda trunk: ended(trunk, ops.sigmoid), r"'sigmoid' in 'sigmoid\w*' \(Sigmoid\)"),
        (lambda trunk: ended(trunk, keras.activations.relu6), r"'relu6' in .* \(Relu6\)"),
        (lambda trunk: ended(trunk, lambda x: keras.layers.Dropout(0.1)(ops.tanh(x))), r"'tanh' in .* \(Tanh\)"),
        (
            lambda trunk: ended(trunk, nested(keras.layers.Activation("sigmoid", name="last"))),
            r"'sigmoid' in 'functional\w*/last' \(Activation\)",
        ),
        (lambda trunk: ended(trunk, lambda x: ops.softmax(x)[..., : SIZE - 2]), r"'softmax' in 'softmax\w*'"),
    ],
)
def test_what_is_neither_logits_nor_probabilities_is_refused_by_name(trunk, make, said):
    with pytest.raises(ValueError, match="must give logits, or probabilities that sum to 1.*" + said):
        generate(make(trunk), [[1]], 2)


@pytest.mark.once
def test_capped_logits_are_logits(trunk):
    check_decodable(ended(trunk, lambda x: 30.0 * ops.tanh(x / 30.0)))


class Mask(keras.layers.Layer):
    """Notes the masks that it is handed."""

    def __init__(self):
        super().__init__()
        self.supports_masking, self.seen = True, []

    def call(self, inputs, mask=None):
        self.seen.append(mask)
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_layer_without_a_cache_gets_the_mask_of_the_models_own_call(mask_zero):
    ids, noted = keras.Input((None,), dtype="int32"), Mask()
    x = layers.TokenAndPositionEmbedding(SIZE, 16, 8, mask_zero=mask_zero)(ids)
    x = noted(keras.layers.LayerNormalization()(layers.TransformerDecoder(16, 2)(x)))
    model = keras.Model(ids, keras.layers.Dense(SIZE)(x))
    noted.seen.clear()
    generate(model, [[1, 2]], 2)
    assert noted.seen
    assert all((mask is not None) == mask_zero for mask in noted.seen)


@pytest.mark.once
def test_served_logits_are_logits(trunk):
    served = []
    for model in (ENDINGS["dense"](trunk), ended(trunk, lambda x: x)):
        check_decodable(model)
        prefill, _, _ = cache_endpoints(Decoder.of(model), 8)
        served.append(ops.log_softmax(prefill(np.array([[3, 4]]), np.ones((1, 2), bool))["logits"]))
    np.testing.assert_allclose(*served, atol=1e-4)
