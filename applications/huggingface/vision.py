"""What the folders of models of images have in common: sizes and heads in their configs, the rules of a linear map and of an
attention, and what prepares pixels.

Loaded models take `pixel_values`, numbers that the folder's processor has normalized. A model that rescales pixels itself is
saved without this layer and with a `preprocessor_config.json` that does the same.
"""

import keras
import numpy as np

from ... import graph
from ...checkpoints import Rule, json_bytes
from . import adapters, likeness

PREPROCESSOR = "preprocessor_config.json"
PROJECTION = "embeddings.patch_embeddings.projection.weight"
_SWAPPED = "in out -> out in"
_FACTOR = 1 / 255  # by which processors rescale before they normalize
_BICUBIC = 3


def dense(tensor, path, pattern=_SWAPPED, bias_pattern=None):
    """Returns the rules of a linear map."""
    return Rule(f"{tensor}.weight", f"{path}/kernel", pattern), Rule(f"{tensor}.bias", f"{path}/bias", bias_pattern)


def norm(tensor, path):
    """Returns the rules of a layer normalization."""
    return Rule(f"{tensor}.weight", f"{path}/gamma"), Rule(f"{tensor}.bias", f"{path}/beta")


def block(tensor, projections, path, attention):
    """Returns the rules of an encoder block.

    Args:
        tensor: str, template of what the names of its tensors start with.
        projections: str, what follows for query, key and value.
        path: str, template of the block's name.
        attention: str, template of the path of the attention that has the projections.
    """
    into = ("hidden head size -> (head size) hidden", "head size -> (head size)")
    out = "head size hidden -> hidden (head size)"
    return (
        *(
            rule
            for part in ("query", "key", "value")
            for rule in dense(f"{tensor}.{projections}.{part}", f"{attention}/{part}", *into)
        ),
        *dense(f"{tensor}.attention.output.dense", f"{attention}/attention_output", out),
        *norm(f"{tensor}.layernorm_before", f"{path}/attention_norm"),
        *norm(f"{tensor}.layernorm_after", f"{path}/feed_forward_norm"),
        *dense(f"{tensor}.intermediate.dense", f"{path}/feed_forward/intermediate"),
        *dense(f"{tensor}.output.dense", f"{path}/feed_forward/output_dense"),
    )


# A convolution whose stride is its kernel.
PATCHES = (
    Rule(PROJECTION, "patch_embedding/projection/kernel", "(row column channel) out -> out channel row column"),
    Rule("embeddings.patch_embeddings.projection.bias", "patch_embedding/projection/bias"),
)


def sized(rules, patch_size):
    """Returns the rules for patches of a size."""
    rows, columns = patch_size
    return tuple(rule.sized(row=rows, column=columns) for rule in rules)


def architecture(config, checkpoint, architectures):
    """Returns the options of the architecture that a config names; where it names none, of the first whose head is there.

    `architectures` is a dict from name to (name of the head's tensor or `None`, options).
    """
    if config.has("architectures"):
        return config.only("architectures", architectures)[1]
    return next(
        options for head, options in architectures.values() if head is None or f"{head}.weight" in checkpoint.shapes
    )


_RATES = {"dropout": "hidden_dropout_prob", "attention_dropout": "attention_probs_dropout_prob"}


def rates(config):
    """Returns the rates of dropout of a config, by the arguments that take them."""
    return {argument: config.rate(key, default=0.0) for argument, key in _RATES.items()}


def rates_config(arguments):
    """Returns what a config holds of the rates of dropout."""
    return {key: arguments[argument] for argument, key in _RATES.items()}


def weights(model):
    """Returns the weights of a model of ours by their paths."""
    return {_path(layer, weight): weight for layer in graph.layer_calls(model).values() for weight in layer.weights}


def checker(model, name):
    """Returns a function `(is right, what the model has)` that raises the refusal of a model that is no such one."""

    def check(is_right, received):
        if not is_right:
            raise ValueError(
                f"`model` must be a {name} to be saved as one, wired as `{name}` does. Received: {model.name} with {received}."
            )

    return check


def first(model, kind, check):
    """Returns the first layer of a class."""
    found = next((layer for layer in graph.layer_calls(model).values() if isinstance(layer, kind)), None)
    check(found is not None, f"no {kind.__name__}")
    return found


def matched(model, build, check):
    """Returns the weights of a model by the paths that they have in a reference, which `build()` makes without values.

    Raises the refusal of `check` if the two are not alike but for names.
    """
    with graph.without_values():
        reference = build()
    try:
        pairs = likeness.pairs(model, reference)
    except likeness.Difference as difference:
        check(False, difference)
    found = {}
    for layer, known in pairs:
        own, paths = adapters.own_weights(layer), [_path(known, weight) for weight in known.weights]
        check(len(own) == len(paths), f"other weights in {layer.name}")
        found.update(zip(paths, own, strict=True))
    return found


def head_config(num_classes):
    """Returns what a config holds of the classes of a head."""
    labels = [f"LABEL_{number}" for number in range(num_classes)]
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def dtype_of(found):
    """Returns the dtype that a config names."""
    return keras.backend.standardize_dtype(found["patch_embedding/projection/kernel"].dtype)


def preprocessor(model, size=None):
    """Returns the file that prepares pixels as the model's rescaling does; no file if it has none.

    (f p - m) / s = a p + b for a pixel p, with s = f / a and m = -b s.

    Args:
        model: `keras.Model`.
        size: (rows, columns) to which images are to be resized; `None` to leave them as they are.

    Returns:
        Dict from name to bytes.
    """
    layer = next((layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)), None)
    if layer is None:
        return {}
    scale, offset = (np.ravel(np.asarray(value, "float64")) for value in (layer.scale, layer.offset))
    std = _FACTOR / scale
    mean, std = np.broadcast_arrays(-offset * std, std, np.zeros(model.inputs[0].shape[-1]))[:2]
    found = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": size is not None,
        "resample": _BICUBIC,
        "do_rescale": True,
        "rescale_factor": _FACTOR,
        "do_normalize": True,
        "image_mean": [round(float(value), 12) for value in mean],
        "image_std": [round(float(value), 12) for value in std],
    }
    if size is not None:
        found["size"] = {"height": size[0], "width": size[1]}
    return {PREPROCESSOR: json_bytes(found)}


def one_or_pair(sizes):
    """Returns (rows, columns) as configs have it."""
    return sizes[0] if sizes[0] == sizes[1] else list(sizes)


def _path(layer, weight):
    """The path of a weight from the name of its layer on."""
    return layer.name + "/" + weight.path.split(layer.name + "/", 1)[1]
