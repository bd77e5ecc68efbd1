"""ViT folders, as models of `ViT`.

`architectures` says whether there is a head. The positions of the class token and of the grid are one tensor. A grid of
another shape than the table's is resampled as `interpolate_pos_encoding=True` does.
"""

from ...checkpoints import Rule
from ..vit import ViT
from . import preprocessor
from .bert import encoder_fields
from .fields import EXTENT, RATE, SIZE, Field, classes
from .recipe import Architecture, Recipe, divides
from .shown import present
from .tensors import attention, dense, norm

_PATCHES = "embeddings.patch_embeddings.projection"
PROJECTION = f"{_PATCHES}.weight"
_POSITIONS = "embeddings.position_embeddings"
CHANNELS = SIZE._replace(read=lambda channels: (None, None, channels), write=lambda shape: shape[-1])
HEAD = {"include_top": True}


def is_grid(found):
    """Returns whether patches of a size divide images of a size."""
    return not any(size % part for size, part in zip(found["image_size"], found["patch_size"], strict=True))


def patch_fields(patch_size, hidden_key):
    """Returns the fields of the models that begin with patches, of this size where a config says none."""
    sides = [(PROJECTION, 2 + side, lambda sizes, found, side=side: sizes[side]) for side in (0, 1)]
    return (
        Field("include_top", shown=present("Dense")),
        Field("patch_size", "patch_size", EXTENT, patch_size, shown="patches.patch_size", axis=sides),
        Field("hidden_dim", hidden_key, SIZE, shown="patches.hidden_dim", axis=(PROJECTION, 0)),
        Field("input_shape", "num_channels", CHANNELS, 3, shown=lambda layers: (None, None, layers.model.inputs[0].shape[-1]),
              axis=(PROJECTION, 1, lambda shape, found: shape[-1])),
        Field("include_rescaling", default=False, shown=present("Rescaling")),
    )  # fmt: skip


def block(start, path, attention_path, projections):
    """Returns the rules of an encoder block."""
    maps = (f"{projections}.query", f"{projections}.key", f"{projections}.value", "attention.output.dense")
    return (
        *attention(attention_path, start.removesuffix("."), *maps),
        *norm(f"{start}layernorm_before", f"{path}/attention_norm"),
        *norm(f"{start}layernorm_after", f"{path}/feed_forward_norm"),
        *dense(f"{start}intermediate.dense", f"{path}/feed_forward/intermediate"),
        *dense(f"{start}output.dense", f"{path}/feed_forward/output_dense"),
    )


def patch_axes(arguments):
    """Returns the sizes of the axes of a patch."""
    return dict(zip(("row", "column"), arguments["patch_size"], strict=True))


def patches(tensor):
    """Returns the rules of the projection of patches, a convolution whose stride is its kernel."""
    return dense(tensor, "patch_embedding/projection", "(row column channel) out -> out channel row column")


PATCHES = patches(_PATCHES)


def _image_size(layers):
    """The size of the images whose grid the table of positions has."""
    grid, patch = layers.shown("GridPositionEncoding.grid_size"), layers.shown("patches.patch_size")
    return tuple(size * part for size, part in zip(grid, patch, strict=True))


def _num_positions(image_size, found):
    (rows, columns), (height, width) = image_size, found["patch_size"]
    return 1 + found["distillation_token"] + rows // height * (columns // width)


RECIPE = Recipe(
    name="ViT",
    wiring="`ViT` does",
    build=ViT,
    marks={"ClassToken.num_tokens": 1, "patches": ...},
    architectures={
        "ViTForImageClassification": Architecture(HEAD, "classifier.weight", dense("classifier", "logits")),
        "ViTModel": Architecture({"include_top": False}),
    },
    fields=(
        *patch_fields(16, "hidden_size"),
        *encoder_fields(0.0),
        Field("drop_path", "drop_path_rate", RATE, 0.0, shown="encoder[-1].drop_path"),  # left alone by `transformers`
        Field("image_size", "image_size", EXTENT, 224, shown=_image_size, axis=(_POSITIONS, 1, _num_positions)),
        *classes(HEAD, shown="Dense.units", axis=("classifier.weight", 0)),
    ),
    fixed={"distillation_token": False},
    demands={"qkv_bias": True},
    checks=(divides("num_heads", "hidden_dim"), ("{patch_size} must divide {image_size}.", is_grid)),
    rules=(
        *PATCHES,
        Rule(_POSITIONS, ("class_token/position", "positions/position_table"),
             "token hidden | row column hidden -> 1 (token + row column) hidden"),
        *block("encoder.layer.{i}.", "encoder_{i}", "encoder_{i}/attention", "attention.attention"),
        *norm("layernorm", "norm"),
        Rule("embeddings.cls_token", "class_token/token", "token hidden -> 1 token hidden"),
    ),
    prefix="vit.",
    # The pooler reads the class token of a model without a head, the mask token stands for patches that are to be restored:
    # neither has a place in `ViT`.
    ignored=("pooler.dense.weight", "pooler.dense.bias", "embeddings.mask_token"),
    axes=patch_axes,
    files=lambda layers, arguments: preprocessor.files(layers.model, arguments["image_size"]),
)  # fmt: skip
