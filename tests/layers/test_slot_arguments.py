"""What a layer in a slot would leave unused is refused, and what its block uses beside it is taken."""

import keras
import pytest

from keras_tx import layers

from .execution import tensor
from .keras_attention import D, X, multi_head


def dense():
    return keras.layers.Dense(D)


IGNORED = {
    "heads of a layer without": ({"num_heads": 2, "attention": dense}, "num_heads=2, and attention of class Dense"),
    "heads of others": ({"num_heads": 3, "attention": multi_head}, "num_heads=3, and attention with num_heads=2"),
    "width": (
        {"intermediate_dim": 16, "feed_forward": dense},
        "intermediate_dim=16, and feed_forward of class Dense",
    ),
    "activation": (
        {"activation": "gelu", "feed_forward": lambda: layers.FeedForward(16)},
        "activation='gelu', and feed_forward of class FeedForward with activation=<function relu",
    ),
    "kernels": (
        {"attention": multi_head, "feed_forward": dense, "kernel_initializer": "zeros"},
        "`kernel_initializer`",
    ),
    "biases": ({"attention": multi_head, "feed_forward": dense, "bias_initializer": "ones"}, "`bias_initializer`"),
}


@pytest.mark.once
@pytest.mark.parametrize("case", IGNORED)
def test_what_a_layer_in_a_slot_would_leave_unused_is_refused(case):
    given, said = IGNORED[case]
    given = {name: value() if callable(value) else value for name, value in given.items()}
    rest = {"num_heads": 2} if "attention" not in given else {}
    rest |= {"intermediate_dim": 16} if "feed_forward" not in given else {}
    with pytest.raises(ValueError, match=said):
        layers.TransformerEncoder(**rest, **given)


@pytest.mark.once
def test_what_a_block_uses_beside_a_slot_is_taken():
    block = layers.TransformerDecoder(
        16, 4, attention=keras.layers.GRU(D, return_sequences=True), kernel_initializer="zeros"
    )
    block(tensor(X), tensor(X))
    assert block.cross_attention.num_heads == 4
    with pytest.raises(ValueError, match="num_heads=2, and attention of class GRU, which has none"):
        layers.TransformerDecoder(16, 2, attention=keras.layers.GRU(D), cross_attention=multi_head())
    for attention in (keras.layers.GroupQueryAttention(4, 4, 2), layers.MultiHeadSelfAttention(4)):
        assert layers.TransformerEncoder(16, 4, attention=attention).num_heads == 4
    network = layers.FeedForward(16, "gelu")
    assert layers.TransformerEncoder(16, 2, activation="gelu", feed_forward=network).feed_forward is network
