"""A model cut in two computes what the whole one does, and what its frozen part gives can be kept for all epochs."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, graph, layers
from keras_tx.applications import BERT, Translator, bert_classifier

from .layers.contract_rows import stir

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


@pytest.mark.parametrize("normalize_first", [False, True])
def test_layers_of_one_name_stand_in_models_of_their_own(normalize_first, tmp_path):
    """The encoder and the decoder of a translator begin and end alike; what the encoder gives carries a mask."""
    model = Translator(
        20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, dropout=0.0, normalize_first=normalize_first
    )
    stir(model)
    inputs = {"source_ids": np.array([[5, 6, 7, 0], [4, 3, 0, 0]]), "target_ids": np.array([[1, 8, 9], [1, 3, 4]])}
    expected, last = numpy(model(inputs)), "encoder/final_norm" if normalize_first else "encoder/encoder_1"
    front, back = graph.split(model, [last, "decoder/decoder_0"])
    states = front(inputs)
    assert np.array_equal(numpy(back(states)), expected)
    assert {"scale", "decoder.scale", "positions", "decoder.positions"} <= names(front)
    assert front.get_layer("decoder.scale").get_layer("scale") is model.get_layer("decoder").get_layer("scale")
    assert np.array_equal(numpy(states[f"{last.replace('/', '.')}.mask"]), inputs["source_ids"] != 0)
    front.save(tmp_path / "front.keras")
    states = keras.models.load_model(tmp_path / "front.keras")(inputs)
    assert np.array_equal(numpy(back(states)), expected)
    _, back = graph.split(model, ["encoder/encoder_0", "decoder/embedding_dropout"])
    assert ("decoder.final_norm" in names(back)) == normalize_first


# Keras' own words on the two encoders, which it takes to lose masks.
@pytest.mark.filterwarnings("ignore:Layer 'of_.* was passed an input with a mask:UserWarning")
def test_layers_of_one_name_with_masks_that_keras_carries():
    def encoder(name):
        x = keras.Input((None, 8))
        y = layers.LayerScale(1.0, name="scale")(layers.TransformerEncoder(16, 2, name="block")(x))
        return keras.Model(x, layers.TransformerEncoder(16, 2, name="last")(y), name=name)

    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in "ab"}
    embedding = layers.TokenAndPositionEmbedding(12, 6, 8, mask_zero=True, name="embedding")
    x, y = (encoder(f"of_{name}")(embedding(inputs[name])) for name in "ab")
    model = keras.Model(inputs, layers.TransformerDecoder(16, 2, name="decoder")(x, y))
    stir(model)
    given = {"a": IDS, "b": IDS[::-1]}
    for part in ("block", "scale", "last"):
        front, back = graph.split(model, [f"of_a/{part}", f"of_b/{part}"])
        states = front(given)
        assert np.array_equal(numpy(back(states)), numpy(model(given)))
        assert np.array_equal(numpy(states[f"of_b.{part}.mask"]), given["b"] != 0)


def twice():
    x, layer = keras.Input((4,), name="x"), keras.layers.Dense(4, activation="tanh", name="layer")
    return keras.Model(x, keras.layers.Dense(2, name="last")(layer(layer(x))))


def one_layer_for_two():
    a, b, layer = keras.Input((4,), name="a"), keras.Input((4,), name="b"), keras.layers.Dense(4, name="layer")
    return keras.Model([a, b], keras.layers.Dense(2)(keras.layers.Subtract()([layer(a), layer(b)])))


@pytest.mark.parametrize(
    ("make", "paths", "given"),
    [
        (twice, "layer", {"layer"}),
        (twice, "layer#2", {"layer.2"}),
        (one_layer_for_two, "layer", {"layer", "b"}),
        (one_layer_for_two, ["layer", "layer#2"], {"layer", "layer.2"}),
    ],
)
def test_a_layer_that_is_called_on_both_sides_of_the_cut(make, paths, given, tmp_path):
    model, random = make(), np.random.default_rng(0)
    inputs = [random.standard_normal((3, 4)).astype("float32") for _ in model.inputs]
    inputs = inputs[0] if len(inputs) == 1 else inputs
    front, back = graph.split(model, paths)
    assert set(back.input) == given
    back.save(tmp_path / "back.keras")
    for part in (back, keras.models.load_model(tmp_path / "back.keras")):
        np.testing.assert_allclose(part.predict(front(inputs), verbose=0), numpy(model(inputs)), atol=1e-6)


def test_parts_can_be_cut_again():
    model = classifier()
    front, back = graph.split(model, "bert/encoder_1")
    first, second = graph.split(front, "encoder_0")
    third, last = graph.split(back, "encoder_2")
    assert np.array_equal(numpy(last(third(second(first(IDS))))), numpy(model(IDS)))


def test_an_input_of_the_name_of_what_is_handed_over_is_refused():
    x = keras.Input((4,), name="inner.layer")
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="layer")], name="inner")
    model = keras.Model(x, keras.layers.Add(name="sum")([x, inner(x)]))
    with pytest.raises(ValueError, match=r"must have names that differ.*\['inner.layer'\]"):
        graph.split(model, "inner/layer")


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
        (None, "the path of a layer, or a list of paths. Received: layers=None"),
        (["bert/encoder_0", "bert/encoder_1"], r"must be read by what follows.*\['bert/encoder_0'\]"),
    ],
    ids=["no path", "none", "no list", "one after the other"],
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
