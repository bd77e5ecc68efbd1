"""`positions`: of packed documents, of continued sequences, and beyond the table, where there is no vector to add."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .contract_rows import stir
from .execution import BACKEND, COMPILES, AttachMask, SeenMask, array, compiled, tensor

B, T, D, N, TABLE, VOCABULARY = 2, 6, 8, 2, 7, 11
RANDOM = np.random.default_rng(2)
X = RANDOM.normal(size=(B, T, D)).astype("float32")
IDS = RANDOM.integers(1, VOCABULARY, (B, T)).astype("int32")
COUNTED = np.arange(T, dtype="int32")
# Two documents in the first row, three in the second.
WHERE = np.array([[0, 1, 2, 3, 0, 1], [0, 0, 1, 2, 3, 0]], "int32")
DOCUMENT = np.cumsum(WHERE == 0, axis=1)

ADDING = {
    "embedding": (lambda: layers.TokenAndPositionEmbedding(VOCABULARY, TABLE, D), IDS),
    "learned": (lambda: layers.LearnedPositionEncoding(TABLE, offset=2), X),
    "sinusoidal": (layers.SinusoidalPositionEncoding, X),
}
WITH_TABLE = ("embedding", "learned")


def _marked(causal=False, bias=None):
    bias = bias or layers.WindowPositionBias(N, (1, 9), "normal")
    return layers.MultiHeadSelfAttention(N, causal=causal, rotary=layers.RotaryEmbedding(), position_bias=bias)


MARKED = {
    "attention": _marked,
    "encoder": lambda: layers.TransformerEncoder(16, attention=_marked()),
    "encoder, recomputed": lambda: layers.TransformerEncoder(16, attention=_marked(), recompute=True),
    "decoder": lambda: layers.TransformerDecoder(16, attention=_marked(True)),
    "decoder, alibi": lambda: layers.TransformerDecoder(16, attention=_marked(True, layers.AlibiBias(N))),
}
every_adding = pytest.mark.parametrize("name", ADDING)
every_marked = pytest.mark.parametrize("name", MARKED)


def built(name):
    make, x = ADDING[name] if name in ADDING else (MARKED[name], X)
    layer = make()
    layer(tensor(x))
    stir(layer)
    return layer, x


@every_adding
def test_positions_that_are_counted_may_be_given(name):
    layer, x = built(name)
    wanted = array(layer(tensor(x)))
    for where in (COUNTED, np.broadcast_to(COUNTED, (B, T)), COUNTED[None]):
        np.testing.assert_array_equal(array(layer(tensor(x), positions=tensor(where))), wanted)
    later = array(layer(tensor(x[:, 2:]), positions=tensor(COUNTED[2:])))
    np.testing.assert_array_equal(later, wanted[:, 2:])


@every_adding
def test_the_mask_that_keras_carries_goes_on_beside_positions(name):
    layer, x = built(name)
    real, seen = np.array([[4], [6]]) > COUNTED, SeenMask()
    seen(layer(AttachMask()(tensor(x), tensor(real)), positions=tensor(WHERE)))
    np.testing.assert_array_equal(array(seen.mask), real)


@every_adding
def test_axes_before_the_positions_are_batch(name):
    layer, x = built(name)
    shape = (B, 3, T, *x.shape[2:])
    many = np.broadcast_to(x[:, None], shape)
    outputs = array(layer(tensor(many)))
    np.testing.assert_array_equal(outputs, np.broadcast_to(array(layer(tensor(x)))[:, None], outputs.shape))
    given = array(layer(tensor(many), positions=tensor(np.broadcast_to(WHERE[:, None], (B, 3, T)))))
    np.testing.assert_array_equal(given[:, 1], array(layer(tensor(x), positions=tensor(WHERE))))
    symbol = layer(keras.Input((None, *x.shape[1:]), dtype=x.dtype.name))
    assert symbol.shape == (None, None, T, D)
    assert tuple(layer.compute_output_shape(shape)) == outputs.shape
    with pytest.raises(ValueError, match=r"`inputs` must have (2|3) axes where there is a cache"):
        layer(tensor(many), cache=layer.init_cache(B, T))


@pytest.mark.parametrize("first", [*ADDING, "rotary"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_packed_documents_get_what_each_gets_alone(first, kind):
    if first == "rotary":
        before, x = None, X
        block = MARKED[kind]()
    else:
        before, x = built(first)
        block = layers.TransformerEncoder(16, N) if kind == "encoder" else layers.TransformerDecoder(16, N)

    def run(x, where, pairs=None):
        how = {} if before is not None else {"positions": tensor(where)}
        hidden = tensor(x) if before is None else before(tensor(x), positions=tensor(where))
        return array(block(hidden, attention_mask=pairs, **how))

    packed = run(x, WHERE, tensor(DOCUMENT[:, :, None] == DOCUMENT[:, None, :]))
    for row in range(B):
        for document in np.unique(DOCUMENT[row]):
            place = DOCUMENT[row] == document
            alone = run(x[row : row + 1, place], WHERE[row][place])
            np.testing.assert_allclose(packed[row : row + 1, place], alone, atol=2e-6)
            np.testing.assert_array_equal(WHERE[row][place], np.arange(place.sum()))


@every_marked
def test_blocks_hand_positions_to_their_attention(name):
    layer, x = built(name)
    wanted = array(layer(tensor(x)))
    given = array(layer(tensor(x), positions=tensor(COUNTED), training=True))
    np.testing.assert_allclose(given, wanted, atol=1e-6)
    # both slots go by distances alone
    np.testing.assert_allclose(array(layer(tensor(x), positions=tensor(COUNTED + 2))), wanted, atol=2e-5)
    assert np.abs(array(layer(tensor(x), positions=tensor(WHERE))) - wanted).max() > 1e-3


def test_positions_are_an_input_of_a_functional_model():
    ids, where = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    hidden = layers.TokenAndPositionEmbedding(VOCABULARY, TABLE, D)(ids, positions=where)
    model = keras.Model([ids, where], layers.TransformerEncoder(16, attention=_marked())(hidden, positions=where))
    packed, counted = (model.predict([IDS, where], verbose=0) for where in (WHERE, np.broadcast_to(COUNTED, (B, T))))
    assert np.abs(packed - counted).max() > 1e-3


def as_compiled(function):
    """The function where no value is known: under XLA, or traced by torch's compiler."""
    if BACKEND != "torch":
        return compiled(function)
    import torch

    return torch.compile(function, backend="eager", fullgraph=True)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_positions_outside_the_table_are_refused_and_add_nothing_when_compiled(name):
    layer, x = built(name)
    inside = array(layer(tensor(x), positions=tensor(np.zeros(T, "int32"))))
    wrong = np.array([0, TABLE, -1, 2**31 - 1, TABLE - 1, -(2**31)], "int32")
    said = (
        r"`positions` must hold positions in \[0, sequence_length\). Received: positions from .* with sequence_length=7"
    )
    with pytest.raises(ValueError, match=said):
        layer(tensor(x), positions=tensor(wrong))
    table = array(layer.position_embedding.embeddings)[-TABLE:]
    bare = inside - table[0]
    outputs = array(as_compiled(lambda x, where: layer(x, positions=where))(tensor(x), tensor(wrong)))
    np.testing.assert_allclose(outputs[:, [1, 2, 3, 5]], bare[:, [1, 2, 3, 5]], atol=1e-6)
    np.testing.assert_allclose(outputs[:, 4], bare[:, 4] + table[-1], atol=1e-6)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_a_cached_token_past_the_table_is_refused_and_gets_no_position_when_compiled(name):
    layer, x = built(name)
    bare = (
        array(layer(tensor(x), positions=tensor(np.zeros(T, "int32"))))
        - array(layer.position_embedding.embeddings)[-TABLE]
    )
    cache = tensor(np.array([TABLE - 2, TABLE], "int32"))
    with pytest.raises(ValueError, match="must not grow longer than the position table. Received: position 8"):
        layer(tensor(x[:, :2]), cache=cache)
    outputs, count = as_compiled(lambda x, cache: layer(x, cache=cache))(tensor(x[:, :3]), cache)
    table = array(layer.position_embedding.embeddings)[-TABLE:]
    np.testing.assert_allclose(array(outputs)[0, :2], bare[0, :2] + table[-2:], atol=1e-6)
    np.testing.assert_allclose(array(outputs)[0, 2], bare[0, 2], atol=1e-6)
    np.testing.assert_allclose(array(outputs)[1], bare[1, :3], atol=1e-6)
    np.testing.assert_array_equal(array(count), [TABLE + 1, TABLE + 3])
    # Padding after the last place is no token: it is refused nowhere.
    padded, count = layer(tensor(x[:, :3]), mask=tensor(np.array([[1, 1, 0], [0, 0, 0]], bool)), cache=cache)
    assert np.all(np.isfinite(array(padded)))
    np.testing.assert_array_equal(array(count), [TABLE, TABLE])


