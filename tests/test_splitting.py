"""A model cut in two computes what the whole one does, and what its frozen part gives can be kept for all epochs."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, graph, layers
from keras_tx.applications import BERT, Translator, bert_classifier

IDS = np.array([[2, 7, 9, 3, 0, 0], [2, 5, 3, 0, 0, 0], [2, 4, 8, 6, 5, 3]])
LABELS = np.array([0, 1, 1])


def classifier():
    encoder = BERT(12, 6, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=16, dropout=0.0)
    return bert_classifier(encoder, 2, dropout=0.0)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def names(model):
    return {layer.name for layer in model.layers}


def test_front_and_back_give_what_the_model_gives_and_share_its_layers():
    model = classifier()
    front, back = graph.split(model, "bert/encoder_1")
    states = front(IDS)
    assert np.array_equal(numpy(back(states)), numpy(model(IDS)))
    assert {"embedding", "encoder_0", "encoder_1"} <= names(front)
    assert not {"embedding", "encoder_0", "encoder_1"} & names(back)
    assert {"encoder_2", "pooler", "logits"} <= names(back)
    assert back.get_layer("encoder_2") is model.get_layer("bert").get_layer("encoder_2")
    assert list(back.input) == list(front.output)


def skipping():
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.TokenAndPositionEmbedding(12, 6, 8, name="embedding")(ids)
    y = layers.TransformerEncoder(16, 2, name="block")(x)
    z = keras.layers.Add(name="sum")([x, layers.FeedForward(16, name="network")(y)])
    return keras.Model(ids, layers.MaskedMeanPooling(name="pooling")(z))


def test_masks_that_keras_carries_are_handed_over(tmp_path):
    ids, queries = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None, 8), name="queries")
    x = layers.TokenAndPositionEmbedding(12, 6, 8, mask_zero=True)(ids)
    x = layers.TransformerEncoder(16, 2, name="block")(x)
    model = keras.Model([ids, queries], layers.TransformerDecoder(16, 2, name="decoder")(queries, x))
    given = np.random.default_rng(0).standard_normal((3, 2, 8)).astype("float32")
    front, back = graph.split(model, "block")
    states = front([IDS, given])
    expected = numpy(model([IDS, given]))
    assert np.array_equal(numpy(states["block.mask"]), IDS != 0)
    assert np.array_equal(numpy(back(states)), expected)
    changed = {**states, "block.mask": ops.ones(IDS.shape, "bool")}
    assert np.abs(numpy(back(changed)) - expected).max() > 1e-3
    back.save(tmp_path / "back.keras")
    assert np.array_equal(numpy(keras.models.load_model(tmp_path / "back.keras")(states)), expected)
    assert analysis.count_costs(back, {name: tensor.shape for name, tensor in states.items()}).macs


def test_all_that_the_back_reads_must_be_named():
    model = skipping()
    with pytest.raises(ValueError, match=r"all that the part after them reads.*\['embedding'\]"):
        graph.split(model, "block")
    front, back = graph.split(model, "sum")
    assert np.array_equal(numpy(back(front(IDS))), numpy(model(IDS)))


def two_streams():
    a, b = keras.Input((None, 8), name="a"), keras.Input((None, 8), name="b")
    x = layers.FeedForward(16, name="left")(a)
    y = layers.FeedForward(16, name="right")(b)
    return keras.Model({"a": a, "b": b}, layers.TransformerDecoder(16, 2, name="decoder")(x, y))


def encoder_decoder():
    ids, source = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="int32", name="source")
    embedding = layers.TokenAndPositionEmbedding(12, 6, 8, mask_zero=True, name="embedding")
    context, x = layers.TransformerEncoder(16, 2, name="block")(embedding(source)), embedding(ids)
    for name in ("first", "second"):
        x = layers.TransformerDecoder(16, 2, name=name)(x, context)
    return keras.Model({"ids": ids, "source": source}, x)


def test_a_layer_and_one_that_leads_to_it():
    """Of an encoder-decoder, later blocks read the encoder's outputs too."""
    model = encoder_decoder()
    with pytest.raises(ValueError, match=r"\['block'\] are read there too"):
        graph.split(model, "first")
    front, back = graph.split(model, ["block", "first"])
    inputs = {"source": IDS, "ids": np.array([[1, 7], [1, 8], [1, 9]])}
    assert {"block", "block.mask", "first"} <= set(back.input)
    assert np.array_equal(numpy(back(front(inputs))), numpy(model(inputs)))


