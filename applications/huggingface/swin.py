"""Swin folders, as models of `Swin`.

`architectures` says whether there is a head. What fills windows up takes part in attention, as the weights were trained with.
"""

import math

from ...checkpoints import Rule
from ..swin import Swin
from . import preprocessor
from .bert import encoder_fields
from .fields import EXTENT, POSITIVE, RATE, SIZE, Field, classes, only, sizes
from .recipe import Architecture, Recipe
from .shown import Difference
from .tensors import dense, norm
from .vit import HEAD, PATCHES, block, patch_axes, patch_fields

_BLOCK, _PATH, _MERGING = "encoder.layers.{i}.blocks.{j}.", "stage_{i}_block_{j}", "encoder.layers.{i}.downsample"
_TABLE = f"{_BLOCK}attention.self.relative_position_bias_table"
_STAGES = sizes(16)


def _stages(layers, value=lambda block: block):
    """The blocks of each stage, or a value of each."""
    layers.shown("encoder.attention.window_size")
    found = [[]]
    for layer in layers.all:
        if type(layer).__name__ == "PatchMerging":
            found.append([])
        elif type(layer).__name__ == "TransformerEncoder":
            found[-1].append(value(layer))
    if not all(found):
        raise Difference("a stage without blocks")
    return found


def _num_heads(layers):
    return tuple(stage[0] for stage in _stages(layers, lambda block: getattr(block.attention, "num_heads", None)))


def _window_size(layers):
    rows, columns = layers.shown("encoder.attention.window_size")
    return rows if rows == columns else (rows, columns)


def _mlp_ratio(layers):
    """The ratio that gives the width again when it is cut to an integer, whatever the division rounds."""
    width = layers.shown("patches.hidden_dim") << (len(_stages(layers)) - 1)
    intermediate = layers.shown("encoder[-1].feed_forward.intermediate_dim")
    ratio = intermediate / width
    return ratio if int(ratio * width) == intermediate else math.nextafter(ratio, math.inf)


def _width(ratio, found, stage, _=0):
    return int(ratio * (found["hidden_dim"] << stage))


def _image_size(layers):
    """(rows, columns) of the one size of image that a model takes, or `None`."""
    found = tuple(layers.model.inputs[0].shape[1:3])
    return None if None in found else found


def _mask_padding(layers):
    """Whether what fills windows up is masked out, of which the layout knows nothing: right where nothing is filled up."""
    masked = layers.shown("encoder.attention.mask_padding")
    window, patch = layers.shown("encoder.attention.window_size"), layers.shown("patches.patch_size")
    grid = [math.ceil(size / part) for size, part in zip(_image_size(layers) or (), patch, strict=False)]
    for _ in _stages(layers) if masked else ():
        # Nor is a map shifted along one axis alone.
        if not grid or any(map(math.fmod, grid, window)) or (grid[0] > window[0]) != (grid[1] > window[1]):
            raise Difference(
                "mask_padding=True and maps that the windows may not divide, where the layout attends to what fills them up "
                "(build it with mask_padding=False, or with the one input_shape that it is for)"
            )
        grid = [math.ceil(size / 2) for size in grid]
    return masked


RECIPE = Recipe(
    name="Swin",
    wiring="`Swin` does",
    build=Swin,
    marks={"WindowAttention": ...},
    architectures={
        "SwinForImageClassification": Architecture(HEAD, "classifier.weight", dense("classifier", "logits")),
        "SwinModel": Architecture({"include_top": False}),
    },
    fields=(
        *patch_fields(4, "embed_dim"),
        Field("num_layers", "depths", _STAGES, shown=lambda layers: tuple(map(len, _stages(layers))), blocks=_BLOCK),
        Field("num_heads", "num_heads", _STAGES, shown=_num_heads, axis=(_TABLE, 1, lambda heads, found, i, j: heads[i])),
        Field("window_size", "window_size", SIZE, 7, shown=_window_size,
              axis=(_TABLE, 0, lambda size, found, i, j: (2 * size - 1) ** 2)),
        Field("mlp_ratio", "mlp_ratio", POSITIVE, 4.0, shown=_mlp_ratio, axis=(f"{_BLOCK}intermediate.dense.weight", 0, _width)),
        Field("mask_padding", default=False, shown=_mask_padding),
        *(field for field in encoder_fields(0.0) if field.argument in ("dropout", "attention_dropout", "activation")),
        Field("drop_path", "drop_path_rate", RATE, 0.1, shown="encoder[-1].drop_path"),
        Field("layer_norm_epsilon", "layer_norm_eps", only(1e-5), 1e-5, shown="encoder.attention_norm.epsilon"),
        *classes(HEAD, shown="Dense.units", axis=("classifier.weight", 0)),
    ),
    demands={"qkv_bias": True, "use_absolute_embeddings": False},
    checks=(
        ("{num_layers} and {num_heads} must be of one length.",
         lambda found: len(found["num_layers"]) == len(found["num_heads"])),
        ("{num_heads} must divide the widths of the stages, {hidden_dim} and its doubles.",
         lambda found: not any((found["hidden_dim"] << stage) % heads for stage, heads in enumerate(found["num_heads"]))),
        ("{mlp_ratio} must leave widths of 1 to 2^31 for {hidden_dim}.",
         lambda found: 1 <= found["mlp_ratio"] * found["hidden_dim"] < 2 ** (32 - len(found["num_layers"]))),
    ),
    rules=(
        *PATCHES,
        *norm("embeddings.norm", "embedding_norm"),
        *block(_BLOCK, _PATH, f"{_PATH}/attention/attention", "attention.self"),
        Rule(_TABLE, f"{_PATH}/attention/attention/position_bias/bias_table"),
        *norm(f"{_MERGING}.norm", "merging_{i}/norm"),
        Rule(f"{_MERGING}.reduction.weight", "merging_{i}/reduction/kernel", "in out -> out in"),
        *norm("layernorm", "norm"),
    ),
    prefix="swin.",
    # The offsets of the places in a window, and what stands for patches that are to be restored.
    ignored=(f"{_BLOCK}attention.self.relative_position_index", "embeddings.mask_token"),
    axes=patch_axes,
    constants=lambda layers, arguments: {"image_size": EXTENT.write(_image_size(layers) or (224, 224))},
    files=lambda layers, arguments: preprocessor.files(layers.model, _image_size(layers)),
)  # fmt: skip
