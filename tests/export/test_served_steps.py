"""The endpoints of a loop of one's own, and of texts, on one loaded SavedModel: no step goes where no vector is."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import decoding, export, layers
from keras_tx.applications import GPT

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written by TensorFlow alone", allow_module_level=True)
pytest.importorskip("keras_hub")

import keras_hub
import tensorflow as tf

from keras_tx.decoding.decoder import Decoder
from keras_tx.export.endpoints import cache_endpoints

from ..decoding.conftest import shaken

TABLE, NEW = 16, 4
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
NO_ROOM = "The cache must have room for every token|A sequence must not grow longer than the position table"


@pytest.fixture(scope="module")
def letters():
    return keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")


@pytest.fixture(scope="module")
def model():
    return shaken(GPT(256, TABLE, **SIZE))


@pytest.fixture(scope="module")
def served(model, letters, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("served") / "writer")
    # With numbers of numpy, as a configuration may hold them.
    return tf.saved_model.load(export.export_generator(model, folder, letters, np.int64(NEW)))


class Loop:
    """A caller's own loop: it keeps what an endpoint gave, and hands the caches to the next."""

    def __init__(self, served):
        self.prefill, self.step = served.signatures["prefill"], served.signatures["step"]
        self.caches = {}

    def _kept(self, outputs):
        outputs = dict(outputs)
        logits = outputs.pop("logits").numpy()
        self.caches = outputs
        return logits

    def start(self, ids, mask=None):
        mask = np.ones(np.shape(ids), "bool") if mask is None else mask
        return self._kept(self.prefill(token_ids=tf.constant(ids, tf.int32), mask=tf.constant(mask)))

    def go_on(self, ids):
        return self._kept(self.step(token_ids=tf.constant(ids, tf.int32), **self.caches))


def token_ids(count, rows=2):
    return np.random.default_rng(0).integers(1, 256, (rows, count)).astype("int32")


def test_the_caches_are_as_long_as_the_table_and_steps_reach_its_end(served, model):
    shapes = {tuple(each.shape) for each in served.signatures["prefill"].structured_outputs.values()}
    assert {shape[1] for shape in shapes if len(shape) == 3 and shape[2] == 4} == {TABLE}  # keys and values
    ids, loop = token_ids(TABLE), Loop(served)
    pieces = [
        loop.start(ids[:, :7]),
        *(loop.go_on(ids[:, i : i + 1]) for i in range(7, TABLE - 2)),
        loop.go_on(ids[:, -2:]),
    ]
    full = ops.convert_to_numpy(model(ids))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), full, atol=1e-5 * np.abs(full).max())
    for count in (1, 3):
        with pytest.raises(tf.errors.InvalidArgumentError, match=NO_ROOM):
            loop.go_on(ids[:, :count])


@pytest.mark.parametrize(("length", "more"), [(TABLE + 1, 0), (TABLE - 1, 2), (40, 0)])
def test_what_is_longer_than_the_table_is_refused(served, length, more):
    loop = Loop(served)

    def run():
        loop.start(token_ids(length))
        loop.go_on(token_ids(more))

    with pytest.raises(tf.errors.InvalidArgumentError, match=NO_ROOM + "|must not be longer than the position table"):
        run()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_takes_room_and_no_position(served, model, side):
    ids, loop, columns = token_ids(7, rows=1), Loop(served), TABLE - NEW
    mask = np.zeros((1, columns), "bool")
    mask[:, slice(-3, None) if side == "left" else slice(3)] = True
    padded = np.full((1, columns), 9)
    padded[mask] = ids[0, :3]
    pieces = [loop.start(padded, mask)[mask][None], *(loop.go_on(ids[:, i : i + 1]) for i in range(3, 7))]
    full = ops.convert_to_numpy(model(ids))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), full, atol=1e-5 * np.abs(full).max())
    with pytest.raises(tf.errors.InvalidArgumentError, match=NO_ROOM):
        loop.go_on(ids[:, :1])