def test_layers_of_one_name_in_a_part_are_refused():
    model = Translator(20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
    with pytest.raises(ValueError, match="two layers of one name.*'encoder/scale' and 'decoder/scale'"):
        graph.split(model, ["encoder/encoder_1", "decoder/decoder_0"])


def test_several_layers_and_inputs():
    model, random = two_streams(), np.random.default_rng(0)
    inputs = {name: random.standard_normal((2, 3, 8)).astype("float32") for name in "ab"}
    front, back = graph.split(model, ["left", "right"])
    assert sorted(back.input) == ["left", "right"]
    assert np.array_equal(numpy(back(front(inputs))), numpy(model(inputs)))
    front, back = graph.split(model, "left")  # the other stream is a part of the back
    assert sorted(back.input) == ["b", "left"]
    assert np.array_equal(numpy(back(front(inputs))), numpy(model(inputs)))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("encoder_1", "as graph.layer_calls lists them"),
        ([], "as graph.layer_calls lists them"),
        (["bert/encoder_0", "bert/encoder_1"], r"must be read by what follows.*\['bert/encoder_0'\]"),
    ],
    ids=["no path", "none", "one after the other"],
)
def test_wrong_cuts_are_refused(paths, message):
    with pytest.raises(ValueError, match=message):
        graph.split(classifier(), paths)


def test_a_layer_that_leads_nowhere_is_refused():
    x = keras.Input((4,))
    y = keras.layers.Dense(2, name="used")(x)
    unused = keras.layers.Dense(2, name="unused")(y)
    model = keras.Model(x, [y, unused])
    assert graph.split(model, "used")
    model = keras.Model(x, y)
    with pytest.raises(ValueError, match="as graph.layer_calls lists them"):
        graph.split(model, ["used", "unused"])


def test_training_the_back_on_kept_outputs_is_training_the_model_with_a_frozen_front():
    model, whole = classifier(), classifier()
    model(IDS), whole(IDS)
    whole.set_weights(model.get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    front, back = graph.split(model, "bert/encoder_1")
    front.trainable = False
    batches = graph.CachedOutputs(front, [(IDS[:, :5][:2], LABELS[:2]), (IDS[2:], LABELS[2:])], 3, verbose=0)
    assert [len(batches[place][1]) for place in range(batches.num_batches)] == [1, 2]  # another shape goes first
    back.compile(keras.optimizers.SGD(0.1), loss)
    back.fit(batches, epochs=2, shuffle=False, verbose=0)

    frozen, _ = graph.split(whole, "bert/encoder_1")
    frozen.trainable = False
    whole.compile(keras.optimizers.SGD(0.1), loss)
    for _ in range(2):
        whole.train_on_batch(IDS[2:], LABELS[2:])
        whole.train_on_batch(IDS[:, :5][:2], LABELS[:2])
    for mine, other in zip(model.weights, whole.weights, strict=True):
        np.testing.assert_allclose(numpy(mine), numpy(other), atol=1e-5)


def test_kept_outputs_come_in_a_new_order_each_epoch_each_row_once():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])
    rows = np.arange(14, dtype="float32").reshape(7, 2)
    given = [(rows[:4], {"y": np.arange(4)}, np.ones(4)), (rows[4:], {"y": np.arange(4, 7)}, np.ones(3))]
    batches = graph.CachedOutputs(model, given, 2, shuffle=True, dtype="float16", verbose=0)
    orders = []
    for _ in range(3):
        drawn = [batches[place] for place in range(batches.num_batches)]
        assert [len(x) for x, _, _ in drawn] == [2, 2, 2]  # the row left over is left out
        for x, y, _ in drawn:
            assert x.dtype == "float16"
            assert np.array_equal(x, 2 * rows[y["y"]])
        orders.append(np.concatenate([y["y"] for _, y, _ in drawn]).tolist())
        assert len(set(orders[-1])) == 6
        batches.on_epoch_end()
    assert len(set(map(tuple, orders))) == 3
    in_order = graph.CachedOutputs(model, [rows[:4], rows[4:]], 3, verbose=0)
    assert np.array_equal(np.concatenate([in_order[place] for place in range(3)]), 2 * rows)
    again = graph.CachedOutputs(model, in_order, 7, verbose=1)  # a PyDataset
    assert np.array_equal(again[0], 4 * rows)


def test_what_would_change_or_is_not_there_is_not_kept():
    with pytest.raises(ValueError, match="must be frozen"):
        graph.CachedOutputs(classifier(), [IDS])
    model = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])
    with pytest.raises(ValueError, match="at least one batch"):
        graph.CachedOutputs(model, [])
    with pytest.raises(ValueError, match="`dtype` must be a floating one"):
        graph.CachedOutputs(model, [np.ones((2, 2))], dtype="int8")
    alone = graph.CachedOutputs(model, [(np.ones((2, 2)), None)], verbose=0)
    assert np.array_equal(alone[0], 2 * np.ones((2, 2)))


@pytest.mark.once
def test_a_data_set_of_tensorflow_is_gone_through_once():
    import tensorflow as tf

    model = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])
    dataset = tf.data.Dataset.from_tensor_slices((np.ones((5, 2), "float32"), np.arange(5))).batch(2)
    batches = graph.CachedOutputs(model, dataset, 5, verbose=0)
    x, y = batches[0]
    assert batches.num_batches == 1
    assert np.array_equal(x, 2 * np.ones((5, 2)))
    assert np.array_equal(y, np.arange(5))
