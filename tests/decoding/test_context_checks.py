"""What is given beside the ids is checked: values before they are cast, and lengths before they are rounded up."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.applications import Translator
from keras_tx.decoding import generate


def masked_model(source_length=None):
    """A source and the mask of it as two inputs: padding is what the mask says."""
    source, ids = keras.Input((None,), dtype="int32", name="source"), keras.Input((None,), dtype="int32", name="ids")
    keep = keras.Input((None,), dtype="bool", name="keep")
    x = layers.TokenAndPositionEmbedding(11, source_length, 8)(source)
    context = layers.TransformerEncoder(8, 2)(x, mask=keep)
    embedding = layers.TokenAndPositionEmbedding(11, 16, 8)
    x = layers.TransformerDecoder(8, 2)(embedding(ids), context, context_mask=keep)
    return keras.Model({"source": source, "keep": keep, "ids": ids}, layers.TiedLogits(embedding)(x))


@pytest.fixture(scope="module")
def model(shake):
    return shake(masked_model())


SOURCE = np.array([[3, 4, 5, 6]])
KEEP = np.array([[True, True, True, False]])


def given(keep=KEEP, source=SOURCE):
    return {"source": source, "keep": keep}


@pytest.mark.parametrize("dtype", ["int32", "int8", "float32", "float64"])
def test_a_mask_of_zeros_and_ones_is_one_of_truths(model, dtype):
    found = generate(model, [[1]], 3, context=given(KEEP.astype(dtype)))
    assert found.tolist() == generate(model, [[1]], 3, context=given()).tolist()


@pytest.mark.once
@pytest.mark.parametrize("value", [np.nan, 0.5, -1e9, 2.0, -1.0])
def test_a_mask_of_other_numbers_is_refused(model, value):
    keep = np.where(KEEP, 1.0, value)
    with pytest.raises(ValueError, match=f"`context` must hold True and False, .* for 'keep'. Received: {value} among"):
        generate(model, [[1]], 3, context=given(keep))


@pytest.mark.once
@pytest.mark.parametrize("number", [2**32 + 3, 2**31, 2**62, -(2**40)])
@pytest.mark.parametrize("as_list", [True, False])
def test_ids_are_checked_before_they_are_cast(model, number, as_list):
    source = np.array([[3, 4, 5, number]])
    if as_list:
        source = source.tolist()
    with pytest.raises(ValueError, match=rf"`context` must hold token ids in \[0, vocabulary_size\).*{number}"):
        generate(model, [[1]], 3, context=given(source=source))


@pytest.mark.once
def test_integers_that_are_no_ids_must_fit_their_dtype():
    number, ids = keras.Input((), dtype="int32", name="number"), keras.Input((None,), dtype="int32", name="ids")
    x = layers.TokenAndPositionEmbedding(11, 8, 8)(ids) + keras.ops.cast(number, "float32")[:, None, None]
    model = keras.Model([number, ids], keras.layers.Dense(11)(layers.TransformerDecoder(8, 2)(x)))
    with pytest.raises(ValueError, match="`context` must hold integers of int32 for 'number'. Received: .* 4294967301"):
        generate(model, [[1]], 2, context={"number": np.array([2**32 + 5])})


@pytest.mark.once
@pytest.mark.parametrize("length", [2, 3, 6])
def test_a_mask_of_another_length_is_refused_as_the_model_does(model, length):
    said = f"`context` must hold inputs of one length where .*'source': 4, 'keep': {length}.*`mask` must have shape"
    with pytest.raises(ValueError, match=said):
        generate(model, [[1]], 2, context=given(np.ones((1, length), bool)))


@pytest.mark.parametrize("real", [True, False])
def test_a_mask_of_one_entry_stands_for_all(model, real):
    found = generate(model, [[1]], 3, context=given(np.full((1, 1), real)))
    assert found.tolist() == generate(model, [[1]], 3, context=given(np.full((1, 4), real))).tolist()


def test_a_mask_is_rounded_up_to_the_length_of_its_source(shake):
    model = shake(masked_model(source_length=40))
    context = {"source": np.full((1, 35), 3), "keep": np.ones((1, 35), bool)}
    assert generate(model, [[1]], 2, context=context).shape == (1, 3)


def test_inputs_that_do_not_belong_together_may_differ_in_length(shake):
    first, second = (keras.Input((None,), dtype="int32", name=name) for name in ("first", "second"))
    ids = keras.Input((None,), dtype="int32", name="ids")
    embedding = layers.TokenAndPositionEmbedding(11, 16, 8)
    x = embedding(ids)
    for source in (first, second):
        mask = keras.ops.not_equal(source, 0)
        x = x + layers.MultiHeadCrossAttention(2)(x, embedding(source), context_mask=mask)
    x = layers.TransformerDecoder(8, 2)(x)
    model = shake(keras.Model([first, second, ids], layers.TiedLogits(embedding)(x)))
    for lengths in ((1, 5), (3, 5)):
        sources = [[3] * length for length in lengths]
        context = {"first": sources[:1], "second": sources[1:]}
        assert generate(model, [[1]], 2, context=context).shape == (1, 3)


@pytest.mark.once
@pytest.mark.parametrize("context", [np.array([[3, 4]]), [[3, 4]], {0: [[3, 4]]}, "source_ids"])
def test_a_context_that_is_no_dict_of_names_is_refused(context):
    model = Translator(11, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    with pytest.raises(ValueError, match="`context` must be a dict from the names of inputs to arrays. Received: "):
        generate(model, [[1]], 2, context=context)


@pytest.mark.once
@pytest.mark.parametrize("prompts", [None, 5])
def test_prompts_that_are_no_rows_are_refused(prompts):
    model = Translator(11, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    with pytest.raises(ValueError, match="`prompts` must be a list of prompts.*Received: "):
        generate(model, prompts, 2, context={"source_ids": [[3, 4]]})


@pytest.mark.once
def test_the_ids_that_are_decoded_are_not_given():
    model = Translator(11, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    with pytest.raises(ValueError, match="`inputs` of layer 'decoder/decoder_0' .*, where 'source_ids' is decoded"):
        generate(model, [[1]], 2, context={"target_ids": [[3, 4]]})