@pytest.mark.parametrize("prompts", [["ab", "", "xyz", "q" * (TABLE - NEW)], ["", ""], []])
def test_texts_are_those_that_generate_gives_and_empty_ones_stay_empty(served, model, letters, prompts):
    texts = [text.decode("utf-8", "replace") for text in served.serve(tf.constant(prompts, tf.string)).numpy()]
    assert texts == decoding.generate(model, prompts, NEW, tokenizer=letters)
    assert all(
        text.startswith(prompt) and bool(text) == bool(prompt) for text, prompt in zip(texts, prompts, strict=True)
    )
    (same,) = served.signatures["serving_default"](texts=tf.constant(prompts, tf.string)).values()
    assert [text.decode("utf-8", "replace") for text in same.numpy()] == texts


def cache_lengths(model, max_length):
    _, _, specs = cache_endpoints(Decoder.of(model), max_length)
    return {tuple(spec.shape)[1] for spec in specs.values() if len(spec.shape) == 3}


def test_caches_are_as_long_as_the_shortest_table_and_as_asked_where_there_is_none(model):
    assert cache_lengths(GPT(256, TABLE, **SIZE, positions="sinusoidal"), 40) == {40}
    assert cache_lengths(GPT(256, TABLE, **SIZE, positions="rotary"), 40) == {40}
    assert cache_lengths(model, 12) == {12}
    ids = keras.Input((None,), dtype="int32")
    x = layers.LearnedPositionEncoding(9)(layers.TokenAndPositionEmbedding(256, TABLE, 8)(ids))
    x = layers.TransformerDecoder(16, 2)(x)
    assert cache_lengths(keras.Model(ids, keras.layers.Dense(256)(x)), 40) == {9}


def test_a_text_that_is_longer_than_its_table_is_refused():
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source_ids", "target_ids"))
    context = layers.TokenAndPositionEmbedding(20, 5, 8)(source)
    x = layers.TokenAndPositionEmbedding(20, 7, 8)(target)
    x = layers.TransformerDecoder(16, 2)(x, context=context)
    model = keras.Model({"source_ids": source, "target_ids": target}, keras.layers.Dense(20)(x))
    prefill, step, specs = cache_endpoints(Decoder.of(model, conditioning=("source_ids",)), 40)
    assert {tuple(spec.shape)[1] for spec in specs.values() if len(spec.shape) == 3} == {7, None}  # its own, the text's
    # Any length, as a SavedModel is traced; one of another kind, the caches, comes from the first call.
    any_length = tf.TensorSpec((None, None), tf.int32)
    prefill = tf.function(prefill, input_signature=[any_length, tf.TensorSpec((None, None), tf.bool), any_length])
    step = tf.function(step).get_concrete_function(any_length, **specs)
    start = (tf.ones((1, 1), tf.int32), tf.ones((1, 1), tf.bool))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must not be longer than the position table"):
        prefill(*start, tf.ones((1, 6), tf.int32))
    out = dict(prefill(*start, tf.ones((1, 5), tf.int32)))
    for _ in range(6):
        out.pop("logits")
        out = dict(step(token_ids=start[0], **out))
    out.pop("logits")
    with pytest.raises(tf.errors.InvalidArgumentError, match=NO_ROOM):
        step(token_ids=start[0], **out)


def test_a_count_of_positions_is_checked_where_no_cache_has_a_length():
    ids = keras.Input((None,), dtype="int32")
    embedding = layers.TokenAndPositionEmbedding(9, 4, 8)
    model = keras.Model(ids, keras.layers.Dense(9)(layers.LearnedPositionEncoding(3)(embedding(ids))))
    step = tf.function(lambda ids, caches, mask: decoding.step(model, ids, caches, mask), reduce_retracing=True)
    caches = decoding.init_caches(model, 2, 99)
    mask = np.array([[True, True, False, False], [False, True, True, True]])
    _, caches = step(np.ones((2, 4), "int32"), caches, mask)  # the real tokens count
    more = np.ones((2, 1), "int32")
    _, again = step(more, caches, np.array([[True], [False]]))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"must not grow longer than the position table.*\[4\] \[3\]"
    ):
        step(more, again, np.array([[False], [True]]))
