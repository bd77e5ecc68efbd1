"""Token ids and lengths beyond their tables: an error wherever they are known, and a defined result where they are not."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.layers import TokenAndPositionEmbedding

from .execution import BACKEND, COMPILES, array, compiled, tensor

VOCABULARY, TABLE, WIDTH = 11, 6, 4


def embedding(**kwargs):
    layer = TokenAndPositionEmbedding(VOCABULARY, TABLE, WIDTH, **kwargs)
    layer(ids([1, 2]))
    return layer


def ids(*rows, dtype="int32"):
    return tensor(np.array(rows), dtype)


def weights(layer):
    return array(layer.token_embedding.embeddings), array(layer.position_embedding.embeddings)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool"])
def test_ids_that_are_no_integers_are_refused(dtype):
    inputs = ops.cast(ops.full((2, 3), 1.5), dtype)
    said = f"`inputs` must hold integer token ids.* Received: (1.5 in )?inputs of dtype {dtype}"
    for layer in (embedding(), TokenAndPositionEmbedding(VOCABULARY, TABLE, WIDTH)):
        with pytest.raises(ValueError, match=said):
            layer(inputs)


@pytest.mark.parametrize("symbolic", [False, True])
def test_ids_of_another_rank_are_refused(symbolic):
    inputs = keras.KerasTensor((3,), "int32") if symbolic else ops.ones((3,), dtype="int32")
    for layer in (embedding(), TokenAndPositionEmbedding(VOCABULARY, TABLE, WIDTH)):
        with pytest.raises(ValueError, match=r"`inputs` must have at least 2 axes. Received: inputs of shape \("):
            layer(inputs)


@pytest.mark.parametrize(("row", "low", "high"), [([1, 11], 1, 11), ([-1, 5], -1, 5), ([-7, 2**31 - 1], -7, 2**31 - 1)])
def test_ids_outside_the_vocabulary_are_refused_in_an_eager_call(row, low, high):
    said = rf"`inputs` must hold token ids in \[0, vocabulary_size\). Received: ids from {low} to {high} with vocabulary_size=11"
    for layer in (embedding(), TokenAndPositionEmbedding(VOCABULARY, TABLE, WIDTH)):
        with pytest.raises(ValueError, match=said):
            layer(ids(row))


def test_ids_outside_the_vocabulary_are_refused_in_an_eager_call_of_a_model():
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, embedding()(inputs))
    with pytest.raises(ValueError, match="Received: ids from -1 to 3 with vocabulary_size=11"):
        model(ids([3, -1]))


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly, and raises")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_ids_outside_the_vocabulary_have_a_zero_embedding_when_compiled(jit_compile):
    layer = embedding()
    if jit_compile or BACKEND == "jax":
        run = compiled(layer)
    else:
        import tensorflow as tf

        run = tf.function(layer)
    tokens, places = weights(layer)
    outputs = array(run(ids([0, 10, 11, -1, 2**31 - 1, -(2**31)])))
    np.testing.assert_array_equal(outputs[0, :2], tokens[[0, 10]] + places[:2])
    np.testing.assert_array_equal(outputs[0, 2:], places[2:])


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly, and raises")
def test_ids_outside_the_vocabulary_train_no_row_of_the_table():
    layer = embedding()
    inputs = keras.Input((3,), dtype="int32")
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, z: ops.sum(z), jit_compile=True)
    before, _ = weights(layer)
    model.fit(np.array([[4, 11, -1]], dtype="int32"), np.zeros((1, 3, WIDTH)), verbose=0)
    after, _ = weights(layer)
    np.testing.assert_array_equal(np.flatnonzero((before != after).any(-1)), [4])


def test_a_sequence_as_long_as_the_table_passes_and_a_longer_one_is_refused():
    assert tuple(embedding()(ids([1] * TABLE)).shape) == (1, TABLE, WIDTH)
    said = r"`inputs` must not be longer than the position table. Received: length 7 with sequence_length=6"
    for layer in (embedding(), TokenAndPositionEmbedding(VOCABULARY, TABLE, WIDTH)):
        with pytest.raises(ValueError, match=said):
            layer(ids([1] * 7))
        with pytest.raises(ValueError, match=said):
            layer(keras.Input((7,), dtype="int32"))
        with pytest.raises(ValueError, match=said):
            compiled(layer)(ids([1] * 7))


def test_a_model_of_unknown_length_refuses_a_sequence_that_is_too_long():
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, embedding()(inputs))
    with pytest.raises(ValueError, match="Received: length 7 with sequence_length=6"):
        model(ids([1] * 7))
    with pytest.raises(ValueError, match="Received: length 7 with sequence_length=6"):
        model.predict(np.ones((2, 7), dtype="int32"), verbose=0)


def test_without_a_position_table_sequences_have_any_length():
    layer = TokenAndPositionEmbedding(VOCABULARY, None, WIDTH)
    np.testing.assert_array_equal(array(layer(ids([3] * 40)))[0, 39], array(layer.token_embedding.embeddings)[3])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends know every length while they trace")
@pytest.mark.parametrize(
    ("jit_compile", "said"),
    [
        (False, r"`inputs` must not be longer than the position table.* sequence_length=6(.|\n)*\[7\]"),
        (True, r"Incompatible shapes: \[2,7,4\] vs. \[6,4\]"),
    ],
)
def test_a_graph_traced_for_any_length_refuses_a_sequence_that_is_too_long(jit_compile, said):
    import tensorflow as tf

    layer = embedding()
    signature = [tf.TensorSpec([None, None], tf.int32)]
    run = tf.function(lambda x: layer(x), input_signature=signature, jit_compile=jit_compile)
    np.testing.assert_allclose(array(run(ids([1] * TABLE, [2] * TABLE))), array(layer(ids([1] * TABLE, [2] * TABLE))))
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        run(ids([1] * 7, [2] * 7))
