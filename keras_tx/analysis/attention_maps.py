"""The attention weights of any functional model, by a walk over its layers."""

from keras import ops

from ..graph import walk
from ..layers import cache_protocol


def attention_maps(model, inputs, return_outputs=False):
    """Returns the attention weights of every attention in a functional model, for the given inputs.

    The model is walked, not rebuilt: each layer whose `call` takes `return_attention_scores` is asked for them, and its
    outputs go on as before, so the model's outputs are those of `model(inputs)` to the last bit.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`, made of this package's layers and any others.
            Attention inside a layer that a user wrote himself is reached if that layer takes `return_attention_scores`
            and returns `(outputs, scores)`.
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
        if not cache_protocol.takes(layer, "return_attention_scores"):
            return layer(*args, **kwargs)
        asked = kwargs.get("return_attention_scores", False)
        outputs, scores = layer(*args, **{**kwargs, "return_attention_scores": True})
        own, *cross = scores if isinstance(scores, (tuple, list)) else (scores,)
        maps[path] = ops.convert_to_numpy(own)
        for part in cross:
            maps[f"{path}/cross_attention"] = ops.convert_to_numpy(part)
        return (outputs, scores) if asked else outputs

    outputs = walk(model, inputs, call_layer)
    if not maps:
        raise ValueError(
            "`model` must have a layer that attends, such as MultiHeadSelfAttention or TransformerEncoder. Received: "
            f"{model.name} with layers {[layer.name for layer in model.layers]}."
        )
    return (maps, outputs) if return_outputs else maps
