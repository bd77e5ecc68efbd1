"""DETR: objects in an image found as a set, by an encoder-decoder.

Convolutions make a map of the image, whose positions an encoder reads. A decoder asks it with learned queries, all at once and
each aware of the others, and what it gives for each query is mapped to a class, or to none, and to a box. Positions are added
to what queries and keys of each attention are made of, and never to values.
"""

import keras
from keras import ops

from .. import arguments
from ..layers import (
    Dropout,
    FeedForward,
    LearnedQueries,
    MapToSequence,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    PixelMask,
    SinusoidalGridPositions,
    TransformerDecoder,
    TransformerEncoder,
)
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure
from .images import image_input, imagenet_rescaling
from .resnet import RESNET_SIZES, resnet_backbone

_SIZES = {"num_queries": 100, "num_layers": 6, "num_heads": 8, "hidden_dim": 256, "intermediate_dim": 2048}
# Carion et al. 2020, section 4.
DETR_SIZES = {name: {"backbone": name, **_SIZES} for name in ("resnet50", "resnet101")}


def DETR(
    num_classes,
    backbone="resnet50",
    num_queries=100,
    num_layers=6,
    num_heads=8,
    hidden_dim=256,
    intermediate_dim=2048,
    num_decoder_layers=None,
    input_shape=(None, None, 3),
    pixel_mask=False,
    auxiliary_outputs=True,
    include_rescaling=True,
    dropout=0.1,
    attention_dropout=None,
    activation_dropout=0.0,
    activation="relu",
    layer_norm_epsilon=1e-5,
    recompute=False,
    name="detr",
) -> keras.Model:
    """Builds a DETR, which is trained with `keras_tx.losses.SetPredictionLoss` and read by `detections`.

    Args:
        num_classes: int, C, how many classes of objects there are; a class more, the last, stands for no object.
        backbone: what makes a map of features of the images: a name in `RESNET_SIZES`, or a `keras.Model` from images
            (B, Y, X, channels) to a map (B, Y', X', features), such as `resnet_backbone` and `convolutional_stem` build. It
            gets what the rescaling gives.
        num_queries: int, Q, the most objects that are found in an image.
        num_layers: int, how many encoder blocks, and decoder blocks where `num_decoder_layers` is not given.
        num_heads: int.
        hidden_dim: int, D, a multiple of 4.
        intermediate_dim: int, the width of the feed-forward networks.
        num_decoder_layers: int, or `None` for `num_layers`.
        input_shape: (rows, columns, channels) of the images that are taken; `None` for rows and columns of any size.
        pixel_mask: bool, whether the model takes a mask of the pixels too, for images of several sizes filled up below and to
            the right. The weights are the same ones.
        auxiliary_outputs: bool, whether the outputs are those of each decoder block, which the loss takes, or of the last alone.
            The weights are the same ones.
        include_rescaling: bool. True for a model of pixels from 0 to 255, floats or bytes, in three channels, from which it
            takes the mean of ImageNet and divides by its standard deviation, and to which pixels from 0 to 1 are all black; False
            for one that takes its numbers as they come.
        dropout: float in [0, 1), on the encoder's inputs and the branches, and on the attention weights unless
            `attention_dropout` is given, in training.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        activation_dropout: float in [0, 1), inside the feed-forward networks.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from images (B, Y, X, C), channels last, to floats (B, L, Q, C + 1 + 4): for each decoder
        block, the last of which gives the prediction, and each query the logits of the classes, that of no object last, then
        a box (center x, center y, width, height) as fractions of the image. L is 1 without auxiliary outputs. With a pixel
        mask the model takes a dict of `images` and `pixel_mask`, (B, Y, X), 1 or True at real pixels, or `None` where all are;
        padding may hold anything, and boxes are fractions of the real image. An image without a real pixel gives some finite
        numbers.

    Raises:
        ValueError: for sizes that are no positive integers, a `hidden_dim` that 4 or the heads do not divide, a `backbone` of an
            unknown name or that gives no map, an `input_shape` of another rank, that the backbone does not take, or with other
            than three channels where pixels are rescaled, and from the layers. The model refuses a mask of another shape than
            the images.

    Example:

    ```python
    model = keras_tx.applications.DETR(
        num_classes=10, backbone=keras_tx.applications.convolutional_stem((8, 16)), num_queries=5, num_layers=1, num_heads=2,
        hidden_dim=16, intermediate_dim=32
    )
    outputs = model(np.zeros((1, 32, 48, 3)))  # (1, 1, 5, 15)
    found = keras_tx.applications.detections(outputs, image_sizes=(32, 48))  # "boxes" (1, 5, 4), ...
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section 3.2.
    """
    num_classes = arguments.positive_int("num_classes", num_classes)
    num_layers = arguments.positive_int("num_layers", num_layers)
    num_decoder_layers = arguments.positive_int("num_decoder_layers", num_decoder_layers, optional=True) or num_layers
    if arguments.positive_int("hidden_dim", hidden_dim) % 4:
        raise ValueError(
            "`hidden_dim` must be a multiple of 4, for a sine and a cosine of row and column each. Received: "
            f"hidden_dim={hidden_dim}."
        )
    arguments.flag("auxiliary_outputs", auxiliary_outputs)
    dropout = arguments.rate("dropout", dropout)
    arguments.rate("activation_dropout", activation_dropout)
    attention = {"num_heads": arguments.positive_int("num_heads", num_heads)}
    attention["dropout"] = arguments.rate("attention_dropout", attention_dropout, default=dropout)
    block = {"dropout": dropout, "layer_norm_epsilon": layer_norm_epsilon, "recompute": recompute}
    wide = keras.backend.result_type(keras.config.dtype_policy().compute_dtype, "float32")

    def attend():
        return MultiHeadSelfAttention(**attention, name="attention")

    def network():
        return FeedForward(intermediate_dim, activation, dropout=activation_dropout, name="feed_forward")

    images = x = image_input(input_shape)
    real = None
    if arguments.flag("pixel_mask", pixel_mask):
        real = keras.Input(images.shape[1:3], dtype="float32", name="pixel_mask", optional=True)
    if arguments.flag("include_rescaling", include_rescaling):
        x = imagenet_rescaling(images.shape[-1])(x)
    x = x if real is None else PixelMask(name="image_padding")(x, real)
    x = _backbone(backbone, x)(x)  # (B, Y', X', features)
    x = keras.layers.Conv2D(hidden_dim, 1, data_format="channels_last", name="projection")(x)  # (B, Y', X', D)
    x = PixelMask(resample=True, name="map_padding")(x, real)
    positions = SinusoidalGridPositions(name="positions")(x)  # (B, S, D), S = Y' X'
    x = Dropout(dropout, name="embedding_dropout")(MapToSequence(name="sequence")(x))  # (B, S, D)
    for index in range(num_layers):
        encode = TransformerEncoder(**block, attention=attend(), feed_forward=network(), name=f"encoder_{index}")
        x = encode(x, position_embedding=positions)

    queries = LearnedQueries(num_queries, keras.initializers.RandomNormal(stddev=1.0), name="queries")(x)  # (B, Q, D)
    found, outputs = ops.zeros_like(queries), []
    for index in range(num_decoder_layers):
        decode = TransformerDecoder(
            **block,
            attention=attend(),
            cross_attention=MultiHeadCrossAttention(**attention, name="cross_attention"),
            feed_forward=network(),
            causal=False,  # queries are in no order
            name=f"decoder_{index}",
        )
        found = decode(found, x, position_embedding=queries, context_position_embedding=positions)
        outputs.append(found)
    x = ops.stack(outputs if auxiliary_outputs else outputs[-1:], axis=1)  # (B, L, Q, D)
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="norm")(x)
    logits = Dense(num_classes + 1, name="logits")(x)  # (B, L, Q, C + 1)
    for index in range(2):
        x = Dense(hidden_dim, activation="relu", name=f"box_{index}")(x)
    boxes = keras.layers.Activation("sigmoid", dtype=wide, name="boxes")(Dense(4, name="box_2")(x))
    x = keras.layers.Concatenate(dtype=wide, name="outputs")([logits, boxes])
    inputs = images if real is None else {"images": images, "pixel_mask": real}
    return with_layer_structure(keras.Model(inputs, x, name=name))


