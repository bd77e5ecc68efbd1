"""ViT: an image cut into patches, read by a Transformer encoder as text is; with a distillation token it is DeiT.

Each patch is mapped to a vector, and a learned vector for its place on the grid is added. A class token, with a position of
its own, goes before the patches. Pre-norm encoder blocks with the exact GELU follow, then a last norm, and the class token is
mapped to the logits. The table of positions is resampled where an image has another grid than the table: a model made for
224 x 224 runs at 384 x 512.
"""

import keras

from .. import arguments
from ..layers import (
    ClassToken,
    Dropout,
    GridPositionEncoding,
    MaskedMeanPooling,
    PatchEmbedding,
    TransformerEncoder,
)
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure
from .images import check_head, grid_of_patches, image_input, stochastic_depth_rates

# Base to huge: Dosovitskiy et al. 2021, table 1; tiny and small: Touvron et al. 2021, table 1.
_TINY = {"num_layers": 12, "num_heads": 3, "hidden_dim": 192, "intermediate_dim": 768}
_SMALL = {"num_layers": 12, "num_heads": 6, "hidden_dim": 384, "intermediate_dim": 1536}
_BASE = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}
_LARGE = {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096}
_HUGE = {"num_layers": 32, "num_heads": 16, "hidden_dim": 1280, "intermediate_dim": 5120}
VIT_SIZES = {
    "tiny_16": {"patch_size": 16, **_TINY},
    "small_16": {"patch_size": 16, **_SMALL},
    "base_16": {"patch_size": 16, **_BASE},
    "base_16_384": {"patch_size": 16, **_BASE, "image_size": 384},
    "base_32": {"patch_size": 32, **_BASE},
    "large_16": {"patch_size": 16, **_LARGE},
    "large_32": {"patch_size": 32, **_LARGE},
    "huge_14": {"patch_size": 14, **_HUGE},
}


def ViT(
    patch_size,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    image_size=224,
    input_shape=(None, None, 3),
    include_top=True,
    num_classes=1000,
    pooling=None,
    distillation_token=False,
    distillation_head=None,
    padding="refuse",
    include_rescaling=True,
    dropout=0.0,
    drop_path=0.0,
    activation="gelu",
    layer_norm_epsilon=1e-6,
    recompute=False,
    attention_dropout=None,
    stem=None,
    name="vit",
) -> keras.Model:
    """Builds a Vision Transformer.

    Args:
        patch_size: int, or (rows, columns), in pixels.
        num_layers: int, how many encoder blocks.
        num_heads: int.
        hidden_dim: int, D.
        intermediate_dim: int, the width of the feed-forward networks.
        image_size: int, or (rows, columns), in pixels: the size whose grid of patches the table of positions has. A multiple
            of the patch.
        input_shape: (rows, columns, channels) of the images that are taken; `None` for rows and columns of any size.
        include_top: bool, whether the outputs are logits.
        num_classes: int, how many logits.
        pooling: what the outputs are where there is no head: `None` for all tokens, "token" for the class token, "avg" for
            the mean over the patches.
        distillation_token: bool, whether there is a second token, beside the class token.
        distillation_head: bool, whether this token has logits of its own; the outputs are then the mean of both. `None` for
            what `distillation_token` is.
        padding: what becomes of an image that the patch does not divide, as in `PatchEmbedding`: "refuse", "keep" or "mask".
        include_rescaling: bool. True for a model of pixels from 0 to 255, floats or bytes, which it maps to -1 to 1 itself,
            and to which pixels from 0 to 1 are all black; False for one that takes its numbers as they come.
        dropout: float in [0, 1), on the embeddings and the branches, and on the attention weights unless `attention_dropout` is
            given, in training.
        drop_path: float in [0, 1), the probability of dropping a sample's branch in the last block, in training; it rises
            from 0 in the first block by equal steps.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        stem: a layer such as `ConvolutionalStem`, in the slot of `PatchEmbedding` of that name, or `None`.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from images (B, Y, X, C), channels last, to logits (B, num_classes). Without a head to
        tokens (B, 1 + P, D), normalized, the class token first, then with a distillation token that one, then the P patches
        row by row; or to (B, D) where they are pooled.

    Raises:
        ValueError: for an `image_size` that is no multiple of the patch, a `pooling` that is unknown or beside a head, a
            `distillation_head` without its token or without a head, an `input_shape` of another rank, and from the layers.

    Example:

    ```python
    model = keras_tx.applications.ViT(
        patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, image_size=32, num_classes=10
    )
    logits = model(np.zeros((1, 32, 32, 3)))  # (1, 10)
    logits = model(np.zeros((1, 64, 40, 3)))  # (1, 10), with the positions resampled
    ```

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", section 3.1;
        Touvron et al. 2021, "Training data-efficient image transformers & distillation through attention", section 4.
    """
    arguments.positive_int("num_layers", num_layers)
    check_head(include_top, num_classes, pooling, ("token", "avg"))
    arguments.flag("include_rescaling", include_rescaling)
    arguments.rate("dropout", dropout)
    arguments.flag("distillation_token", distillation_token)
    if distillation_head is None:
        distillation_head = distillation_token and include_top
    if arguments.flag("distillation_head", distillation_head) and not (distillation_token and include_top):
        raise ValueError(
            "`distillation_head` must have its token, and stands beside the head. Received: distillation_head=True, "
            f"distillation_token={distillation_token}, include_top={include_top}."
        )
    patch, _, grid = grid_of_patches(patch_size, image_size)
    num_tokens = 2 if distillation_token else 1
    rates = stochastic_depth_rates(drop_path, num_layers)

    images = image_input(input_shape)
    x = images
    if include_rescaling:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(x)
    x = PatchEmbedding(patch, hidden_dim, padding=padding, stem=stem, name="patch_embedding")(x)  # (B, Y', X', D)
    x = GridPositionEncoding(grid, embeddings_initializer=_initializer(), name="positions")(x)
    x = ClassToken(num_tokens, initializer=_initializer(), name="class_token")(x)  # (B, num_tokens + P, D)
    x = Dropout(dropout, name="embedding_dropout")(x)
    for index, rate in enumerate(rates):
        x = TransformerEncoder(
            intermediate_dim,
            num_heads,
            dropout,
            activation=activation,
            normalize_first=True,
            layer_norm_epsilon=layer_norm_epsilon,
            drop_path=rate,
            kernel_initializer="glorot_uniform",
            recompute=recompute,
            attention_dropout=attention_dropout,
            name=f"encoder_{index}",
        )(x)
    x = LayerNormalization(epsilon=layer_norm_epsilon, name="norm")(x)
    if include_top:
        x, tokens = _head("logits", num_classes)(x[:, 0]), x
        if distillation_head:
            distilled = _head("distillation_logits", num_classes)(tokens[:, 1])
            x = keras.layers.Average(name="mean_logits")([x, distilled])
    elif pooling == "token":
        x = x[:, 0]
    elif pooling == "avg":
        x = MaskedMeanPooling(skip=num_tokens, name="pooling")(x)
    return with_layer_structure(keras.Model(images, x, name=name))


def _initializer():
    # Of positions and tokens alone: kernels drawn this small hold back a model that is narrower than the published ones.
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _head(name, num_classes):
    return Dense(num_classes, kernel_initializer="glorot_uniform", name=name)
