"""T5: an encoder-decoder whose positions are biases by distance, one table for all blocks of a half.

Token ids are embedded, not scaled, and pass through blocks that normalize what a branch reads by its root mean square alone. No
map has a bias, and scores are not divided by the root of a head's size, which the initializer of queries makes up for. T5 1.1 and
Flan-T5 gate the feed-forward networks, and score the tokens by a map of their own.
"""

import keras

from .. import arguments
from ..layers import (
    Dropout,
    FeedForward,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    RelativePositionBias,
    RMSNormalization,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
)
from ..ops.activations import gelu_tanh
from .encoder_decoder import decoder_inputs, encoder_decoder, encoder_inputs


def _sizes(num_layers, num_heads, hidden_dim, intermediate_dim, key_dim=64, **others):
    sizes = {"num_layers": num_layers, "num_heads": num_heads, "hidden_dim": hidden_dim}
    return {"vocabulary_size": 32128, **sizes, "intermediate_dim": intermediate_dim, "key_dim": key_dim, **others}


_GATED = {"activation": gelu_tanh, "gated": True, "tied": False}
# Raffel et al. 2020, section 3.7, and the README of T5 1.1, whose sizes are Flan-T5's too.
T5_SIZES = {
    "small": _sizes(6, 8, 512, 2048),
    "base": _sizes(12, 12, 768, 3072),
    "large": _sizes(24, 16, 1024, 4096),
    "3b": _sizes(24, 32, 1024, 16384, 128),
    "11b": _sizes(24, 128, 1024, 65536, 128),
    "v1.1_small": _sizes(8, 6, 512, 1024, **_GATED),
    "v1.1_base": _sizes(12, 12, 768, 2048, **_GATED),
    "v1.1_large": _sizes(24, 16, 1024, 2816, **_GATED),
    "v1.1_xl": _sizes(24, 32, 2048, 5120, **_GATED),
    "v1.1_xxl": _sizes(24, 64, 4096, 10240, **_GATED),
}


