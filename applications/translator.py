"""The Transformer: an encoder reads the source, and a decoder writes the target, token after token.

Token ids are embedded, scaled by the root of the width, and given positions. The source passes through encoder blocks
(self-attention in both directions, then a feed-forward network); the target, shifted right by a start token, passes
through decoder blocks (causal self-attention, attention to the encoded source, feed-forward network), and is scored
against the table of its own embedding. Padding of the source is told from its ids, and nothing attends to it.

Encoder and decoder are models of their own inside the one that is trained: `get_layer("encoder")` and
`get_layer("decoder")`.
"""

import math

import keras
from keras import ops

from .. import arguments
from ..layers import (
    CopyLogits,
    Dropout,
    FeedForward,
    LearnedPositionEncoding,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    SinusoidalPositionEncoding,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
)
from ..layers.normalization import LayerNormalization
from .encoder_decoder import decoder_inputs, encoder_decoder, encoder_inputs

# Vaswani et al. 2017, table 3, with the shared vocabulary of about 37,000 tokens of section 5.1.
TRANSLATOR_SIZES = {
    "base": {
        "source_vocabulary_size": 37000,
        "num_layers": 6,
        "num_heads": 8,
        "hidden_dim": 512,
        "intermediate_dim": 2048,
        "dropout": 0.1,
    },
    "big": {
        "source_vocabulary_size": 37000,
        "num_layers": 6,
        "num_heads": 16,
        "hidden_dim": 1024,
        "intermediate_dim": 4096,
        "dropout": 0.3,
    },
}


