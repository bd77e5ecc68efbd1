"""What stands on ViLBERT's streams: the heads of pretraining, and a classifier of answers."""

import keras

from .. import arguments
from ..layers import Dropout, GatherPositions, TiedLogits
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure
from .vilbert import INPUTS


def vilbert_pretrainer(
    encoder,
    num_region_classes=None,
    alignment=True,
    activation="gelu",
    dropout=0.1,
    initializer_stddev=0.02,
    name="vilbert_pretrainer",
) -> keras.Model:
    """Puts the heads of pretraining on ViLBERT: masked words, and, if wished, masked regions and alignment of text and image.

    Words and regions are scored at the masked positions alone. The vocabulary product reads the table of the token embeddings,
    with a bias for each token. Features of masked regions are set to zero by the caller, and their boxes stay.

    Args:
        encoder: model of `ViLBERT`, shared and not copied.
        num_region_classes: int, C, of the distribution that is predicted for masked regions, a detector's for instance;
            `None` for no such head. `losses.LogitsKLDivergence` is its loss.
        alignment: bool, whether to predict if the text describes the image.
        activation: name or function, of the transforms before the logits.
        dropout: float in [0, 1), on the product of the pooled outputs, in training.
        initializer_stddev: float, the standard deviation with which kernels start.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from the inputs of the encoder, int32 `mask_positions` (B, M), and with `num_region_classes`
        `region_mask_positions` (B, K), to a dict of logits: `masked_lm` (B, M, V), `masked_regions` (B, K, C), and `alignment`
        (B, 2), of which class 0 is "belong together", as published.

    Raises:
        ValueError: if `encoder` is no model of `ViLBERT`, for a number of classes below 1, and from the layers.

    Example:

    ```python
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    sizes |= {"region_dim": 6, "num_region_layers": 1, "num_region_heads": 2, "region_hidden_dim": 12}
    sizes |= {"region_intermediate_dim": 12, "num_co_attention_heads": 2, "co_attention_dim": 12}
    encoder = keras_tx.applications.ViLBERT(100, 16, **sizes, text_blocks_before=(1,), region_blocks_before=(0,))
    model = keras_tx.applications.vilbert_pretrainer(encoder, num_region_classes=10)
    model.output["masked_lm"].shape, model.output["masked_regions"].shape  # (None, None, 100), (None, None, 10)
    ```

    Reference:
        Lu et al. 2019, "ViLBERT", section 2.2 ("Training Tasks and Objectives").
    """
    num_region_classes = arguments.positive_int("num_region_classes", num_region_classes, optional=True)
    _check_encoder(encoder)
    inputs = _inputs(encoder)
    encoded = encoder({name: inputs[name] for name in INPUTS})
    epsilon = encoder.get_layer("embedding_norm").epsilon
    stddev = arguments.positive_float("initializer_stddev", initializer_stddev)

    def masked(source, positions, head):
        inputs[positions] = keras.Input((None,), dtype="int32", name=positions)
        x = GatherPositions(name=f"{head}_positions")(encoded[source], inputs[positions])  # (B, M, D)
        x = _dense(x.shape[-1], f"{head}_transform", stddev, activation)(x)
        return LayerNormalization(epsilon=epsilon, name=f"{head}_norm")(x)

    x = masked("text_output", "mask_positions", "masked_lm")
    outputs = {"masked_lm": TiedLogits(encoder.get_layer("embedding"), use_bias=True, name="masked_lm")(x)}
    if num_region_classes is not None:
        x = masked("region_output", "region_mask_positions", "masked_regions")
        outputs["masked_regions"] = _dense(num_region_classes, "masked_regions", stddev)(x)
    if arguments.flag("alignment", alignment):
        outputs["alignment"] = _dense(2, "alignment", stddev)(_fused(encoded, dropout))
    return with_layer_structure(keras.Model(inputs, outputs, name=name))


def vilbert_classifier(
    encoder,
    num_classes,
    dropout=0.1,
    activation="gelu",
    initializer_stddev=0.02,
    name="vilbert_classifier",
) -> keras.Model:
    """Puts a classifier of answers on ViLBERT: a network on the product of the pooled outputs.

    Args:
        encoder: model of `ViLBERT`, shared and not copied.
        num_classes: int, how many answers.
        dropout: float in [0, 1), on the product of the pooled outputs, in training.
        activation: name or function, of the hidden layer, which is twice as wide as a pooled output.
        initializer_stddev: float, the standard deviation with which kernels start.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from the inputs of the encoder to logits (B, num_classes).

    Raises:
        ValueError: if `encoder` is no model of `ViLBERT`, for a number of classes below 1, and from the layers.

    Example:

    ```python
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    sizes |= {"region_dim": 6, "num_region_layers": 1, "num_region_heads": 2, "region_hidden_dim": 12}
    sizes |= {"region_intermediate_dim": 12, "num_co_attention_heads": 2, "co_attention_dim": 12}
    encoder = keras_tx.applications.ViLBERT(100, 16, **sizes, text_blocks_before=(1,), region_blocks_before=(0,))
    model = keras_tx.applications.vilbert_classifier(encoder, num_classes=25)
    model.output_shape  # (None, 25)
    ```

    Reference:
        Lu et al. 2019, "ViLBERT", section 3.2 ("Visual Question Answering").
    """
    num_classes = arguments.positive_int("num_classes", num_classes)
    _check_encoder(encoder)
    stddev = arguments.positive_float("initializer_stddev", initializer_stddev)
    inputs = _inputs(encoder)
    x = _fused(encoder(inputs), dropout)
    x = _dense(2 * x.shape[-1], "answer_transform", stddev, activation)(x)
    x = LayerNormalization(epsilon=encoder.get_layer("embedding_norm").epsilon, name="answer_norm")(x)
    logits = _dense(num_classes, "logits", stddev)(x)
    return with_layer_structure(keras.Model(inputs, logits, name=name))


def _inputs(encoder):
    """Inputs of the names, shapes and dtypes of the encoder's."""
    return {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in encoder.input.items()}


def _fused(encoded, dropout):
    """The product of the pooled outputs (B, P)."""
    x = keras.layers.Multiply(name="fused")([encoded["pooled_text"], encoded["pooled_regions"]])
    return Dropout(dropout, name="fused_dropout")(x)


def _dense(units, name, stddev, activation=None):
    initializer = keras.initializers.TruncatedNormal(stddev=stddev)
    return Dense(units, activation=activation, kernel_initializer=initializer, name=name)


def _check_encoder(encoder):
    """Raises `ValueError` unless the model has the inputs, the outputs and the embedding of ViLBERT."""
    is_model = isinstance(encoder, keras.Model)
    names = {layer.name for layer in encoder.layers} if is_model else set()
    taken, given = (getattr(encoder, side, None) if is_model else None for side in ("input", "output"))
    is_wired = isinstance(taken, dict) and isinstance(given, dict) and set(taken) == set(INPUTS)
    if not is_wired or "pooled_regions" not in given or not {"embedding", "embedding_norm"} <= names:
        raise ValueError(f"`encoder` must be a model of `ViLBERT`. Received: encoder={encoder!r}.")
