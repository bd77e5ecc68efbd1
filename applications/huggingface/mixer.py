"""Folders of `timm` with an MLP-Mixer, as models of `Mixer`.

Their `config.json` has no `model_type`: `architecture` names patch, depth and width together. `model_args` may change the rest
(the size of images, their channels, the widths of the feed-forward networks, the pooling), and `pretrained_cfg` says how pixels
are prepared: a model that rescales them itself is saved with its mean and deviation there.
"""

import math

from ..mixer import MIXER_SIZES, Mixer
from . import preprocessor
from .fields import EXTENT, RATE, SIZE, Field, Kind, one_of, only
from .recipe import Recipe
from .shown import present
from .tensors import dense, norm
from .vit import is_grid, patch_axes, patches

ARCHITECTURES = {
    f"mixer_{size[0]}{sizes['patch_size']}_224": {
        "patch_size": (sizes["patch_size"], sizes["patch_size"]),
        "num_layers": sizes["num_layers"],
        "hidden_dim": sizes["hidden_dim"],
    }
    for size, sizes in MIXER_SIZES.items()
    if not size.startswith("huge")  # which timm does not have
}
_BLOCK = "blocks.{i}."
_CLASSES = "num_classes|model_args.num_classes|pretrained_cfg.num_classes"
_INPUT = "pretrained_cfg.input_size|input_size"
_POOL = "model_args.global_pool|global_pool"
_KNOWN_ARGS = {"img_size", "in_chans", "num_classes", "mlp_ratio", "global_pool"}
_ARGS = Kind(
    f"an object of {', '.join(sorted(_KNOWN_ARGS))} alone",
    lambda value: isinstance(value, dict) and value.keys() <= _KNOWN_ARGS,
    write=None,
)
_HAS_CLASSES = Kind("an integer of 0 or more", lambda value: value == 0 or SIZE.fits(value), bool, None)


def _of_architecture(argument):
    """The value of an argument that `architecture` names together with others."""

    def kind(found):
        fitting = {
            name: sizes
            for name, sizes in ARCHITECTURES.items()
            if all(found.get(key, value) == value for key, value in sizes.items() if key != argument)
        }
        return Kind(
            f"that of {' or '.join(fitting)}" if fitting else "of one architecture with the others",
            lambda name: isinstance(name, str) and name in fitting,
            lambda name: fitting[name][argument],
            lambda value: next((name for name, sizes in fitting.items() if sizes[argument] == value), None),
        )

    return kind


def _of_input(read):
    """A part of the shape (channels, rows, columns) of the images."""
    return Kind(
        "a list of three positive integers",
        lambda value: isinstance(value, list) and len(value) == 3 and all(map(SIZE.fits, value)),
        read,
        None,
    )


def _widths(found):
    """The widths of the two networks, by the ratios to the hidden width that `timm` cuts to integers."""
    hidden = found["hidden_dim"]

    def ratio(width):
        exact = width / hidden
        return exact if int(exact * hidden) == width else math.nextafter(exact, math.inf)

    def read(ratios):
        return tuple(int(each * hidden) for each in (ratios if isinstance(ratios, list) else (ratios, ratios)))

    def fits(value):
        ratios = value if isinstance(value, list) else [value]
        numbers = all(type(each) in (int, float) and 0 < each < 1e6 for each in ratios)
        return len(ratios) in (1, 2) and numbers and min(read(value)) > 0

    return Kind(
        "a ratio, or a list of two, that leaves widths of 1 and more", fits, read, lambda ws: list(map(ratio, ws))
    )


def _num_patches(image_size, found, *_):
    (rows, columns), (height, width) = image_size, found["patch_size"]
    return rows // height * (columns // width)


def _shown_widths(layers):
    return tuple(layers.shown(f"encoder.{part}.intermediate_dim") for part in ("attention", "feed_forward"))


def _build(mlp_widths, **arguments):
    tokens_dim, channels_dim = mlp_widths
    return Mixer(tokens_dim=tokens_dim, channels_dim=channels_dim, **arguments)


