"""What a frozen model gives, kept for all epochs: the order of its rows, and what cannot be kept."""

import keras
import numpy as np
import pytest

from keras_tx import graph, layers

ROWS = np.arange(14, dtype="float32").reshape(7, 2)


def doubling():
    return keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])


def test_kept_outputs_come_in_a_new_order_each_epoch_each_row_once():
    model = doubling()
    given = [(ROWS[:4], {"y": np.arange(4)}, np.ones(4)), (ROWS[4:], {"y": np.arange(4, 7)}, np.ones(3))]
    batches = graph.CachedOutputs(model, given, 2, shuffle=True, dtype="float16", verbose=0)
    orders = []
    for _ in range(3):
        drawn = [batches[place] for place in range(batches.num_batches)]
        assert [len(x) for x, _, _ in drawn] == [2, 2, 2]  # the row left over is left out
        for x, y, _ in drawn:
            assert x.dtype == "float16"
            assert np.array_equal(x, 2 * ROWS[y["y"]])
        orders.append(np.concatenate([y["y"] for _, y, _ in drawn]).tolist())
        assert len(set(orders[-1])) == 6
        batches.on_epoch_end()
    assert len(set(map(tuple, orders))) == 3
    in_order = graph.CachedOutputs(model, [ROWS[:4], ROWS[4:]], 3, verbose=0)
    assert np.array_equal(np.concatenate([in_order[place] for place in range(3)]), 2 * ROWS)
    again = graph.CachedOutputs(model, in_order, 7, verbose=1)  # a PyDataset
    assert np.array_equal(again[0], 4 * ROWS)


def test_what_would_change_or_is_not_there_is_not_kept():
    with pytest.raises(ValueError, match="must be frozen"):
        graph.CachedOutputs(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), [ROWS])
    model = doubling()
    with pytest.raises(ValueError, match="at least one row. Received: none"):
        graph.CachedOutputs(model, [])
    with pytest.raises(ValueError, match="`dtype` must be a floating one"):
        graph.CachedOutputs(model, [np.ones((2, 2))], dtype="int8")
    alone = graph.CachedOutputs(model, [(np.ones((2, 2)), None)], verbose=0)
    assert np.array_equal(alone[0], 2 * np.ones((2, 2)))


def test_a_data_set_of_tensorflow_is_gone_through_once():
    tf = pytest.importorskip("tensorflow")

    model = doubling()
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((5, 2), "float32"), np.arange(5))).batch(2)
    batches = graph.CachedOutputs(model, dataset, 5, verbose=0)
    x, y = batches[0]
    assert batches.num_batches == 1
    assert np.array_equal(x, 2 * np.ones((5, 2)))
    assert np.array_equal(y, np.arange(5))


class Noise(keras.layers.Layer):
    """Adds noise, in inference too."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed_generator)


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return ROWS


def test_what_is_random_is_not_kept_in_silence():
    with pytest.raises(
        ValueError, match="`model` must give the same for the same inputs.* draws random numbers in inf"
    ):
        graph.CachedOutputs(keras.Sequential([keras.Input((2,)), Noise()]), [ROWS], verbose=0)
    x = keras.Input((4, 4, 3))
    flipped = keras.layers.GaussianNoise(0.1, name="noise")(keras.layers.RandomFlip(name="flip")(x))
    model = keras.Model(x, keras.layers.Dropout(0.5)(flipped), name="images")
    with pytest.warns(
        UserWarning, match="images/flip of class RandomFlip.*images/noise of class GaussianNoise"
    ) as seen:
        graph.CachedOutputs(model, [np.ones((1, 4, 4, 3))], verbose=0)
    assert "Dropout" not in str(seen[0].message)


@pytest.mark.filterwarnings("error::UserWarning")
def test_dropout_is_off_without_a_warning():
    block = layers.TransformerEncoder(4, 1, dropout=0.5, drop_path=0.5)
    model = keras.Sequential([keras.Input((3, 2)), block, layers.Dropout(0.5)])
    model.trainable = False
    x = np.random.default_rng(0).standard_normal((2, 3, 2)).astype("float32")
    kept = graph.CachedOutputs(model, [x], verbose=0)
    np.testing.assert_allclose(kept[0], model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (ROWS, "an iterable of batches. Received: a ndarray"),
        (None, "an iterable of batches. Received: a NoneType"),
        (Endless(), "`batches` must end"),
        ([[ROWS, np.arange(7)]], "tuples .*Received: a list of 2 for the 1 inputs"),
        ([(ROWS, np.arange(6))], r"a row in every target and weight.*shapes \(\(7, 2\), \(6,\)\)"),
        ([(ROWS, [1])], "a row in every target and weight"),
        ([(ROWS, None, np.ones(7))], "a row in every target and weight"),
        ([(ROWS, np.arange(7)), ROWS], "must all be alike"),
        ([ROWS[:0]], "at least one row. Received: batches without rows"),
    ],
    ids=["array", "none", "endless", "list", "rows", "number", "no targets", "unlike", "empty"],
)
def test_batches_that_make_no_data_set_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        graph.CachedOutputs(doubling(), batches, verbose=0)


@pytest.mark.once
def test_a_data_set_without_an_end_is_refused():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensors(ROWS).repeat()
    with pytest.raises(ValueError, match="`batches` must end"):
        graph.CachedOutputs(doubling(), dataset, verbose=0)


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "`model` must be a keras.Model. Received: model=None"),
        ({"seed": -1}, "`seed` must be an integer of at least 0 or None. Received: seed=-1"),
        ({"dtype": "float"}, "`dtype` must be a floating one.* Received: dtype='float'"),
        ({"batch_size": 2.0}, "`batch_size` must be a positive integer"),
        ({"shuffle": 1}, "`shuffle` must be True or False"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        graph.CachedOutputs(**{"model": doubling(), "batches": [ROWS], "verbose": 0, **change})


def test_a_model_must_give_as_many_rows_as_targets():
    x = keras.Input((2,))
    model = keras.Model(x, {"a": x, "b": keras.ops.reshape(x, (-1, 1))})
    with pytest.raises(ValueError, match="a row in every target and weight for each row that the model gives"):
        graph.CachedOutputs(model, [ROWS], verbose=0)
