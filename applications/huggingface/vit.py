"""ViT folders: how their config and their tensors read as those of `ViT`, and the reverse.

`architectures` says whether there is a head. The positions of the class token and of the grid are one tensor. A grid of
another shape than the table's is resampled as `interpolate_pos_encoding=True` does.
"""

import keras

from ... import graph
from ...checkpoints import Rule
from ...layers import ClassToken, GridPositionEncoding, MultiHeadSelfAttention, PatchEmbedding, TransformerEncoder
from ..vit import ViT
from . import activations, vision

PREFIX = "vit."  # of the tensors beside the head's
TIED = {}
# The pooler reads the class token of a model without a head, the mask token stands for patches that are to be restored: neither
# has a place in `ViT`.
IGNORED = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.mask_token")
_ARCHITECTURES = {
    "ViTForImageClassification": ("classifier", {"include_top": True}),
    "ViTModel": (None, {"include_top": False}),
}
_BLOCK = "encoder.layer.{i}"
_POSITIONS = "embeddings.position_embeddings"

build, weights = ViT, vision.weights

ENCODER_RULES = (
    *vision.PATCHES,
    Rule(
        _POSITIONS,
        ("class_token/position", "positions/position_table"),
        "token hidden | row column hidden -> 1 (token + row column) hidden",
    ),
    *vision.block(_BLOCK, "attention.attention", "encoder_{i}", "encoder_{i}/attention"),
    *vision.norm("layernorm", "norm"),
)
_TOKEN = Rule("embeddings.cls_token", "class_token/token", "token hidden -> 1 token hidden")
_HEAD = vision.dense("classifier", "logits")


def arguments(config, checkpoint):
    """Returns the arguments of `ViT` for a folder; raises `ValueError` for what `ViT` does not do."""
    return {**sizes(config), **with_head(config, vision.architecture(config, checkpoint, _ARCHITECTURES))}


def sizes(config):
    """Returns the arguments of `ViT` that do not concern its head."""
    config.must_be("qkv_bias", True, default=True)
    hidden_dim, num_heads = config.positive_int("hidden_size"), config.positive_int("num_attention_heads")
    if hidden_dim % num_heads:
        raise config.fault(
            "`num_attention_heads` must divide `hidden_size`.", num_attention_heads=num_heads, hidden_size=hidden_dim
        )
    image_size, patch_size = config.extent("image_size", default=224), config.extent("patch_size", default=16)
    if any(size % part for size, part in zip(image_size, patch_size, strict=True)):
        raise config.fault(
            "`patch_size` must divide `image_size`.", patch_size=list(patch_size), image_size=list(image_size)
        )
    return {
        "patch_size": patch_size,
        "num_layers": config.positive_int("num_hidden_layers"),
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": config.positive_int("intermediate_size"),
        "image_size": image_size,
        "input_shape": (None, None, config.positive_int("num_channels", default=3)),
        "include_rescaling": False,
        **vision.rates(config),
        "drop_path": config.rate("drop_path_rate", default=0.0),
        "activation": config.choice("hidden_act", activations.FUNCTIONS, default="gelu"),
        "layer_norm_epsilon": config.positive_float("layer_norm_eps", default=1e-12),
    }


def with_head(config, options):
    """Returns the options of an architecture, and how many classes its head has."""
    return {**options, "num_classes": config.num_labels()} if options["include_top"] else options


def rules(arguments):
    """Returns the rules for a folder of these arguments."""
    return vision.sized((*ENCODER_RULES, _TOKEN, *_HEAD), arguments["patch_size"])


