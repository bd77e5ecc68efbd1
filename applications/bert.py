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
    GatherPositions,
    SegmentEmbedding,
    SpanBoundary,
    TiedLogits,
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
        `sequence_output` means nothing.

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
    sizes = {"vocabulary_size": vocabulary_size, "num_layers": num_layers}
    for argument, value in sizes.items():
        arguments.positive_int(argument, value)
    arguments.flag("pooler", pooler)
    padding_id = arguments.token_id("padding_id", padding_id, vocabulary_size)
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    segments = keras.Input((None,), dtype="int32", name="segment_ids")
    mask = ops.not_equal(ids, padding_id)  # (B, T)
    embedding = TokenAndPositionEmbedding(
        vocabulary_size, sequence_length, hidden_dim, embeddings_initializer=initializer, name="embedding"
    )
    segment_embedding = SegmentEmbedding(num_segments, hidden_dim, initializer, name="segment_embedding")
    x = keras.layers.Add(name="embeddings")([embedding(ids), segment_embedding(segments)])
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="embedding_norm")(x)
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
    outputs = {"sequence_output": x}
    if pooler:
        first = x[:, 0]
        outputs["pooled_output"] = _dense(hidden_dim, "pooler", "tanh")(first)  # (B, D)
    return with_layer_structure(keras.Model({"token_ids": ids, "segment_ids": segments}, outputs, name=name))


def bert_pretrainer(
    encoder, next_sentence=True, span_boundary=False, max_span_length=20, activation="gelu", name="bert_pretrainer"
) -> keras.Model:
    """Puts the heads of pretraining on an encoder: masked tokens, and, if wished, next sentence and span boundaries.

    The vocabulary product is paid for the masked positions alone, and reads the table of the token embeddings, with a
    bias for each token.

    Args:
        encoder: model of `BERT`, shared and not copied.
        next_sentence: bool, whether to predict from the pooled output whether the second segment follows the first.
        span_boundary: bool, whether each masked token is also predicted from the two tokens around its span; the loss
            is then the sum of both.
        max_span_length: int, places in a span, where `span_boundary` is set: the `max_span_tokens` of `mask_spans`, or
            its `max_span_length` where that counts tokens, at least.
        activation: name or function, of the transforms before the logits.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `token_ids`, `segment_ids` (B, T) and `mask_positions` (B, M),
        with `span_boundary` also `span_left`, `span_right` and `span_offsets` (B, M), to a dict of logits: `masked_lm`
        (B, M, V), `next_sentence` (B, 2) with class 0 for "follows", and `span_boundary` (B, M, V). The inputs are what
        `keras_tx.pretraining` makes; `get_layer(encoder.name)` is the encoder.

    Raises:
        ValueError: if `encoder` is no model of `BERT`, or has no pooler where `next_sentence` is set.

    Example:

    ```python
    encoder = keras_tx.applications.BERT(100, 16, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    model = keras_tx.applications.bert_pretrainer(encoder)
    ids = np.array([[2, 20, 30, 3]])
    logits = model({"token_ids": ids, "segment_ids": 0 * ids, "mask_positions": np.array([[1]])})
    logits["masked_lm"], logits["next_sentence"]  # (1, 1, 100), (1, 2)
    ```

    Reference:
        Devlin et al. 2019, section 3.1 and appendix A.1; Joshi et al. 2020, "SpanBERT", section 3.2.
    """
    arguments.flag("span_boundary", span_boundary)
    embedding = _check_encoder(encoder, needs_pooler=arguments.flag("next_sentence", next_sentence))
    inputs = {**_encoder_inputs(), "mask_positions": keras.Input((None,), dtype="int32", name="mask_positions")}
    encoded = encoder({name: inputs[name] for name in ("token_ids", "segment_ids")})
    sequence = encoded["sequence_output"]
    hidden_dim = sequence.shape[-1]
    epsilon = encoder.get_layer("embedding_norm").epsilon

    x = GatherPositions(name="masked_positions")(sequence, inputs["mask_positions"])  # (B, M, D)
    x = _dense(hidden_dim, "masked_lm_transform", activation)(x)
    x = LayerNormalization(epsilon=epsilon, name="masked_lm_norm")(x)
    outputs = {"masked_lm": TiedLogits(embedding, use_bias=True, name="masked_lm")(x)}
    if next_sentence:
        outputs["next_sentence"] = _dense(2, "next_sentence")(encoded["pooled_output"])
    if span_boundary:
        spans = {
            name: keras.Input((None,), dtype="int32", name=name) for name in ("span_left", "span_right", "span_offsets")
        }
        x = SpanBoundary(max_span_length, activation, epsilon, _initializer(), name="boundaries")(
            sequence, *spans.values()
        )
        outputs["span_boundary"] = TiedLogits(embedding, use_bias=True, name="span_boundary")(x)
        inputs.update(spans)
    return with_layer_structure(keras.Model(inputs, outputs, name=name))


def bert_classifier(encoder, num_classes, dropout=0.1, pairs=False, name="bert_classifier") -> keras.Model:
    """Puts a classifier on the pooled output of an encoder.

    Args:
        encoder: model of `BERT`, shared and not copied.
        num_classes: int.
        dropout: float in [0, 1), on the pooled output, in training.
        pairs: bool, whether the model takes `segment_ids` too, as pairs of texts need; else all tokens are of segment
            0, and the model has one input, as text endpoints ask.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from int32 ids (B, T), or with `pairs` from a dict of `token_ids` and `segment_ids`,
        to logits (B, num_classes).

    Raises:
        ValueError: if `encoder` is no model of `BERT` with a pooler, and from the layers.

    Example:

    ```python
    encoder = keras_tx.applications.BERT(100, 16, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    model = keras_tx.applications.bert_classifier(encoder, num_classes=3)
    logits = model(np.array([[2, 20, 30, 3]]))  # (1, 3)
    ```

    Reference:
        Devlin et al. 2019, section 4.1.
    """
    _check_encoder(encoder, needs_pooler=True)
    arguments.flag("pairs", pairs)
    inputs = _encoder_inputs()
    segments = inputs["segment_ids"] if pairs else ops.zeros_like(inputs["token_ids"])
    x = encoder({"token_ids": inputs["token_ids"], "segment_ids": segments})["pooled_output"]
    x = Dropout(dropout, name="pooled_dropout")(x)
    logits = _dense(num_classes, "logits")(x)
    return with_layer_structure(keras.Model(inputs if pairs else inputs["token_ids"], logits, name=name))


def _encoder_inputs():
    return {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids")}


def _initializer():
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _dense(units, name, activation=None):
    return Dense(units, activation=activation, kernel_initializer=_initializer(), name=name)


def _check_encoder(encoder, needs_pooler):
    """Returns the embedding of an encoder; raises `ValueError` if it is none."""
    names = [layer.name for layer in encoder.layers] if isinstance(encoder, keras.Model) else []
    outputs = getattr(encoder, "output", None)
    outputs = outputs if isinstance(outputs, dict) else {}
    if "embedding" not in names or "embedding_norm" not in names or "sequence_output" not in outputs:
        raise ValueError(f"`encoder` must be a model of `BERT`. Received: encoder={encoder!r}.")
    if needs_pooler and "pooled_output" not in outputs:
        raise ValueError(f"`encoder` must have a pooler for this head. Received: {encoder.name}, with pooler=False.")
    return encoder.get_layer("embedding")
