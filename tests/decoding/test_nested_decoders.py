"""Models whose decoder is a nested model are decoded, whatever masks it is called with."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.decoding import generate, init_caches, step

# Keras' own words on what it does with the mask of a nested model's outputs.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")

SOURCE = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 9, 2]])


def translator(mask_zero=True, nest_sequence=False):
    """A decoder as a model of its own, called on masked embeddings, or on ids, and on what a masked encoder gives."""
    source = keras.Input((None,), dtype="int32", name="source")
    ids = keras.Input((None,), dtype="int32", name="ids")
    memory = keras.Input((None, 8), name="memory")
    table = layers.TokenAndPositionEmbedding(20, 12, 8, mask_zero=mask_zero)
    context = layers.TransformerEncoder(16, 2, name="encoder")(table(source))
    inside = keras.Input((None, 8)) if nest_sequence else keras.Input((None,), dtype="int32")
    x = inside if nest_sequence else layers.TokenAndPositionEmbedding(20, 12, 8, mask_zero=mask_zero)(inside)
    x = layers.TransformerDecoder(16, 2, name="block")(x, memory)
    decoder = keras.Model([inside, memory], keras.layers.Dense(20)(x), name="decoder")
    return keras.Model([source, ids], decoder([table(ids) if nest_sequence else ids, context]))


@pytest.mark.parametrize("nest_sequence", [False, True])
def test_a_nested_decoder_of_masked_inputs_is_decoded(nest_sequence, shake):
    model = shake(translator(nest_sequence=nest_sequence))
    sources = [[3, 4, 5], [6, 7, 8, 9, 2]]
    rows = generate(model, [[1], [1]], 4, context={"source": sources})
    for source, row in zip(SOURCE, rows, strict=True):
        tokens = [1]
        for _ in range(4):
            ids = np.array([[*tokens, *[0] * (5 - len(tokens))]])  # one shape to compile, for causal blocks
            tokens.append(int(model.predict_on_batch([source[None], ids])[0, len(tokens) - 1].argmax()))
        assert row.tolist() == tokens


def test_a_mask_of_the_context_meets_inputs_of_the_ids():
    """The two parts of the walk know one of the two each."""
    hidden, ids = keras.Input((4,), dtype="bool", name="hidden"), keras.Input((4,), dtype="int32", name="ids")
    x = layers.TokenAndPositionEmbedding(20, 12, 8)(ids)
    inside = keras.Input((None, 8))
    inner = keras.Model(inside, layers.MaskedMeanPooling(name="pool")(inside), name="inner")
    x = layers.MultiHeadSelfAttention(2, causal=True)(x) + inner(x, mask=hidden)[:, None]
    model = keras.Model([hidden, ids], x)
    mask, tokens = np.array([[True, False, True, True]]), np.array([[1, 2, 3, 4]])
    outputs, _ = step(model, tokens, init_caches(model, 1, 4, {"hidden": mask}))
    np.testing.assert_allclose(*(ops.convert_to_numpy(y) for y in (outputs, model([mask, tokens]))), atol=1e-5)