def _backbone(backbone, images):
    """Returns the model that makes a map of images."""
    if isinstance(backbone, str):
        sizes = RESNET_SIZES[arguments.choice("backbone", backbone, RESNET_SIZES)]
        return resnet_backbone(**sizes, input_shape=tuple(images.shape[1:]))
    shapes = [tuple(each.shape) for each in (*backbone.inputs, *backbone.outputs)] if _is_functional(backbone) else []
    if [len(shape) for shape in shapes] != [4, 4] or shapes[1][-1] is None:
        raise ValueError(
            "`backbone` must be a name, or a keras.Model from images (B, Y, X, C) to one map (B, Y', X', features). Received: "
            f"backbone={backbone!r}{f' with inputs and outputs of shapes {shapes}' if shapes else ''}."
        )
    given = tuple(images.shape)
    if any(None not in sizes and sizes[0] != sizes[1] for sizes in zip(given, shapes[0], strict=True)):
        raise ValueError(
            "`backbone` must take images of the `input_shape`, of as many channels. Received: a backbone of images of shape "
            f"{shapes[0][1:]}, and input_shape={given[1:]}."
        )
    return backbone


def _is_functional(model):
    return isinstance(model, (keras.Model, keras.Sequential)) and bool(getattr(model, "inputs", None))
