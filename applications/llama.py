"""Llama and its relatives: decoders of one kind that differ in their parts.

Token ids are embedded without positions, pass through blocks of causal attention with rotary positions and a feed-forward
network, most often gated, are normalized once more, and are scored over the vocabulary.
"""

import functools

import keras

from .. import arguments
from ..layers import (
    FeedForward,
    MultiHeadSelfAttention,
    RMSNormalization,
    RotaryEmbedding,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
)
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure

_NORMS = {
    "rms": RMSNormalization,
    "zero_centered_rms": functools.partial(RMSNormalization, zero_centered=True),
    "layer": LayerNormalization,
}


def Llama(
    vocabulary_size,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    num_key_value_heads=None,
    key_dim=None,
    norm="rms",
    norm_epsilon=1e-6,
    normalize_first=True,
    normalize_branch=False,
    parallel=False,
    activation="silu",
    gated=True,
    max_wavelength=10_000.0,
    rotary_dim=None,
    rotary_scaling=None,
    rotary_layers=None,
    window=None,
    query_key_norm=None,
    attention_bias=False,
    output_bias=False,
    feed_forward_bias=False,
    logits_bias=False,
    tied=False,
    embedding_scale=None,
    logit_cap=None,
    dropout=0.0,
    attention_dropout=None,
    recompute=False,
    name="llama",
    packed=False,
) -> keras.Model:
    """Builds a decoder-only language model of the Llama family.

    Args:
        vocabulary_size: int, V.
        num_layers: int, how many blocks.
        num_heads: int, N.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        num_key_value_heads: int that divides N, how many heads keys and values have, or `None` for N.
        key_dim: int, the size of a head, or `None` for D / N.
        norm: "rms", "zero_centered_rms" (a scale of 0 is a gain of 1: Gemma) or "layer", the kind of every normalization.
        norm_epsilon: float.
        normalize_first: bool, whether a branch normalizes what it reads.
        normalize_branch: bool, whether a branch normalizes what it gives. With both, Gemma 2; with this alone, OLMo 2.
        parallel: bool, whether attention and feed-forward network read the same and are added together (GPT-J, Phi).
        activation: name or function, of the feed-forward networks.
        gated: bool, whether the activation gates a second linear map.
        max_wavelength: float, of the rotary positions, as are the next two: see `RotaryEmbedding`.
        rotary_dim: int, how much of a head is rotated, or `None` for all of it.
        rotary_scaling: dict, or `None`.
        rotary_layers: list of num_layers bools, which blocks have rotary positions, or `None` for all. The others know the order
            of tokens by causality alone.
        window: int, how many tokens back a block sees, the token itself included; `None` for all; or a list of num_layers of
            these.
        query_key_norm: "heads" normalizes queries and keys each head by itself (Qwen 3), "all" all heads of a token together
            (OLMo 2), `None` neither.
        attention_bias: bool, whether the projections to queries, keys and values have biases.
        output_bias: bool, whether the projection out of the heads has one.
        feed_forward_bias: bool.
        logits_bias: bool, for logits that are not tied.
        tied: bool, whether the table of embeddings scores the tokens too.
        embedding_scale: float by which embeddings are multiplied, or `None`.
        logit_cap: float c, for logits c tanh(x / c), or `None`.
        dropout: float in [0, 1), on the branches, and on the attention weights unless `attention_dropout` is given, in training.
        attention_dropout: float in [0, 1) or `None`.
        recompute: bool, whether training computes each block's inner values again instead of keeping them.
        name: str, the model's name.
        packed: bool, whether the model takes `segment_ids` too, for rows of several documents. The weights are the same ones.

    Returns:
        A functional `keras.Model` from int32 ids (B, T) to logits (B, T, V), for sequences of any length. It has no padding id:
        with padding to the right, causal attention keeps it from reaching real positions, and the loss must leave it out.
        A packed model takes a dict of `token_ids` and `segment_ids`, as that of `GPT` does.

    Raises:
        ValueError: for lists of another length, a bias of tied logits, and from the layers.

    Example:

    ```python
    model = keras_tx.applications.Llama(
        vocabulary_size=256, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=64, num_key_value_heads=2
    )
    tokens = keras_tx.decoding.generate(model, [[10, 20, 30]], max_new_tokens=5)  # (1, 8)
    ```

    Reference:
        Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", section 2.2.
    """
    num_layers = arguments.positive_int("num_layers", num_layers)
    arguments.flag("packed", packed)
    windows = _for_each_block("window", window, num_layers)
    turned = _for_each_block("rotary_layers", True if rotary_layers is None else rotary_layers, num_layers)
    if query_key_norm not in (None, "heads", "all"):
        raise ValueError(
            f"`query_key_norm` must be None, 'heads' or 'all'. Received: query_key_norm={query_key_norm!r}."
        )
    if tied and logits_bias:
        raise ValueError("`logits_bias` must be False where logits are tied. Received: logits_bias=True, tied=True.")
    if norm not in _NORMS:
        raise ValueError(f"`norm` must be one of {', '.join(map(repr, _NORMS))}. Received: norm={norm!r}.")
    make_norm = functools.partial(_NORMS[norm], epsilon=arguments.positive_float("norm_epsilon", norm_epsilon))
    initializer = keras.initializers.RandomNormal(stddev=0.02)

    def head_norm(part):
        axis = {None: None, "heads": -1, "all": [-2, -1]}[query_key_norm]
        return None if axis is None else make_norm(axis=axis, name=f"{part}_norm")

    ids = keras.Input((None,), dtype="int32", name="token_ids")
    segments = keras.Input((None,), dtype="int32", name="segment_ids", optional=True) if packed else None
    where = {"segment_ids": segments} if packed else {}
    embedding = TokenAndPositionEmbedding(
        vocabulary_size, None, hidden_dim, embeddings_initializer=initializer, name="embedding"
    )
    x = embedding(ids)
    if embedding_scale is not None:
        x = keras.layers.Rescaling(
            arguments.positive_float("embedding_scale", embedding_scale), name="embedding_scale"
        )(x)
    for index in range(num_layers):
        attention = MultiHeadSelfAttention(
            num_heads,
            key_dim=key_dim,
            num_key_value_heads=num_key_value_heads,
            causal=True,
            window=windows[index],
            dropout=arguments.rate("attention_dropout", attention_dropout, default=dropout),
            use_bias=attention_bias,
            use_output_bias=output_bias,
            rotary=RotaryEmbedding(max_wavelength, rotary_dim, scaling=rotary_scaling, name="rotary")
            if turned[index]
            else None,
            query_norm=head_norm("query"),
            key_norm=head_norm("key"),
            kernel_initializer=initializer,
            name="attention",
        )
        feed_forward = FeedForward(
            intermediate_dim,
            activation,
            gated=gated,
            use_bias=feed_forward_bias,
            kernel_initializer=initializer,
            name="feed_forward",
        )
        x = TransformerDecoder(
            attention=attention,
            feed_forward=feed_forward,
            dropout=dropout,
            norm=make_norm(),
            normalize_first=normalize_first,
            normalize_branch=normalize_branch,
            parallel=parallel,
            recompute=recompute,
            name=f"decoder_{index}",
        )(x, **where)  # (B, T, D)
    x = make_norm(name="final_norm")(x)
    if tied:
        logits = TiedLogits(embedding, name="logits")(x)  # (B, T, V)
    else:
        logits = keras.layers.Dense(
            vocabulary_size, use_bias=logits_bias, kernel_initializer=initializer, name="logits"
        )(x)
    if logit_cap is not None:
        cap = arguments.positive_float("logit_cap", logit_cap)
        logits = keras.layers.Rescaling(1 / cap, name="logits_over_cap")(logits)
        logits = keras.layers.Rescaling(cap, name="capped_logits")(keras.layers.Activation("tanh", name="tanh")(logits))
    inputs = {"token_ids": ids, "segment_ids": segments} if packed else ids
    return with_layer_structure(keras.Model(inputs, logits, name=name))


def _for_each_block(name, value, num_layers):
    """Returns a list of one value a block; raises `ValueError` for a list of another length."""
    if not isinstance(value, (list, tuple)):
        return [value] * num_layers
    if len(value) != num_layers:
        raise ValueError(f"`{name}` must have one value a block. Received: {len(value)} of num_layers={num_layers}.")
    return list(value)
