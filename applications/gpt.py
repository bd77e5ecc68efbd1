"""GPT-2: a decoder-only Transformer that predicts the next token.

Token ids are embedded with learned positions, pass through pre-norm decoder blocks (causal self-attention, then a
feed-forward network with GELU in its tanh form), are normalized once more, and are scored against the embedding table
itself.
"""

import keras

from .. import arguments
from ..layers import (
    Dropout,
    MultiHeadSelfAttention,
    RotaryEmbedding,
    SinusoidalPositionEncoding,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
)
from ..layers.normalization import LayerNormalization
from ..ops.activations import gelu_tanh
from ..quantization import with_layer_structure

# Radford et al. 2019, table 2; the vocabulary and the sequence length are those of the released models.
_GPT2 = {"vocabulary_size": 50257, "sequence_length": 1024}
GPT_SIZES = {
    "small": {**_GPT2, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "medium": {**_GPT2, "num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096},
    "large": {**_GPT2, "num_layers": 36, "num_heads": 20, "hidden_dim": 1280, "intermediate_dim": 5120},
    "xl": {**_GPT2, "num_layers": 48, "num_heads": 25, "hidden_dim": 1600, "intermediate_dim": 6400},
}


def GPT(
    vocabulary_size,
    sequence_length,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    dropout=0.0,
    positions="learned",
    activation=gelu_tanh,
    layer_norm_epsilon=1e-5,
    recompute=False,
    attention_dropout=None,
    embedding_dropout=None,
    name="gpt",
    packed=False,
) -> keras.Model:
    """Builds a GPT-2 style language model.

    Args:
        vocabulary_size: int, V.
        sequence_length: int, the longest sequence, the length of the table of learned positions.
        num_layers: int, how many decoder blocks.
        num_heads: int.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        dropout: float in [0, 1), on the branches, and on the attention weights and the embeddings unless these have a rate of
            their own, in training.
        positions: "learned", "sinusoidal" (added to the embeddings) or "rotary" (inside the attention). The last two
            have no table and take sequences of any length.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        embedding_dropout: float in [0, 1), on the embeddings, or `None` for `dropout`.
        name: str, the model's name.
        packed: bool, whether the model takes `segment_ids` too, for rows of several documents. The weights are the same ones.

    Returns:
        A functional `keras.Model` from int32 ids (B, T) to logits (B, T, V). It has no padding id: with padding to the
        right, causal attention keeps it from reaching real positions, and the loss must leave it out. A packed model takes a dict
        of `token_ids` and `segment_ids`: int32 (B, T), 1, 2, ... for the tokens of each document of a row and 0 for padding, or
        `None` where a row is one document. No token sees another document, and positions begin at 0 in each. It is decoded,
        exported and written to folders without segments.

    Raises:
        ValueError: for another value of `positions`, and from the layers.

    Example:

    ```python
    model = keras_tx.applications.GPT(
        vocabulary_size=256, sequence_length=64, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=128
    )
    logits = model(np.array([[10, 20, 30]]))  # (1, 3, 256)
    tokens = keras_tx.decoding.generate(model, [[10, 20, 30]], max_new_tokens=5)  # (1, 8)
    ```

    Reference:
        Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
    """
    if positions not in ("learned", "sinusoidal", "rotary"):
        raise ValueError(f"`positions` must be 'learned', 'sinusoidal' or 'rotary'. Received: positions={positions!r}.")
    arguments.rate("dropout", dropout)
    arguments.flag("packed", packed)
    initializer = keras.initializers.RandomNormal(stddev=0.02)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    segments = keras.Input((None,), dtype="int32", name="segment_ids", optional=True) if packed else None
    where = {"segment_ids": segments} if packed else {}
    embedding = TokenAndPositionEmbedding(
        vocabulary_size,
        sequence_length if positions == "learned" else None,
        hidden_dim,
        embeddings_initializer=initializer,
        name="embedding",
    )
    x = embedding(ids, **(where if positions == "learned" else {}))
    if positions == "sinusoidal":
        x = SinusoidalPositionEncoding(name="positions")(x, **where)
    x = Dropout(arguments.rate("embedding_dropout", embedding_dropout, default=dropout), name="embedding_dropout")(x)
    for index in range(num_layers):
        attention = MultiHeadSelfAttention(
            num_heads,
            causal=True,
            dropout=arguments.rate("attention_dropout", attention_dropout, default=dropout),
            rotary=RotaryEmbedding(name="rotary") if positions == "rotary" else None,
            kernel_initializer=initializer,
            name="attention",
        )
        x = TransformerDecoder(
            intermediate_dim,
            num_heads,
            dropout,
            activation=activation,
            normalize_first=True,
            layer_norm_epsilon=layer_norm_epsilon,
            attention=attention,
            kernel_initializer=initializer,
            recompute=recompute,
            name=f"decoder_{index}",
        )(x, **where)  # (B, T, D)
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="final_norm")(x)
    logits = TiedLogits(embedding, name="logits")(x)  # (B, T, V)
    inputs = {"token_ids": ids, "segment_ids": segments} if packed else ids
    return with_layer_structure(keras.Model(inputs, logits, name=name))