def _rules(arguments):
    block, path = _BLOCK, "encoder_{i}"
    return (
        *patches("stem.proj"),
        *norm(f"{block}norm1", f"{path}/attention_norm"),
        *dense(f"{block}mlp_tokens.fc1", f"{path}/attention/feed_forward/intermediate"),
        *dense(f"{block}mlp_tokens.fc2", f"{path}/attention/feed_forward/output_dense"),
        *norm(f"{block}norm2", f"{path}/feed_forward_norm"),
        *dense(f"{block}mlp_channels.fc1", f"{path}/feed_forward/intermediate"),
        *dense(f"{block}mlp_channels.fc2", f"{path}/feed_forward/output_dense"),
        *norm("norm", "norm"),
        *(dense("head", "logits") if arguments["include_top"] else ()),
    )


def _constants(layers, arguments):
    """What `timm` reads beside the fields, as it writes it for the published models where a model does not say."""
    channels, classes = arguments["channels"], arguments.get("num_classes", 0)
    mean, std = preprocessor.statistics(layers.model) or ([0.5] * channels, [0.5] * channels)
    prepared = {
        "input_size": [channels, *arguments["image_size"]],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "mean": mean,
        "std": std,
        "num_classes": classes,
        "first_conv": "stem.proj",
        "classifier": "head",
    }
    return {"num_classes": classes, "num_features": arguments["hidden_dim"], "pretrained_cfg": prepared}


RECIPE = Recipe(
    name="Mixer",
    wiring="`Mixer` does",
    build=_build,
    typed=False,
    marks={"TokenMixing": ..., "patches": ...},
    fields=(
        Field("_architecture", "architecture", one_of(ARCHITECTURES)._replace(write=None)),
        Field("_model_args", "model_args", _ARGS, {}),
        Field("num_layers", "architecture", _of_architecture("num_layers"), shown="encoder", blocks=_BLOCK),
        Field("hidden_dim", "architecture", _of_architecture("hidden_dim"), shown="patches.hidden_dim",
              axis=("stem.proj.weight", 0)),
        Field("patch_size", "architecture", _of_architecture("patch_size"), shown="patches.patch_size",
              axis=[("stem.proj.weight", 2 + side, lambda sizes, found, side=side: sizes[side]) for side in (0, 1)]),
        Field("channels", _INPUT, _of_input(lambda shape: shape[0]), [3, 224, 224]),
        Field("channels", "model_args.in_chans", SIZE, lambda found: found["channels"],
              shown=lambda layers: layers.model.inputs[0].shape[-1], axis=("stem.proj.weight", 1)),
        Field("image_size", _INPUT, _of_input(lambda shape: tuple(shape[1:])), [3, 224, 224]),
        Field("image_size", "model_args.img_size", EXTENT, lambda found: found["image_size"],
              shown=lambda layers: tuple(layers.model.inputs[0].shape[1:3]),
              axis=(f"{_BLOCK}mlp_tokens.fc1.weight", 1, _num_patches)),
        Field("mlp_widths", "model_args.mlp_ratio", _widths, [0.5, 4.0], shown=_shown_widths,
              axis=[(f"{_BLOCK}mlp_tokens.fc1.weight", 0, lambda widths, *_: widths[0]),
                    (f"{_BLOCK}mlp_channels.fc1.weight", 0, lambda widths, *_: widths[1])]),
        Field("include_top", _CLASSES, _HAS_CLASSES, 1000, shown=present("Dense")),
        Field("num_classes", _CLASSES, SIZE, 1000, shown="Dense.units", axis=("head.weight", 0), when={"include_top": True}),
        Field("_pooling", _POOL, only("avg")._replace(write=None), "avg", when={"include_top": True}),
        Field("pooling", _POOL, one_of({"avg": "avg", "": None}), "avg", when={"include_top": False},
              shown=lambda layers: "avg" if layers.of("MaskedMeanPooling") else None),
        Field("include_rescaling", default=False, shown=present("Rescaling")),
        # Left alone by `timm`, whose own rates are others.
        Field("dropout", "dropout_rate", RATE, 0.0, shown="encoder.dropout"),
        Field("drop_path", "drop_path_rate", RATE, 0.0, shown="encoder[-1].drop_path"),
    ),
    checks=(("{image_size} must be a multiple of the patch of {patch_size}.", is_grid),),
    rules=_rules,
    axes=patch_axes,
    constants=_constants,
)  # fmt: skip
