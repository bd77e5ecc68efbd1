"""A Transformer encoder that sorts texts into classes.

Token ids are embedded with learned positions, pass through pre-norm encoder blocks, and the mean over the real
positions is mapped to one logit a class. Id 0 is padding.
"""

import keras

from ..layers import Dropout, MaskedMeanPooling, TokenAndPositionEmbedding, TransformerEncoder
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure

TEXT_CLASSIFIER_SIZES = {
    "tiny": {"hidden_dim": 32, "num_layers": 1, "num_heads": 2, "intermediate_dim": 32},
    "small": {"hidden_dim": 64, "num_layers": 2, "num_heads": 4, "intermediate_dim": 128},
    "medium": {"hidden_dim": 256, "num_layers": 4, "num_heads": 4, "intermediate_dim": 1024},
}


def TextClassifier(
    vocabulary_size,
    sequence_length,
    num_classes=2,
    hidden_dim=64,
    num_layers=2,
    num_heads=4,
    intermediate_dim=128,
    dropout=0.1,
    recompute=False,
    name="text_classifier",
) -> keras.Model:
    """Builds a classifier of token ids.

    Args:
        vocabulary_size: int, V; id 0 is padding.
        sequence_length: int, the longest text in tokens.
        num_classes: int.
        hidden_dim: int, D.
        num_layers: int, how many encoder blocks.
        num_heads: int.
        intermediate_dim: int, the width of the feed-forward networks.
        dropout: float in [0, 1), on the embeddings, in the blocks and on the pooled vector.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from int32 ids (B, T), T <= sequence_length, to logits (B, num_classes). A text of
        padding alone gets the logits of a zero vector.

    Raises:
        ValueError: from the layers, for sizes that are no positive integers and heads that do not divide `hidden_dim`.

    Example:

    ```python
    sizes = keras_tx.applications.TEXT_CLASSIFIER_SIZES["tiny"]
    model = keras_tx.applications.TextClassifier(1000, sequence_length=32, **sizes)
    logits = model(np.array([[12, 7, 0, 0]]))  # (1, 2)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3, the encoder; the sizes "tiny" are those of the
        Keras example "Text classification with Transformer".
    """
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.ops.not_equal(ids, 0)
    x = TokenAndPositionEmbedding(vocabulary_size, sequence_length, hidden_dim, name="embedding")(ids)
    x = Dropout(dropout, name="embedding_dropout")(x)
    for index in range(num_layers):
        block = TransformerEncoder(
            intermediate_dim,
            num_heads,
            dropout,
            activation="gelu",
            normalize_first=True,
            recompute=recompute,
            name=f"encoder_{index}",
        )
        x = block(x, mask=mask)  # (B, T, D)
    x = LayerNormalization(epsilon=1e-5, name="final_norm")(x)
    x = MaskedMeanPooling(name="pooling")(x, mask=mask)  # (B, D)
    x = Dropout(dropout, name="pooled_dropout")(x)
    logits = Dense(num_classes, name="logits")(x)
    return with_layer_structure(keras.Model(ids, logits, name=name))
