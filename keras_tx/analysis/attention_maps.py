"""The attention weights of any functional model, by a walk over its layers."""

from keras import ops

from ..graph import walk
from . import attention_trace


def attention_maps(model, inputs, return_outputs=False):
    """Returns the attention weights of every attention in a functional model, for the given inputs.

    The model is walked, not rebuilt: each layer whose `call` takes `return_attention_scores` is asked for them, and its
    outputs go on as before, so the model's outputs are those of `model(inputs)` to the last bit.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`, made of this package's layers and any others.
            Attention inside a layer that a user wrote himself is reached if that layer takes `return_attention_scores`
            and returns `(outputs, scores)`. Blocks whose positions are mixed without weights, as by `FourierMixing`, are
            left out, and so is a layer that says `gives_attention_scores = False`.
        inputs: a tensor or array, or several in the structure of the model's inputs.
        return_outputs: bool, whether to return the model's outputs too.

    Returns:
        Dict from layer name to float32 array (B, N, T, S): how much of head n's attention at query t goes to key s. Where the
        layer's inputs have more axes before the positions, these stand before N.
        Names of layers in nested models follow that of their model, joined by "/". A decoder with a context has its
        cross-attention under its name with "/cross_attention" appended. With `return_outputs`, a pair `(maps,
        outputs)`.

    Raises:
        ValueError: if the model is a subclassed one, or has no attention.

    Example:

    ```python
    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(16, 2, name="block")(inputs))
    maps = keras_tx.analysis.attention_maps(model, keras.ops.zeros((1, 7, 8)))  # {"block": (1, 2, 7, 7)}
    ```
    """
    maps = {}

    def call_layer(layer, path, args, kwargs):
        if not attention_trace.attends(layer):
            return layer(*args, **kwargs)
        asked = kwargs.get("return_attention_scores", False)
        outputs, scores = layer(*args, **{**kwargs, "return_attention_scores": True})
        parts = scores if isinstance(scores, (tuple, list)) else (scores,)
        for name, part in zip((path, f"{path}/cross_attention"), parts, strict=False):
            if part is not None:  # what mixes positions by other means, beside an attention to a context
                maps[name] = ops.convert_to_numpy(part)
        return (outputs, scores) if asked else outputs

    outputs = walk(model, inputs, call_layer)
    if not maps:
        raise attention_trace.no_attention(model)
    return (maps, outputs) if return_outputs else maps
