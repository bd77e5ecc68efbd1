"""MLP-Mixer: an image cut into patches, mixed along the patches and along the channels in turn.

Each patch is mapped to a vector. Pre-norm blocks follow: a feed-forward network along the patches, the same for each channel,
then one along the channels, the same for each patch. After a last norm the mean over the patches is mapped to the logits. The
networks along the patches have a row for each patch, so that a model takes images of one size.
"""

import keras

from .. import arguments
from ..layers import MaskedMeanPooling, PatchEmbedding, TokenMixing, TransformerEncoder
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure
from .images import check_head, grid_of_patches, image_input, stochastic_depth_rates

# Tolstikhin et al. 2021, table 1.
_SMALL = {"num_layers": 8, "hidden_dim": 512, "tokens_dim": 256, "channels_dim": 2048}
_BASE = {"num_layers": 12, "hidden_dim": 768, "tokens_dim": 384, "channels_dim": 3072}
_LARGE = {"num_layers": 24, "hidden_dim": 1024, "tokens_dim": 512, "channels_dim": 4096}
_HUGE = {"num_layers": 32, "hidden_dim": 1280, "tokens_dim": 640, "channels_dim": 5120}
MIXER_SIZES = {
    "small_32": {"patch_size": 32, **_SMALL},
    "small_16": {"patch_size": 16, **_SMALL},
    "base_32": {"patch_size": 32, **_BASE},
    "base_16": {"patch_size": 16, **_BASE},
    "large_32": {"patch_size": 32, **_LARGE},
    "large_16": {"patch_size": 16, **_LARGE},
    "huge_14": {"patch_size": 14, **_HUGE},
}


def Mixer(
    patch_size,
    num_layers,
    hidden_dim,
    tokens_dim,
    channels_dim,
    image_size=224,
    channels=3,
    include_top=True,
    num_classes=1000,
    pooling=None,
    include_rescaling=True,
    dropout=0.0,
    drop_path=0.0,
    activation="gelu",
    layer_norm_epsilon=1e-6,
    recompute=False,
    name="mixer",
) -> keras.Model:
    """Builds an MLP-Mixer.

    Args:
        patch_size: int, or (rows, columns), in pixels.
        num_layers: int, how many blocks.
        hidden_dim: int, D, the width of a patch's vector.
        tokens_dim: int, the width of the feed-forward networks along the patches.
        channels_dim: int, the width of those along the channels.
        image_size: int, or (rows, columns), in pixels, of the images that are taken. A multiple of the patch.
        channels: int, of the images.
        include_top: bool, whether the outputs are logits.
        num_classes: int, how many logits.
        pooling: what the outputs are where there is no head: `None` for all patches, "avg" for their mean.
        include_rescaling: bool. True for a model of pixels from 0 to 255, floats or bytes, which it maps to -1 to 1 itself,
            and to which pixels from 0 to 1 are all black; False for one that takes its numbers as they come.
        dropout: float in [0, 1), on the branches, in training.
        drop_path: float in [0, 1), the probability of dropping a sample's branch in the last block, in training; it rises
            from 0 in the first block by equal steps.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from images (B, Y, X, C) of `image_size`, channels last, to logits (B, num_classes). Without a
        head to the patches row by row (B, P, D), normalized, or to their mean (B, D).

    Raises:
        ValueError: for an `image_size` that is no multiple of the patch, a `pooling` that is unknown or beside a head, and from
            the layers. Images of another size are refused by the model.

    Example:

    ```python
    model = keras_tx.applications.Mixer(
        patch_size=8, num_layers=2, hidden_dim=16, tokens_dim=8, channels_dim=32, image_size=32, num_classes=10
    )
    logits = model(np.zeros((1, 32, 32, 3)))  # (1, 10)
    ```

    Reference:
        Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision", section 2.
    """
    arguments.positive_int("num_layers", num_layers)
    check_head(include_top, num_classes, pooling, ("avg",))
    arguments.flag("include_rescaling", include_rescaling)
    patch, image, (rows, columns) = grid_of_patches(patch_size, image_size)
    images = image_input((*image, arguments.positive_int("channels", channels)))
    x = images
    if include_rescaling:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(x)
    x = PatchEmbedding(patch, hidden_dim, kernel_initializer="glorot_uniform", name="patch_embedding")(x)
    x = keras.layers.Reshape((rows * columns, hidden_dim), name="patches")(x)  # (B, P, D)
    for index, rate in enumerate(stochastic_depth_rates(drop_path, num_layers)):
        x = TransformerEncoder(
            channels_dim,
            dropout=dropout,
            activation=activation,
            normalize_first=True,
            layer_norm_epsilon=layer_norm_epsilon,
            drop_path=rate,
            attention=TokenMixing(tokens_dim, activation, name="attention"),
            recompute=recompute,
            name=f"encoder_{index}",
        )(x)
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="norm")(x)
    if include_top or pooling == "avg":
        x = MaskedMeanPooling(name="pooling")(x)  # (B, D)
    if include_top:
        x = Dense(num_classes, kernel_initializer="zeros", name="logits")(x)  # so that training starts from even odds
    return with_layer_structure(keras.Model(images, x, name=name))
