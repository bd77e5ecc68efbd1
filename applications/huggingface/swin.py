"""Swin folders: how their config and their tensors read as those of `Swin`, and the reverse.

`architectures` says whether there is a head. What fills windows up takes part in attention, as the weights were trained with.
"""

import math

import keras

from ... import graph
from ...checkpoints import Rule
from ...layers import PatchEmbedding, PatchMerging, TransformerEncoder, WindowAttention
from ..swin import Swin
from . import activations, vision

PREFIX = "swin."  # of the tensors beside the head's
TIED = {}
_BLOCK, _PATH = "encoder.layers.{i}.blocks.{j}", "stage_{i}_block_{j}"
_TABLE = f"{_BLOCK}.attention.self.relative_position_bias_table"
_MERGING = "encoder.layers.{i}.downsample"
# The offsets of the places in a window, and what stands for patches that are to be restored.
IGNORED = (f"{_BLOCK}.attention.self.relative_position_index", "embeddings.mask_token")
_ARCHITECTURES = {
    "SwinForImageClassification": ("classifier", {"include_top": True}),
    "SwinModel": (None, {"include_top": False}),
}
_ENCODER_RULES = (
    *vision.PATCHES,
    *vision.norm("embeddings.norm", "embedding_norm"),
    *vision.block(_BLOCK, "attention.self", _PATH, f"{_PATH}/attention/attention"),
    Rule(_TABLE, f"{_PATH}/attention/attention/position_bias/bias_table"),
    *vision.norm(f"{_MERGING}.norm", "merging_{i}/norm"),
    Rule(f"{_MERGING}.reduction.weight", "merging_{i}/reduction/kernel", "in out -> out in"),
    *vision.norm("layernorm", "norm"),
)
_HEAD = vision.dense("classifier", "logits")
_EPSILON = 1e-5  # of the norms that have none in the config
_MOST_STAGES = 16

build, weights = Swin, vision.weights


def arguments(config, checkpoint):
    """Returns the arguments of `Swin` for a folder; raises `ValueError` for what `Swin` does not do."""
    config.must_be("qkv_bias", True, default=True)
    config.must_be("use_absolute_embeddings", False, default=False)
    config.must_be("layer_norm_eps", _EPSILON, default=_EPSILON)
    num_layers, num_heads = (config.positive_ints(key, _MOST_STAGES) for key in ("depths", "num_heads"))
    if len(num_layers) != len(num_heads):
        raise config.fault(
            "`depths` and `num_heads` must be of one length.", depths=list(num_layers), num_heads=list(num_heads)
        )
    hidden_dim = config.positive_int("embed_dim")
    for stage, heads in enumerate(num_heads):
        if (hidden_dim << stage) % heads:
            raise config.fault(
                "`num_heads` must divide the widths of the stages, `embed_dim` and its doubles.",
                num_heads=list(num_heads),
                embed_dim=hidden_dim,
            )
    ratio = config.positive_float("mlp_ratio", default=4.0)
    if ratio * hidden_dim < 1:
        raise config.fault("`mlp_ratio` must leave a width.", mlp_ratio=ratio, embed_dim=hidden_dim)
    found = {
        "patch_size": config.extent("patch_size", default=4),
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "window_size": config.positive_int("window_size", default=7),
        "mlp_ratio": ratio,
        "input_shape": (None, None, config.positive_int("num_channels", default=3)),
        "mask_padding": False,
        "include_rescaling": False,
        **vision.rates(config),
        "drop_path": config.rate("drop_path_rate", default=0.1),
        "activation": config.choice("hidden_act", activations.FUNCTIONS, default="gelu"),
        **vision.architecture(config, checkpoint, _ARCHITECTURES),
    }
    return {**found, "num_classes": config.num_labels()} if found["include_top"] else found


def rules(arguments):
    """Returns the rules for a folder of these arguments."""
    return vision.sized((*_ENCODER_RULES, *_HEAD), arguments["patch_size"])


def landmarks(arguments):
    """Yields names and shapes of tensors in which every size of `arguments` shows, blocks included."""
    hidden_dim, table = arguments["hidden_dim"], (2 * arguments["window_size"] - 1) ** 2
    stages = zip(arguments["num_layers"], arguments["num_heads"], strict=True)
    for stage, (depth, heads) in reversed(list(enumerate(stages))):
        width = hidden_dim << stage
        for index in reversed(range(depth)):
            yield _TABLE.format(i=stage, j=index), (table, heads)
            name = f"{_BLOCK}.intermediate.dense.weight".format(i=stage, j=index)
            yield name, (int(arguments["mlp_ratio"] * width), width)
    yield vision.PROJECTION, (hidden_dim, arguments["input_shape"][-1], *arguments["patch_size"])
    if arguments["include_top"]:
        yield "classifier.weight", (arguments["num_classes"], hidden_dim << (len(arguments["num_layers"]) - 1))


def recognizes(model):
    """Returns whether a model is a stack of encoder blocks with attention in windows."""
    return any(isinstance(layer, TransformerEncoder) and _has_windows(layer) for layer in model.layers)


def _has_windows(block):
    return isinstance(block.attention, WindowAttention)


