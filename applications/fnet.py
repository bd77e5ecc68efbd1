"""FNet: BERT whose attention is a Fourier transform along positions and channels.

Token, position and segment embeddings are summed, normalized and mapped by a linear layer. Post-norm encoder blocks follow, of
the transform and a feed-forward network with the GELU in its tanh form. The pooler maps the vector of the first token, [CLS],
through a tanh layer. The heads of BERT stand on it as on BERT: `bert_pretrainer(encoder, activation=gelu_tanh)` and
`bert_classifier`.
"""

import keras
from keras import ops

from .. import arguments
from ..layers import Dropout, FourierMixing, TransformerEncoder
from ..layers.dense import Dense
from ..ops.activations import gelu_tanh
from ..quantization import with_layer_structure
from .bert import embed, pool

# Lee-Thorp et al. 2022, appendix A.1, table 5.
_WORDS = {"vocabulary_size": 32000, "sequence_length": 512}
FNET_SIZES = {
    "base": {**_WORDS, "num_layers": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "large": {**_WORDS, "num_layers": 24, "hidden_dim": 1024, "intermediate_dim": 4096},
}


def FNet(
    vocabulary_size,
    sequence_length,
    num_layers,
    hidden_dim,
    intermediate_dim,
    num_segments=4,
    dropout=0.1,
    activation=gelu_tanh,
    layer_norm_epsilon=1e-12,
    padding_id=None,
    pooler=True,
    recompute=False,
    name="fnet",
) -> keras.Model:
    """Builds the encoder of FNet.

    Args:
        vocabulary_size: int, V.
        sequence_length: int, the longest sequence, the length of the table of positions.
        num_layers: int, how many encoder blocks.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        num_segments: int, how many segments a sequence may have.
        dropout: float in [0, 1), on the embeddings and the branches, in training; published models have none on the transforms.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        padding_id: int, the token that is padding, zero before each transform and after it; or `None`, as published: padding is
            mixed as other tokens are, and texts are to be padded to the length that the model was trained with.
        pooler: bool, whether there is a pooled output.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `token_ids` (B, T) and `segment_ids` (B, T) to a dict of
        `sequence_output` (B, T, D) and, with a pooler, `pooled_output` (B, D), of the first token, so that T
        must be at least 1.

    Raises:
        ValueError: for a `padding_id` outside the vocabulary, and from the layers.

    Example:

    ```python
    encoder = keras_tx.applications.FNet(100, 16, num_layers=2, hidden_dim=8, intermediate_dim=16)
    ids = np.array([[4, 20, 30, 5, 3]])  # [CLS] two tokens [SEP] <pad>
    outputs = encoder({"token_ids": ids, "segment_ids": np.zeros_like(ids)})
    outputs["sequence_output"], outputs["pooled_output"]  # (1, 5, 8), (1, 8)
    ```

    Reference:
        Lee-Thorp et al. 2022, "FNet: Mixing Tokens with Fourier Transforms", section 3.2.
    """
    arguments.positive_int("vocabulary_size", vocabulary_size)
    arguments.positive_int("num_layers", num_layers)
    arguments.flag("pooler", pooler)
    if padding_id is not None:
        padding_id = arguments.token_id("padding_id", padding_id, vocabulary_size)
    initializer = keras.initializers.RandomNormal(stddev=0.02)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    segments = keras.Input((None,), dtype="int32", name="segment_ids")
    mask = None if padding_id is None else ops.not_equal(ids, padding_id)  # (B, T)
    x = embed(
        ids, segments, vocabulary_size, sequence_length, num_segments, hidden_dim, layer_norm_epsilon, initializer
    )
    x = Dense(hidden_dim, kernel_initializer=initializer, name="embedding_projection")(x)
    x = Dropout(dropout, name="embedding_dropout")(x)
    for index in range(num_layers):
        x = TransformerEncoder(
            intermediate_dim,
            dropout=dropout,
            activation=activation,
            layer_norm_epsilon=layer_norm_epsilon,
            attention=FourierMixing(name="attention"),
            kernel_initializer=initializer,
            recompute=recompute,
            name=f"encoder_{index}",
        )(x, mask=mask)  # (B, T, D)
    outputs = pool(x, initializer if pooler else None)
    return with_layer_structure(keras.Model({"token_ids": ids, "segment_ids": segments}, outputs, name=name))