def T5(
    vocabulary_size,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    key_dim=None,
    num_decoder_layers=None,
    activation="relu",
    gated=False,
    tied=True,
    scale_logits=None,
    num_buckets=32,
    max_distance=128,
    norm_epsilon=1e-6,
    dropout=0.1,
    padding_id=0,
    recompute=False,
    name="t5",
) -> keras.Model:
    """Builds a T5, an encoder-decoder that is trained by teacher forcing.

    Where layers compute in float16 (`float16`, `mixed_float16`), the sums of the branches, the norms and the second map of each
    feed-forward network stay in float32: in trained T5s they pass the largest number of float16, 65,504.

    Args:
        vocabulary_size: int, V, of source and target, which share a table.
        num_layers: int, how many encoder blocks, and decoder blocks where `num_decoder_layers` is not given.
        num_heads: int, N.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        key_dim: int, the size of a head, or `None` for D / N.
        num_decoder_layers: int, or `None` for `num_layers`.
        activation: name or function, of the feed-forward networks.
        gated: bool, whether the activation gates a second linear map (T5 1.1: with the approximation of gelu).
        tied: bool, whether the table of embeddings scores the tokens too (T5 1.1: not).
        scale_logits: bool, whether logits are multiplied by D^-0.5; `None` for `tied`.
        num_buckets: int, of the biases by distance: see `RelativePositionBias`.
        max_distance: int, likewise.
        norm_epsilon: float.
        dropout: float in [0, 1), on the embeddings, the branches, the attention weights, inside the feed-forward networks and
            after the last norm, in training.
        padding_id: int, the token of the source that is padding.
        recompute: bool, whether training computes each block's inner values again instead of keeping them.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `source_ids` (B, S) and `target_ids` (B, T), the target shifted right
        (`shift_right` with `start_id=0`), to logits (B, T, V), for sequences of any length. Its layers "encoder" and "decoder"
        are models as those of `Translator` are.

    Raises:
        ValueError: for sizes that are no positive integers, a `padding_id` outside the vocabulary, and from the layers.

    Example:

    ```python
    model = keras_tx.applications.T5(100, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32)
    source = np.array([[5, 6, 7, 1, 0]])  # 0 is padding
    logits = model({"source_ids": source, "target_ids": np.array([[0, 8, 9]])})  # (1, 3, 100)
    tokens = keras_tx.decoding.generate(model, [[0]], max_new_tokens=5, context={"source_ids": [[5, 6, 7, 1]]})  # (1, 6)
    ```

    Reference:
        Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.1;
        Shazeer 2020, "GLU Variants Improve Transformer", for the gates.
    """
    vocabulary_size = arguments.positive_int("vocabulary_size", vocabulary_size)
    num_layers = arguments.positive_int("num_layers", num_layers)
    num_decoder_layers = arguments.positive_int("num_decoder_layers", num_decoder_layers, optional=True) or num_layers
    num_heads = arguments.positive_int("num_heads", num_heads)
    hidden_dim = arguments.positive_int("hidden_dim", hidden_dim)
    key_dim = arguments.positive_int("key_dim", key_dim, optional=True)
    padding_id = arguments.token_id("padding_id", padding_id, vocabulary_size)
    tied = arguments.flag("tied", tied)
    scale_logits = arguments.flag("scale_logits", tied if scale_logits is None else scale_logits)
    policy = keras.config.dtype_policy()
    # Of what carries sums of branches.
    wide = {"dtype": "float32" if policy.compute_dtype == "float16" else policy}
    attention = {
        "key_dim": key_dim,
        "dropout": dropout,
        "use_bias": False,
        "scale": 1.0,
        "kernel_initializer": _fan_in(1.0),
        "query_initializer": _fan_in(1.0 / (key_dim or hidden_dim / num_heads)),
    }
    block = {"dropout": dropout, "norm": RMSNormalization(epsilon=norm_epsilon), "normalize_first": True}
    block |= {"recompute": recompute, **wide}

    def network():
        shape = {"gated": gated, "use_bias": False, "kernel_initializer": _fan_in(1.0)}
        layer = FeedForward(intermediate_dim, activation, dropout=dropout, name="feed_forward", **shape, **wide)
        if wide["dtype"] != policy:
            own = {"dtype": keras.dtype_policies.serialize(policy)}
            layer.tell({"intermediate": own, "gate": own})
        return layer

    def begin(half, inputs):
        """What each half does before its first block: the vectors, and the bias that its blocks share."""
        x = Dropout(dropout, name="embedding_dropout", **wide)(inputs["embedded"])
        initializer = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
        shape = (num_heads, num_buckets, max_distance, half == "encoder", initializer)
        return x, RelativePositionBias(*shape, name=f"{half}_position_bias")(x)

    def end(half, x):
        x = RMSNormalization(epsilon=norm_epsilon, name=f"{half}_final_norm", **wide)(x)
        return Dropout(dropout, name="final_dropout", **wide)(x)

    inputs = encoder_inputs(hidden_dim)
    x, bias = begin("encoder", inputs)  # (B, S, D), (2 max_distance + 1, N)
    for index in range(num_layers):
        own = MultiHeadSelfAttention(num_heads, **attention, name="attention")
        encode = TransformerEncoder(attention=own, feed_forward=network(), **block, name=f"encoder_{index}")
        x = encode(x, mask=inputs["mask"], distance_bias=bias)
    encoder = keras.Model(inputs, end("encoder", x), name="encoder")

    inputs = decoder_inputs(hidden_dim)
    x, bias = begin("decoder", inputs)  # (B, T, D)
    for index in range(num_decoder_layers):
        decode = TransformerDecoder(
            attention=MultiHeadSelfAttention(num_heads, **attention, causal=True, name="attention"),
            cross_attention=MultiHeadCrossAttention(num_heads, **attention, name="cross_attention"),
            feed_forward=network(),
            **block,
            name=f"decoder_{index}",
        )
        x = decode(x, inputs["context"], context_mask=inputs["context_mask"], distance_bias=bias)
    decoder = keras.Model(inputs, end("decoder", x), name="decoder")

    normal = keras.initializers.RandomNormal(stddev=1.0)
    table = TokenAndPositionEmbedding(
        vocabulary_size, None, hidden_dim, embeddings_initializer=normal, name="embedding"
    )

    def score(x):
        if scale_logits:
            x = keras.layers.Rescaling(hidden_dim**-0.5, name="logits_scale")(x)
        if tied:
            return TiedLogits(table, name="logits")(x)
        return keras.layers.Dense(vocabulary_size, use_bias=False, kernel_initializer=normal, name="logits")(x)

    return encoder_decoder(encoder, decoder, table, table, padding_id, score, name)


def _fan_in(variance):
    """Draws a matrix whose products with vectors of unit variance have this variance."""
    return keras.initializers.VarianceScaling(variance, "fan_in", "untruncated_normal")