def saved(model):
    """Returns the config of a model, its weights by their paths in `Swin`, and the rules by which they are written.

    Raises `ValueError` if the model is not one that `Swin` could have made, but for names.
    """
    check = vision.checker(model, "Swin")
    arguments = _arguments_of(model, check)
    weights = vision.matched(model, lambda: Swin(**arguments), check)
    head = arguments["include_top"]
    written = [rule.prefixed(PREFIX if head else "") for rule in _ENCODER_RULES]
    written = vision.sized((*written, *_HEAD), arguments["patch_size"])
    rows, columns = (size or 224 for size in _image_size(model) or (None, None))
    config = {
        "architectures": ["SwinForImageClassification" if head else "SwinModel"],
        "model_type": "swin",
        "image_size": vision.one_or_pair((rows, columns)),
        "patch_size": vision.one_or_pair(arguments["patch_size"]),
        "num_channels": arguments["input_shape"][-1],
        "embed_dim": arguments["hidden_dim"],
        "depths": list(arguments["num_layers"]),
        "num_heads": list(arguments["num_heads"]),
        "window_size": arguments["window_size"],
        "mlp_ratio": arguments["mlp_ratio"],
        "qkv_bias": True,
        "use_absolute_embeddings": False,
        "hidden_act": activations.name_of(arguments["activation"]),
        **vision.rates_config(arguments),
        "drop_path_rate": arguments["drop_path"],
        "layer_norm_eps": _EPSILON,
        "dtype": vision.dtype_of(weights),
        **(vision.head_config(arguments["num_classes"]) if head else {}),
    }
    return config, weights, written


def files(model):
    """Returns the other files of a model's folder."""
    return vision.preprocessor(model, _image_size(model))


def _arguments_of(model, check):
    layers = list(graph.layer_calls(model).values())
    stages = [[]]
    for layer in layers:
        if isinstance(layer, PatchMerging):
            stages.append([])
        elif isinstance(layer, TransformerEncoder):
            stages[-1].append(layer)
    check(all(stages), "a stage without blocks")
    blocks = [block for stage in stages for block in stage]
    for block in blocks:
        check(type(block.attention) is WindowAttention, f"another attention in {block.name}")
        check(block.intermediate_dim is not None, f"a feed-forward network of its own in {block.name}")
    block, patches = blocks[0], vision.first(model, PatchEmbedding, check)
    window, known = block.attention.window_size, activations.name_of(block.activation)
    heads = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    check(known is not None, f"activation {block.activation!r}, for which there is no name, in {block.name}")
    check(window[0] == window[1], f"windows that are no squares, {window[0]} x {window[1]}")
    check(block.layer_norm_epsilon == _EPSILON, f"layer_norm_epsilon={block.layer_norm_epsilon}, and not {_EPSILON}")
    check(len(model.inputs) == len(model.outputs) == 1, "several inputs or outputs")
    check(heads or len(model.outputs[0].shape) == 4, "pooled outputs, which the layout does not hold")
    masked = block.attention.mask_padding
    check(
        not masked or _is_one_either_way(_image_size(model), patches.patch_size, window, len(stages)),
        "mask_padding=True and maps that the windows may not divide, where the layout attends to what fills them up (build it "
        "with mask_padding=False, or with the one input_shape that it is for)",
    )
    found = {
        "patch_size": patches.patch_size,
        "num_layers": tuple(map(len, stages)),
        "num_heads": tuple(stage[0].attention.num_heads for stage in stages),
        "hidden_dim": patches.hidden_dim,
        "window_size": window[0],
        "mlp_ratio": _ratio(blocks[-1].intermediate_dim, patches.hidden_dim << (len(stages) - 1)),
        "input_shape": (None, None, model.inputs[0].shape[-1]),
        "include_top": bool(heads),
        "mask_padding": masked,
        "include_rescaling": any(isinstance(layer, keras.layers.Rescaling) for layer in layers),
        "dropout": block.dropout,
        "attention_dropout": block.attention.dropout,
        "drop_path": blocks[-1].drop_path,
        "activation": block.activation,
    }
    return {**found, "num_classes": heads[0].units} if heads else found


def _ratio(intermediate, width):
    """The ratio that gives the width again when it is cut to an integer, whatever the division rounds."""
    ratio = intermediate / width
    return ratio if int(ratio * width) == intermediate else math.nextafter(ratio, math.inf)


def _image_size(model):
    """(rows, columns) of the one size of image that a model takes, or `None`."""
    sizes = tuple(model.inputs[0].shape[1:3])
    return None if None in sizes else sizes


def _is_one_either_way(image_size, patch_size, window, num_stages):
    """Returns whether no window of any stage is filled up, nor shifted along one axis alone."""
    if image_size is None:
        return False
    grid = [math.ceil(size / part) for size, part in zip(image_size, patch_size, strict=True)]
    for _ in range(num_stages):
        if any(size % part for size, part in zip(grid, window, strict=True)):
            return False
        if (grid[0] > window[0]) != (grid[1] > window[1]):
            return False
        grid = [math.ceil(size / 2) for size in grid]
    return True