def test_what_cannot_be_used_is_refused_by_name():
    for name in (*ADDING, "attention", "decoder"):
        layer, x = built(name)
        with pytest.raises(ValueError, match="`positions` must not be given beside a `cache`"):
            layer(tensor(x), positions=tensor(COUNTED), cache=layer.init_cache(B, T))
        for make in (tensor, lambda value: keras.KerasTensor(value.shape, value.dtype.name)):
            with pytest.raises(
                ValueError, match=r"`positions` must have shape \(6,\) or \(2, 6\). Received: .* \(5,\)"
            ):
                layer(make(x), positions=make(COUNTED[:5]))
            with pytest.raises(
                ValueError, match=r"`positions` must have one for each of 6 places. Received: .* \(2, 1\)"
            ):
                layer(make(x), positions=make(WHERE[:, :1]))
        with pytest.raises(ValueError, match="`positions` must hold integer.* Received: .*0.5"):
            layer(tensor(x), positions=tensor(COUNTED + np.float32(0.5)))
    for layer in (layers.MultiHeadSelfAttention(N), layers.TransformerEncoder(16, N)):
        with pytest.raises(ValueError, match="`positions` must be for a `rotary` or a `position_bias`"):
            layer(tensor(X), positions=tensor(COUNTED))
    with pytest.raises(ValueError, match="`positions` must be for a table of positions"):
        layers.TokenAndPositionEmbedding(VOCABULARY, None, D)(tensor(IDS), positions=tensor(COUNTED))
    with pytest.raises(ValueError, match="`positions` must be among the arguments of the attention's call"):
        layers.TransformerEncoder(16, attention=keras.layers.Dense(D))(tensor(X), positions=tensor(COUNTED))


