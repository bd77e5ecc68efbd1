"""Sequential models are decoded as functional ones, and of several outputs the one that is named."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.decoding import Session, check_decodable, generate, init_caches, step, stream


def parts_of(make_input=True):
    start = [keras.Input((None,), dtype="int32")] if make_input else []
    return [
        *start,
        layers.TokenAndPositionEmbedding(11, 64, 8),
        layers.TransformerDecoder(16, 2),
        keras.layers.Dense(11, name="head"),
    ]


@pytest.fixture(scope="module")
def sequential(shake):
    return shake(keras.Sequential(parts_of(), name="stack"))


@pytest.fixture(scope="module")
def several(sequential):
    """The same weights, with other outputs beside the logits: one that no decoding could give, and two of one layer."""
    ids = keras.Input((None,), dtype="int32")
    embedding, block, head = sequential.layers
    x = block(embedding(ids))
    pooled = layers.MaskedMeanPooling(name="pool")(x)
    return keras.Model(ids, [pooled, head(x), x], name="several")


def test_a_sequential_model_is_decoded_as_the_functional_one(sequential, naive):
    expected = naive(sequential, [1, 2], 4)
    assert generate(sequential, [[1, 2]], 4)[0].tolist() == expected
    assert [i for piece in stream(sequential, [1, 2], 4) for i in piece] == expected[2:]
    session = Session(sequential)
    list(stream(session, [1, 2], 2))
    assert session.ids == expected[:4]


def test_a_layer_more_is_seen(shake):
    model = keras.Sequential(parts_of(), name="stack")
    before = generate(shake(model), [[1, 2]], 3)
    model.add(keras.layers.Dense(11, kernel_initializer=lambda shape, dtype=None: -np.eye(11, dtype="float32")))
    assert not np.array_equal(generate(model, [[1, 2]], 3), before)


@pytest.mark.once
def test_a_sequential_model_that_is_not_built_is_told_to_be():
    for call in (lambda model: generate(model, [[1]], 2), Session, check_decodable):
        with pytest.raises(ValueError, match="must be built to be decoded: give the Sequential a keras.Input.*stack"):
            call(keras.Sequential(parts_of(make_input=False), name="stack"))


@pytest.mark.parametrize("output", ["head", 1, np.int64(1)])
def test_the_output_that_is_named_is_decoded(several, sequential, naive, output):
    expected = naive(sequential, [1, 2], 3)
    assert generate(several, [[1, 2]], 3, output=output)[0].tolist() == expected
    assert [i for piece in stream(several, [1, 2], 3, output=output) for i in piece] == expected[2:]
    session = Session(several, output=output)
    list(stream(session, [1, 2], 3))
    assert session.ids == expected


def test_steps_give_the_output_that_is_named(several, sequential):
    caches = init_caches(several, 1, 4, output="head")
    outputs, _ = step(several, np.array([[1, 2]]), caches, output="head")
    expected = sequential(np.array([[1, 2]]))
    np.testing.assert_allclose(*(keras.ops.convert_to_numpy(x) for x in (outputs, expected)), atol=1e-5)


def test_an_output_of_a_dict_is_named_by_its_key(sequential, naive):
    embedding, block, head = sequential.layers
    ids = keras.Input((None,), dtype="int32")
    x = block(embedding(ids))
    expected = naive(sequential, [1, 2], 3)
    for outputs, key in (({"words": head(x), "hidden": x}, "words"), ({"words": head(x)}, None)):
        model = keras.Model(ids, outputs)
        assert generate(model, [[1, 2]], 3, output=key)[0].tolist() == expected


@pytest.mark.once
@pytest.mark.parametrize("output", [None, "absent", 3, -1, True, 1.0, ["head"]])
def test_without_a_name_the_choices_are_named(several, output):
    said = r"`output` must name the one output .*output={}, several with 3 outputs, of layers \['pool', 'head', "
    shown = repr(output).replace("[", r"\[").replace("]", r"\]")
    for call in (lambda **kwargs: generate(several, [[1]], 2, **kwargs), lambda **kwargs: Session(several, **kwargs)):
        with pytest.raises(ValueError, match=said.format(shown)):
            call(output=output)


@pytest.mark.once
def test_a_session_knows_its_output(several):
    with pytest.raises(ValueError, match="`output` must be None for a session, which has its own. Received: output=1"):
        stream(Session(several, output=1), [1], 2, output=1)
