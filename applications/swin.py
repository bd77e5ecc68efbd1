"""Swin: a Transformer encoder on maps, in stages, each with half the rows and columns of the one before and twice its width.

An image is cut into small patches. The encoder blocks are those that text uses, with attention inside windows of the map in
their slot; the windows of every second block are shifted by half a window, so that neighbours across a border meet. Between
two stages each 2 x 2 positions are merged into one. The mean over the last map is mapped to the logits. There is no table of
positions: each attention has a learned bias for the offset between two places of a window.
"""

import keras

from .. import arguments
from ..layers import (
    Dropout,
    MaskedMeanPooling,
    PatchEmbedding,
    PatchMerging,
    TransformerEncoder,
    WindowAttention,
)
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure
from .images import check_head, image_input, imagenet_rescaling, stage_sizes, stochastic_depth_rates

# Liu et al. 2021, section 3.3; "base_384" is fine-tuned at 384 x 384 with larger windows.
SWIN_SIZES = {
    "tiny": {"num_layers": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "hidden_dim": 96, "window_size": 7},
    "small": {"num_layers": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24), "hidden_dim": 96, "window_size": 7},
    "base": {"num_layers": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "hidden_dim": 128, "window_size": 7},
    "base_384": {"num_layers": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "hidden_dim": 128, "window_size": 12},
    "large": {"num_layers": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48), "hidden_dim": 192, "window_size": 7},
}


def Swin(
    patch_size=4,
    num_layers=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    hidden_dim=96,
    window_size=7,
    mlp_ratio=4,
    input_shape=(None, None, 3),
    include_top=True,
    num_classes=1000,
    pooling=None,
    mask_padding=True,
    include_rescaling=True,
    dropout=0.0,
    drop_path=0.0,
    activation="gelu",
    layer_norm_epsilon=1e-5,
    recompute=False,
    attention_dropout=None,
    stem=None,
    name="swin",
) -> keras.Model:
    """Builds a Swin Transformer.

    Args:
        patch_size: int, or (rows, columns), in pixels. An image that it does not divide is filled up with zeros.
        num_layers: tuple of ints, how many encoder blocks each stage has.
        num_heads: tuple of ints, as long; each must divide the width of its stage.
        hidden_dim: int, the width of the first stage; each stage is twice as wide as the one before.
        window_size: int, or (rows, columns), in positions of a map.
        mlp_ratio: number, the width of the feed-forward networks over that of their stage.
        input_shape: (rows, columns, channels) of the images that are taken; `None` for rows and columns of any size, of one
            window of patches at least.
        include_top: bool, whether the outputs are logits.
        num_classes: int, how many logits.
        pooling: what the outputs are where there is no head: `None` for the last map, "avg" for the mean over it.
        mask_padding: bool, whether what fills windows up at the borders of a map is masked out of attention; False for the
            published behaviour (see `WindowAttention`). Where the windows divide every map the two are one.
        include_rescaling: bool. True for a model of pixels from 0 to 255, floats or bytes, in three channels, from which it
            takes the mean of ImageNet and divides by its standard deviation, and to which pixels from 0 to 1 are all black; False
            for one that takes its numbers as they come.
        dropout: float in [0, 1), on the embeddings and the branches, and on the attention weights unless `attention_dropout` is
            given, in training.
        drop_path: float in [0, 1), the probability of dropping a sample's branch in the last block, in training; it rises
            from 0 in the first block of the first stage by equal steps.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        stem: a layer such as `ConvolutionalStem`, in the slot of `PatchEmbedding` of that name, or `None`.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from images (B, Y, X, C), channels last, to logits (B, num_classes). Without a head to the
        last map (B, Y', X', D), normalized, D = 2^(stages - 1) `hidden_dim`; or to (B, D) where it is pooled.

    Raises:
        ValueError: for `num_layers` and `num_heads` that are no tuples of positive integers of one length, a `pooling` that
            is unknown or beside a head, an `input_shape` of another rank, or with other than three channels where pixels are
            rescaled, and from the layers. A model that rescales refuses images of other channels when called, but a copy, or one
            loaded from a file, takes one channel for three equal ones.

    Example:

    ```python
    model = keras_tx.applications.Swin(
        num_layers=(1, 2), num_heads=(2, 4), hidden_dim=16, window_size=4, num_classes=10
    )
    logits = model(np.zeros((1, 28, 36, 3)))  # (1, 10)
    ```

    Reference:
        Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", section 3.
    """
    check_head(include_top, num_classes, pooling, ("avg",))
    arguments.flag("include_rescaling", include_rescaling)
    arguments.rate("dropout", dropout)
    arguments.positive_int("hidden_dim", hidden_dim)
    arguments.positive_float("mlp_ratio", mlp_ratio)
    num_layers, num_heads = stage_sizes(num_layers=num_layers, num_heads=num_heads)
    window = arguments.extent("window_size", window_size)
    rates = iter(stochastic_depth_rates(drop_path, sum(num_layers)))

    images = image_input(input_shape)
    x = images
    if include_rescaling:
        x = imagenet_rescaling(images.shape[-1])(x)
    x = PatchEmbedding(
        patch_size,
        hidden_dim,
        padding="keep",
        min_grid_size=window,
        stem=stem,
        name="patch_embedding",
    )(x)  # (B, Y', X', D)
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="embedding_norm")(x)
    x = Dropout(dropout, name="embedding_dropout")(x)
    for stage, (depth, heads) in enumerate(zip(num_layers, num_heads, strict=True)):
        if stage:
            x = PatchMerging(
                layer_norm_epsilon=layer_norm_epsilon, kernel_initializer="glorot_uniform", name=f"merging_{stage - 1}"
            )(x)  # (B, Y' / 2, X' / 2, 2 D)
        for index in range(depth):
            attention = WindowAttention(
                heads,
                window,
                shift_size=tuple(size // 2 * (index % 2) for size in window),
                dropout=arguments.rate("attention_dropout", attention_dropout, default=dropout),
                mask_padding=mask_padding,
                kernel_initializer="glorot_uniform",
                name="attention",
            )
            x = TransformerEncoder(
                int(mlp_ratio * x.shape[-1]),
                dropout=dropout,
                activation=activation,
                normalize_first=True,
                layer_norm_epsilon=layer_norm_epsilon,
                drop_path=next(rates),
                attention=attention,
                kernel_initializer="glorot_uniform",
                recompute=recompute,
                name=f"stage_{stage}_block_{index}",
            )(x)
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="norm")(x)
    if include_top or pooling == "avg":
        x = MaskedMeanPooling(name="pooling")(x)  # (B, D)
    if include_top:
        x = Dense(num_classes, kernel_initializer="glorot_uniform", name="logits")(x)
    return with_layer_structure(keras.Model(images, x, name=name))