@pytest.mark.parametrize("name", [*ADDING, "attention"])
def test_whole_floats_are_positions_too(name):
    layer, x = built(name)
    wanted = array(layer(tensor(x), positions=tensor(WHERE)))
    np.testing.assert_array_equal(array(layer(tensor(x), positions=tensor(WHERE.astype("float32")))), wanted)


@pytest.mark.parametrize("shape", [(B, T, 4), (B, T, N, 4), (B, 3, T, N, 4)])
def test_rotations_of_every_rank_are_those_of_heads(shape):
    layer, axis = layers.RotaryEmbedding(), max(1, len(shape) - 3)
    x = RANDOM.normal(size=shape).astype("float32")
    where = np.broadcast_to(WHERE if axis == 1 else WHERE[:, None], shape[: axis + 1])
    heads = x.reshape(-1, T, 1 if len(shape) == 3 else N, 4)
    for given, one in ((None, None), (COUNTED, COUNTED), (where, where.reshape(-1, T))):
        found, wanted = (
            array(layer(tensor(values), **({} if each is None else {"positions": tensor(each)})))
            for values, each in ((x, given), (heads, one))
        )
        np.testing.assert_array_equal(found, wanted.reshape(shape))
    assert layer(keras.KerasTensor(shape)).shape == shape


def test_vectors_are_gathered_from_sequences_of_any_leading_axes():
    x = RANDOM.normal(size=(B, 3, T, D)).astype("float32")
    where = RANDOM.integers(0, T, (B, 3, 4)).astype("int32")
    layer = layers.GatherPositions()
    np.testing.assert_array_equal(array(layer(tensor(x), tensor(where))), np.take_along_axis(x, where[..., None], -2))
    assert layer(keras.Input((None, None, D)), keras.Input((None, 4), dtype="int32")).shape == (None, None, 4, D)


@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_a_bias_past_its_window_is_zero_when_compiled():
    bias = layers.WindowPositionBias(N, (1, 3), "normal")
    known = array(bias(tensor(np.arange(3)), tensor(np.arange(3))))
    places = tensor(np.array([0, 1, 2, 3, -1], "int32"))
    found = array(compiled(bias)(places, places))
    np.testing.assert_array_equal(found[:, :3, :3], known)
    assert np.all(found[:, 3:] == 0)
    assert np.all(found[:, :, 3:] == 0)


def test_segments_may_have_axes_before_them():
    layer = layers.SegmentEmbedding(3, D)
    segments = RANDOM.integers(0, 3, (B, 3, T)).astype("int32")
    outputs = array(layer(tensor(segments)))
    np.testing.assert_array_equal(outputs, array(layer.segment_embedding.embeddings)[segments])
    assert ops.shape(outputs) == (B, 3, T, D)
