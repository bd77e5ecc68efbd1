"""What stands on BERT's encoder: the heads of pretraining, and a classifier."""

import keras
from keras import ops

from .. import arguments
from ..layers import Dropout, GatherPositions, SpanBoundary, TiedLogits
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure


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
    embedding = check_encoder(encoder, needs_pooler=arguments.flag("next_sentence", next_sentence))
    inputs = {**_encoder_inputs(), "mask_positions": keras.Input((None,), dtype="int32", name="mask_positions")}
    encoded = encoder({name: inputs[name] for name in ("token_ids", "segment_ids")})
    sequence = encoded["sequence_output"]
    hidden_dim = sequence.shape[-1]
    epsilon = encoder.get_layer("embedding_norm").epsilon

    x = GatherPositions(name="masked_positions")(sequence, inputs["mask_positions"])  # (B, M, D)
    x = dense(hidden_dim, "masked_lm_transform", activation)(x)
    x = LayerNormalization(epsilon=epsilon, name="masked_lm_norm")(x)
    outputs = {"masked_lm": TiedLogits(embedding, use_bias=True, name="masked_lm")(x)}
    if next_sentence:
        outputs["next_sentence"] = dense(2, "next_sentence")(encoded["pooled_output"])
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
    check_encoder(encoder, needs_pooler=True)
    arguments.flag("pairs", pairs)
    inputs = _encoder_inputs()
    segments = inputs["segment_ids"] if pairs else ops.zeros_like(inputs["token_ids"])
    x = encoder({"token_ids": inputs["token_ids"], "segment_ids": segments})["pooled_output"]
    x = Dropout(dropout, name="pooled_dropout")(x)
    logits = dense(num_classes, "logits")(x)
    return with_layer_structure(keras.Model(inputs if pairs else inputs["token_ids"], logits, name=name))


def _encoder_inputs():
    return {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids")}


def _initializer():
    return keras.initializers.TruncatedNormal(stddev=0.02)


def dense(units, name, activation=None):
    """Returns a dense layer with kernels drawn as BERT's."""
    return Dense(units, activation=activation, kernel_initializer=_initializer(), name=name)


def check_encoder(encoder, needs_pooler):
    """Returns the embedding of an encoder; raises `ValueError` if it is none."""
    names = [layer.name for layer in encoder.layers] if isinstance(encoder, keras.Model) else []
    outputs = getattr(encoder, "output", None)
    outputs = outputs if isinstance(outputs, dict) else {}
    if "embedding" not in names or "embedding_norm" not in names or "sequence_output" not in outputs:
        raise ValueError(f"`encoder` must be a model of `BERT`. Received: encoder={encoder!r}.")
    if needs_pooler and "pooled_output" not in outputs:
        raise ValueError(f"`encoder` must have a pooler for this head. Received: {encoder.name}, with pooler=False.")
    return encoder.get_layer("embedding")
