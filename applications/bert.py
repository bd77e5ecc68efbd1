"""BERT: an encoder-only Transformer, pretrained to restore masked tokens, and the models that stand on it.

Token, position and segment embeddings are summed and normalized, and pass through post-norm encoder blocks
(self-attention in both directions, then a feed-forward network with the exact GELU). The pooler maps the vector of the
first token, [CLS], through a tanh layer. Padding is told from the ids, and no block attends to it.

The heads are functional models around the encoder, which they hold as a model of its own and share: train one of them,
and the encoder is trained.
"""

import keras
from keras import ops

from .. import arguments
from ..layers import (
    Dropout,
    SegmentEmbedding,
    TokenAndPositionEmbedding,
    TransformerEncoder,
)
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure

# Base and large: Devlin et al. 2019, section 3; tiny to medium: Turc et al. 2019, "Well-Read Students Learn Better".
_UNCASED = {"vocabulary_size": 30522, "sequence_length": 512}
BERT_SIZES = {
    "tiny": {**_UNCASED, "num_layers": 2, "num_heads": 2, "hidden_dim": 128, "intermediate_dim": 512},
    "mini": {**_UNCASED, "num_layers": 4, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024},
    "small": {**_UNCASED, "num_layers": 4, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048},
    "medium": {**_UNCASED, "num_layers": 8, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048},
    "base": {**_UNCASED, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "large": {**_UNCASED, "num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096},
}
BERT_SIZES["base_cased"] = {**BERT_SIZES["base"], "vocabulary_size": 28996}
BERT_SIZES["large_cased"] = {**BERT_SIZES["large"], "vocabulary_size": 28996}


def BERT(
    vocabulary_size,
    sequence_length,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    num_segments=2,
    dropout=0.1,
    activation="gelu",
    layer_norm_epsilon=1e-12,
    padding_id=0,
    pooler=True,
    recompute=False,
    attention_dropout=None,
    name="bert",
) -> keras.Model:
    """Builds the encoder of BERT.

    Args:
        vocabulary_size: int, V.
        sequence_length: int, the longest sequence, the length of the table of positions.
        num_layers: int, how many encoder blocks.
        num_heads: int.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        num_segments: int, how many segments a sequence may have.
        dropout: float in [0, 1), on the embeddings and the branches, and on the attention weights unless `attention_dropout` is
            given, in training.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        padding_id: int, the token that is padding.
        pooler: bool, whether there is a pooled output.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `token_ids` (B, T) and `segment_ids` (B, T) to a dict of
        `sequence_output` (B, T, D) and, with a pooler, `pooled_output` (B, D). What stands at padded positions of
        `sequence_output` means nothing. The pooler reads the first token, so that T must be at least 1.

    Raises:
        ValueError: for a `padding_id` outside the vocabulary, and from the layers.

    Example:

    ```python
    encoder = keras_tx.applications.BERT(100, 16, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
    ids = np.array([[2, 20, 30, 3, 0]])  # [CLS] two tokens [SEP] [PAD]
    outputs = encoder({"token_ids": ids, "segment_ids": np.zeros_like(ids)})
    outputs["sequence_output"], outputs["pooled_output"]  # (1, 5, 8), (1, 8)
    ```

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        section 3.
    """
    arguments.positive_int("vocabulary_size", vocabulary_size)
    arguments.positive_int("num_layers", num_layers)
    arguments.flag("pooler", pooler)
    padding_id = arguments.token_id("padding_id", padding_id, vocabulary_size)
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    segments = keras.Input((None,), dtype="int32", name="segment_ids")
    mask = ops.not_equal(ids, padding_id)  # (B, T)
    x = embed(
        ids, segments, vocabulary_size, sequence_length, num_segments, hidden_dim, layer_norm_epsilon, initializer
    )
    x = Dropout(dropout, name="embedding_dropout")(x)
    for index in range(num_layers):
        block = TransformerEncoder(
            intermediate_dim,
            num_heads,
            dropout,
            activation=activation,
            layer_norm_epsilon=layer_norm_epsilon,
            kernel_initializer=initializer,
            recompute=recompute,
            attention_dropout=attention_dropout,
            name=f"encoder_{index}",
        )
        x = block(x, mask=mask)  # (B, T, D)
    outputs = pool(x, keras.initializers.TruncatedNormal(stddev=0.02) if pooler else None)
    return with_layer_structure(keras.Model({"token_ids": ids, "segment_ids": segments}, outputs, name=name))


def embed(ids, segments, vocabulary_size, sequence_length, num_segments, hidden_dim, layer_norm_epsilon, initializer):
    """Returns the normalized sum of token, position and segment embeddings (B, T, D)."""
    embedding = TokenAndPositionEmbedding(
        vocabulary_size, sequence_length, hidden_dim, embeddings_initializer=initializer, name="embedding"
    )
    segment_embedding = SegmentEmbedding(num_segments, hidden_dim, initializer, name="segment_embedding")
    x = keras.layers.Add(name="embeddings")([embedding(ids), segment_embedding(segments)])
    return LayerNormalization(epsilon=layer_norm_epsilon, name="embedding_norm")(x)


def pool(x, initializer):
    """Returns the outputs of an encoder by name: its vectors (B, T, D), and pooled ones unless the initializer is `None`."""
    if initializer is None:
        return {"sequence_output": x}
    dense = Dense(x.shape[-1], activation="tanh", kernel_initializer=initializer, name="pooler")
    return {"sequence_output": x, "pooled_output": dense(x[:, 0])}  # (B, D)
