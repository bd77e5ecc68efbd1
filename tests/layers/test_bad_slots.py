"""Arguments of blocks that contradict what is given for a slot, or leave one empty: refused by name."""

import keras
import pytest

from keras_tx.layers import FeedForward, MultiHeadSelfAttention, TransformerDecoder, TransformerEncoder


@pytest.mark.parametrize("block", [TransformerEncoder, TransformerDecoder])
def test_a_size_and_a_slot_that_contradict_each_other_are_refused(block):
    with pytest.raises(
        ValueError, match=r"`num_heads` must be that of the layer given as `attention`.* num_heads=4, and"
    ):
        block(8, 4, attention=MultiHeadSelfAttention(2))
    with pytest.raises(
        ValueError, match=r"`intermediate_dim` must be that of .* intermediate_dim=8, and feed_forward with"
    ):
        block(8, 4, feed_forward=FeedForward(16))
    with pytest.raises(
        ValueError,
        match=r"`attention_dropout` must be the `dropout` of .* attention_dropout=0.2, and attention with .*0.1",
    ):
        block(8, attention=MultiHeadSelfAttention(4, dropout=0.1), attention_dropout=0.2)
    with pytest.raises(ValueError, match=r"attention_dropout=0.2, and attention with dropout=None"):
        block(8, attention=keras.layers.Dense(4), attention_dropout=0.2)


class Unnamed(keras.layers.Layer):
    def __init__(self, size):
        super().__init__()


@pytest.mark.once
@pytest.mark.parametrize("block", [TransformerEncoder, TransformerDecoder])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"parallel": True},
            "`normalize_first` must be True where `parallel` is.* normalize_first=False, parallel=True",
        ),
        (
            {"norm": keras.layers.RMSNormalization(name="rms"), "layer_norm_epsilon": 1e-6},
            "`layer_norm_epsilon` must be left at 1e-05 beside `norm`.* layer_norm_epsilon=1e-06 and norm=rms",
        ),
        (
            {"norm": keras.layers.RMSNormalization(name="rms", trainable=False)},
            "`norm` must be trainable.* norm=rms with trainable=False",
        ),
        ({"norm": Unnamed(3)}, "`norm` must hold a layer that can be copied.* Received: norm of class Unnamed"),
    ],
)
def test_norms_that_contradict_another_argument_are_refused(block, given, said):
    with pytest.raises(ValueError, match=said):
        block(8, 4, **given)


@pytest.mark.parametrize("block", [TransformerEncoder, TransformerDecoder])
def test_a_block_needs_a_size_or_a_layer_for_each_slot(block):
    with pytest.raises(
        ValueError, match=r"`num_heads` must be .* no layer is given as `attention`. Received: num_heads=None"
    ):
        block(8)
    with pytest.raises(
        ValueError,
        match=r"`intermediate_dim` must be .* no layer is given as `feed_forward`. Received: intermediate_dim=None",
    ):
        block(num_heads=4)
    block(attention=MultiHeadSelfAttention(2, causal=True), feed_forward=FeedForward(16))
