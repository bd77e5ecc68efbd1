"""The file of a folder that prepares pixels, for models that rescale them in a layer of their own.

Loaded models take `pixel_values`, numbers that the folder's processor has normalized. A model that rescales pixels itself is
saved without this layer and with a `preprocessor_config.json` that does the same.
"""

import keras
import numpy as np

from ...checkpoints import json_bytes

_FACTOR = 1 / 255  # by which processors rescale before they normalize
_BICUBIC = 3


def statistics(model):
    """Returns the means and the deviations by which a model's rescaling normalizes channels; `None` if it has none.

    (f p - m) / s = a p + b for a pixel p, with s = f / a and m = -b s.
    """
    layer = next((layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)), None)
    if layer is None:
        return None
    scale, offset = (np.ravel(np.asarray(value, "float64")) for value in (layer.scale, layer.offset))
    std = _FACTOR / scale
    mean, std = np.broadcast_arrays(-offset * std, std, np.zeros(model.inputs[0].shape[-1]))[:2]
    return [[round(float(value), 12) for value in values] for values in (mean, std)]


def files(model, size=None, kind="ViTImageProcessor", **options):
    """Returns the file that prepares pixels as the model's rescaling does, by its name; no file if it has none.

    `size` is (rows, columns) to which images are to be resized, `None` to leave them as they are; `kind` is the class of
    `transformers` that reads the file, `options` its own.
    """
    found = statistics(model)
    if found is None:
        return {}
    mean, std = found
    found = {
        "image_processor_type": kind,
        "do_resize": size is not None,
        "resample": _BICUBIC,
        "do_rescale": True,
        "rescale_factor": _FACTOR,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
        **options,
    }
    if size is not None:
        found["size"] = {"height": size[0], "width": size[1]}
    return {"preprocessor_config.json": json_bytes(found)}
