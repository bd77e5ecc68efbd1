"""What a block refuses by name in its call: a context without a place, norms that change shapes, what its attention cannot do."""

import keras
import pytest
from keras import ops

from keras_tx.layers import MultiHeadCrossAttention, TransformerDecoder, TransformerEncoder

from .eager_and_symbolic import WAYS

HEADS, WIDTH = 2, 8
SHAPE = (2, 5, WIDTH)


@WAYS
@pytest.mark.parametrize("block", [TransformerEncoder, TransformerDecoder], ids=lambda block: block.__name__)
def test_a_block_has_a_context_in_every_call_or_in_none(block, make):
    context, pairs = make((2, 4, 6)), make((5, 5), dtype="bool")
    layer = block(16, HEADS)
    layer(make(SHAPE))
    with pytest.raises(ValueError, match=r"`context` must be given in the first call.* context of shape \(2, 4, 6\)"):
        layer(make(SHAPE), context=context)
    for name in ("context_mask", "context_attention_mask"):
        with pytest.raises(ValueError, match=rf"`{name}` must be None where .* Received: {name} of shape \(5, 5\)"):
            layer(make(SHAPE), **{name: pairs})
    slot = "attention" if block is TransformerEncoder else "cross_attention"
    layer = block(16, **{"num_heads": HEADS, slot: MultiHeadCrossAttention(HEADS)})
    layer(make(SHAPE), context=context)
    with pytest.raises(ValueError, match="`context` must be given to a block that was built with one"):
        layer(make(SHAPE))
    if block is TransformerEncoder:
        with pytest.raises(ValueError, match=r"`attention_mask` must be None beside a context.* of shape \(5, 5\)"):
            layer(make(SHAPE), context=context, attention_mask=pairs)


@WAYS
def test_a_context_needs_a_place(make):
    context = make((2, 4, 6))
    with pytest.raises(
        ValueError, match=r"`attention` must hold a layer that takes a context.* MultiHeadSelfAttention"
    ):
        TransformerEncoder(16, HEADS)(make(SHAPE), context=context)
    with pytest.raises(ValueError, match=r"`parallel` must be False in a block with a context.* \(2, 4, 6\)"):
        TransformerDecoder(16, HEADS, normalize_first=True, parallel=True)(make(SHAPE), context)
    with pytest.raises(ValueError, match="`context` must be given in the first call, which builds the layer"):
        TransformerEncoder(16, attention=MultiHeadCrossAttention(HEADS))(make(SHAPE))


@pytest.mark.parametrize("block", [TransformerEncoder, TransformerDecoder], ids=lambda block: block.__name__)
def test_a_norm_that_changes_the_shape_is_refused(block):
    for flags in ({}, {"normalize_first": True}, {"normalize_branch": True}):
        layer = block(16, HEADS, norm=keras.layers.GlobalAveragePooling1D(), **flags)
        with pytest.raises(
            ValueError, match=r"`norm` must map inputs .* outputs of shape \(2, 8\) for inputs of shape"
        ):
            layer(ops.zeros(SHAPE))


@WAYS
@pytest.mark.parametrize("block", [TransformerEncoder, TransformerDecoder], ids=lambda block: block.__name__)
def test_a_block_asks_its_attention_for_nothing_that_it_cannot_do(block, make):
    given = {
        "attention_mask": make((5, 5), dtype="bool"),
        "attention_bias": make((5, 5)),
        "position_embedding": make((5, 16)),
        "return_attention_scores": True,
    }
    for argument in ({name: value} for name, value in given.items()):
        layer = block(16, attention=keras.layers.Dense(WIDTH))
        (name,) = argument
        with pytest.raises(ValueError, match=f"`{name}` must be among the arguments .* Received: {name} for Dense"):
            layer(make(SHAPE), **argument)