def Translator(
    source_vocabulary_size,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    target_vocabulary_size=None,
    num_decoder_layers=None,
    sequence_length=None,
    dropout=0.1,
    attention_dropout=None,
    activation_dropout=0.0,
    positions="sinusoidal",
    position_offset=0,
    normalize_first=False,
    activation="relu",
    scale_embeddings=True,
    embedding_norm=False,
    logits_bias=False,
    layer_norm_epsilon=1e-5,
    padding_id=0,
    recompute=False,
    copies=False,
    name="translator",
) -> keras.Model:
    """Builds an encoder-decoder Transformer that is trained by teacher forcing.

    Args:
        source_vocabulary_size: int.
        num_layers: int, how many encoder blocks, and decoder blocks where `num_decoder_layers` is not given.
        num_heads: int.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        target_vocabulary_size: int, V. `None` for one vocabulary, and one table, that source and target share.
        num_decoder_layers: int, or `None` for `num_layers`.
        sequence_length: int, the longest source and the longest target, for learned positions; sinusoidal ones have no
            table and take sequences of any length.
        dropout: float in [0, 1), on the embeddings and the branches, in training.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        activation_dropout: float in [0, 1), inside the feed-forward networks.
        positions: "sinusoidal", "sinusoidal_halves" (all sines, then all cosines, as in Marian's models) or "learned".
        position_offset: int, how many rows of the table of learned positions stand unused before the first (BART: 2).
        normalize_first: bool, whether a branch normalizes its inputs (pre-norm, with one more norm after the last
            block) or the sum (post-norm, as published).
        activation: name or function, of the feed-forward networks.
        scale_embeddings: bool, whether the tokens' vectors are multiplied by the root of D, as published.
        embedding_norm: bool, whether the embeddings are normalized before the first block.
        logits_bias: bool, whether each token of the target has a bias in its logit.
        layer_norm_epsilon: float.
        padding_id: int, the token of the source that is padding.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        copies: bool, whether a pointer to the encoded source may copy its tokens (`CopyLogits`, the layer "copy_logits"), such as
            numbers and names that were never seen at such a place. Source and target must share their vocabulary.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `source_ids` (B, S) and `target_ids` (B, T), the target shifted
        right (see `shift_right`), to logits (B, T, V) for the token that follows each. The target has no padding id: with
        padding to the right, causal attention keeps it from reaching real positions, and the loss leaves it out
        (`keras_tx.losses.TokenCrossentropy`).

        Its layer "encoder" is a model from a dict of `embedded` (B, S, D), tokens as the layer "embedding" (or
        "source_embedding") gives them, and boolean `mask` (B, S) to vectors (B, S, D). Its layer "decoder" is one from a
        dict of `embedded` (B, T, D), `context` (B, S, D) and boolean `context_mask` (B, S) to vectors (B, T, D).

    Raises:
        ValueError: for sizes that are no positive integers, another value of `positions`, learned ones without
            `sequence_length` or others with it, a `padding_id` outside the vocabulary, `copies` with two vocabularies, and
            from the layers.

    Example:

    ```python
    model = keras_tx.applications.Translator(100, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32)
    source = np.array([[5, 6, 7, 0]])  # 0 is padding
    logits = model({"source_ids": source, "target_ids": np.array([[1, 8, 9]])})  # (1, 3, 100)
    tokens = keras_tx.decoding.generate(model, [[1]], max_new_tokens=5, context={"source_ids": [[5, 6, 7]]})  # (1, 6)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.
    """
    if positions not in ("sinusoidal", "sinusoidal_halves", "learned"):
        raise ValueError(
            f"`positions` must be 'sinusoidal', 'sinusoidal_halves' or 'learned'. Received: positions={positions!r}."
        )
    if (positions == "learned") != (sequence_length is not None):
        raise ValueError(
            "`sequence_length` must be given for learned positions, which have a table, and for no others. Received: "
            f"sequence_length={sequence_length!r}, positions={positions!r}."
        )
    if arguments.flag("copies", copies) and target_vocabulary_size is not None:
        raise ValueError(
            "`target_vocabulary_size` must be None where `copies` is True: what is copied is a token of both. Received: "
            f"target_vocabulary_size={target_vocabulary_size!r}."
        )
    source_vocabulary_size = arguments.positive_int("source_vocabulary_size", source_vocabulary_size)
    target_vocabulary_size = arguments.positive_int("target_vocabulary_size", target_vocabulary_size, optional=True)
    num_layers = arguments.positive_int("num_layers", num_layers)
    num_decoder_layers = arguments.positive_int("num_decoder_layers", num_decoder_layers, optional=True) or num_layers
    hidden_dim = arguments.positive_int("hidden_dim", hidden_dim)
    padding_id = arguments.token_id("padding_id", padding_id, source_vocabulary_size)
    shared = target_vocabulary_size is None
    source_embedding = _table(source_vocabulary_size, hidden_dim, "embedding" if shared else "source_embedding")
    target_embedding = source_embedding
    if not shared:
        target_embedding = _table(target_vocabulary_size, hidden_dim, "target_embedding")
    attention = {"num_heads": num_heads}
    attention["dropout"] = arguments.rate(
        "attention_dropout", attention_dropout, default=arguments.rate("dropout", dropout)
    )
    block = {"dropout": dropout, "normalize_first": normalize_first, "layer_norm_epsilon": layer_norm_epsilon}
    block["recompute"] = recompute

    def attend(causal=False):
        return MultiHeadSelfAttention(**attention, causal=causal, name="attention")

    def network():
        return FeedForward(intermediate_dim, activation, dropout=activation_dropout, name="feed_forward")

    def begin(x):
        """What both halves do before their first block."""
        if scale_embeddings:
            x = keras.layers.Rescaling(math.sqrt(hidden_dim), name="scale")(x)
        if positions == "learned":
            normal = keras.initializers.RandomNormal(stddev=0.02)
            x = LearnedPositionEncoding(sequence_length, normal, position_offset, name="positions")(x)
        else:
            x = SinusoidalPositionEncoding(interleaved=positions == "sinusoidal", name="positions")(x)
        if embedding_norm:
            x = LayerNormalization(epsilon=layer_norm_epsilon, name="embedding_norm")(x)
        return Dropout(dropout, name="embedding_dropout")(x)

    def end(x):
        return LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x) if normalize_first else x

    inputs = encoder_inputs(hidden_dim)
    x = begin(inputs["embedded"])  # (B, S, D)
    for index in range(num_layers):
        encode = TransformerEncoder(**block, attention=attend(), feed_forward=network(), name=f"encoder_{index}")
        x = encode(x, mask=inputs["mask"])
    encoder = keras.Model(inputs, end(x), name="encoder")

    inputs = decoder_inputs(hidden_dim)
    x = begin(inputs["embedded"])  # (B, T, D)
    for index in range(num_decoder_layers):
        decode = TransformerDecoder(
            **block,
            attention=attend(causal=True),
            cross_attention=MultiHeadCrossAttention(**attention, name="cross_attention"),
            feed_forward=network(),
            name=f"decoder_{index}",
        )
        x = decode(x, inputs["context"], context_mask=inputs["context_mask"])
    decoder = keras.Model(inputs, end(x), name="decoder")

    score = TiedLogits(target_embedding, use_bias=logits_bias, name="logits")
    copy = CopyLogits(padding_id, name="copy_logits") if copies else None
    return encoder_decoder(encoder, decoder, source_embedding, target_embedding, padding_id, score, name, copy)


def _table(vocabulary_size, hidden_dim, name):
    # Of unit variance once scaled, and so are the logits.
    initializer = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
    return TokenAndPositionEmbedding(vocabulary_size, None, hidden_dim, embeddings_initializer=initializer, name=name)


def shift_right(labels, start_id):
    """Puts the start token before each row and drops the row's last: what the decoder reads to predict the labels.

    Args:
        labels: integer array or tensor (B, T).
        start_id: int.

    Returns:
        A tensor like the labels.

    Example:

    ```python
    ids = keras_tx.applications.shift_right(np.array([[8, 9, 2], [7, 2, 0]]), start_id=1)  # [[1, 8, 9], [1, 7, 2]]
    ```
    """
    labels = ops.convert_to_tensor(labels)
    return ops.concatenate([ops.full_like(labels[:, :1], start_id), labels[:, :-1]], axis=1)