def landmarks(arguments, num_tokens=1, head="classifier"):
    """Yields names and shapes of tensors in which every size of `arguments` shows, blocks included."""
    hidden_dim, patch = arguments["hidden_dim"], arguments["patch_size"]
    for index in reversed(range(arguments["num_layers"])):
        yield f"{_BLOCK}.intermediate.dense.weight".format(i=index), (arguments["intermediate_dim"], hidden_dim)
    yield vision.PROJECTION, (hidden_dim, arguments["input_shape"][-1], *patch)
    rows, columns = (size // part for size, part in zip(arguments["image_size"], patch, strict=True))
    yield _POSITIONS, (1, num_tokens + rows * columns, hidden_dim)
    if arguments["include_top"]:
        yield f"{head}.weight", (arguments["num_classes"], hidden_dim)


def recognizes(model):
    """Returns whether a model has one token before its patches."""
    return num_tokens(model) == 1


def num_tokens(model):
    """Returns how many tokens a model has before its patches; 0 if there are no patches."""
    token = next((layer for layer in model.layers if isinstance(layer, ClassToken)), None)
    return token.num_tokens if token and any(isinstance(layer, PatchEmbedding) for layer in model.layers) else 0


def saved(model):
    """Returns the config of a model, its weights by their paths in `ViT`, and the rules by which they are written.

    Raises `ValueError` if the model is not one that `ViT` could have made, but for names.
    """
    arguments, weights = parts(model)
    head = arguments["include_top"]
    name = "ViTForImageClassification" if head else "ViTModel"
    written = [rule.prefixed(PREFIX if head else "") for rule in (*ENCODER_RULES, _TOKEN)]
    return (
        config_of("vit", name, arguments, weights),
        weights,
        vision.sized((*written, *_HEAD), arguments["patch_size"]),
    )


def files(model):
    """Returns the other files of a model's folder."""
    return vision.preprocessor(model, _image_size(model))


def parts(model):
    """Returns the arguments of `ViT` that would build a model, and its weights by the paths that they have then."""
    check = vision.checker(model, "ViT")
    layers = list(graph.layer_calls(model).values())
    patches, positions, token, block = (
        vision.first(model, kind, check)
        for kind in (PatchEmbedding, GridPositionEncoding, ClassToken, TransformerEncoder)
    )
    blocks = [layer for layer in layers if isinstance(layer, TransformerEncoder)]
    heads = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    own = block.num_heads is not None and type(block.attention) is MultiHeadSelfAttention
    check(own, f"an attention of its own in {block.name}")
    check(block.intermediate_dim is not None, f"a feed-forward network of its own in {block.name}")
    known = activations.name_of(block.activation)
    check(known is not None, f"activation {block.activation!r}, for which there is no name, in {block.name}")
    check(token.use_positions, f"no positions in {token.name}")
    check(len(model.inputs) == len(model.outputs) == 1, "several inputs or outputs")
    check(heads or len(model.outputs[0].shape) == 3, "pooled outputs, which the layout does not hold")
    check(len(heads) <= token.num_tokens, f"{len(heads)} heads for {token.num_tokens} tokens")
    found = {
        "patch_size": patches.patch_size,
        "num_layers": len(blocks),
        "num_heads": block.num_heads,
        "hidden_dim": patches.hidden_dim,
        "intermediate_dim": block.intermediate_dim,
        "image_size": _image_size(model),
        "input_shape": (None, None, model.inputs[0].shape[-1]),
        "include_top": bool(heads),
        "distillation_token": token.num_tokens == 2,
        "distillation_head": len(heads) == 2,
        "include_rescaling": any(isinstance(layer, keras.layers.Rescaling) for layer in layers),
        "dropout": block.dropout,
        "attention_dropout": block.attention.dropout,
        "drop_path": blocks[-1].drop_path,
        "activation": block.activation,
        "layer_norm_epsilon": block.layer_norm_epsilon,
    }
    if heads:
        found["num_classes"] = heads[0].units
    return found, vision.matched(model, lambda: ViT(**found), check)


def config_of(model_type, architecture, arguments, weights):
    """Returns the config of a model of these arguments."""
    found = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": arguments["hidden_dim"],
        "num_hidden_layers": arguments["num_layers"],
        "num_attention_heads": arguments["num_heads"],
        "intermediate_size": arguments["intermediate_dim"],
        "hidden_act": activations.name_of(arguments["activation"]),
        **vision.rates_config(arguments),
        "layer_norm_eps": arguments["layer_norm_epsilon"],
        "image_size": vision.one_or_pair(arguments["image_size"]),
        "patch_size": vision.one_or_pair(arguments["patch_size"]),
        "num_channels": arguments["input_shape"][-1],
        "qkv_bias": True,
        "dtype": vision.dtype_of(weights),
    }
    if arguments["drop_path"]:  # a key that `transformers` leaves alone, and `load_huggingface` reads
        found["drop_path_rate"] = arguments["drop_path"]
    return {**found, **(vision.head_config(arguments["num_classes"]) if arguments["include_top"] else {})}


def _image_size(model):
    """The size of the images whose grid the table of positions has."""
    kinds = (GridPositionEncoding, PatchEmbedding)
    positions, patches = (next(layer for layer in model.layers if isinstance(layer, kind)) for kind in kinds)
    return tuple(size * part for size, part in zip(positions.grid_size, patches.patch_size, strict=True))
