"""One step of cached decoding, by a walk over any functional model whose layers keep the cache protocol."""

from ..graph import layer_calls, walk
from ..layers import decode_state


def steppers(model):
    """Returns the layers of a functional model that have a cache, as a dict from path (see `graph.walk`) to layer."""
    return {path: layer for path, layer in layer_calls(model).items() if decode_state.is_stepper(layer)}


def init_caches(model, batch_size, max_length, contexts=None):
    """Returns an empty cache for every layer of a functional model that has one.

    Args:
        model: functional `keras.Model`.
        batch_size: int, B.
        max_length: int, the most tokens that the caches hold, padding included.
        contexts: dict from path to keyword arguments of that layer's `init_cache` (such as `context`), or `None`.

    Returns:
        Dict from layer path to cache: a pytree that goes through compiled functions and loops.

    Raises:
        ValueError: if no layer of the model has a cache, naming the layers that would give it one.

    Example:

    ```python
    ids = keras.Input((None,), dtype="int32")
    x = keras_tx.layers.TokenAndPositionEmbedding(50, 16, 8)(ids)
    model = keras.Model(ids, keras_tx.layers.TransformerDecoder(16, 2, name="block")(x))
    caches = keras_tx.decoding.init_caches(model, batch_size=1, max_length=16)
    outputs, caches = keras_tx.decoding.step(model, np.array([[3, 4, 5]]), caches)  # the prompt
    outputs, caches = keras_tx.decoding.step(model, np.array([[6]]), caches)  # one more token
    ```
    """
    contexts = contexts or {}
    found = steppers(model)
    if not found:
        raise ValueError(
            "`model` must have layers with a cache to be decoded, such as TransformerDecoder or "
            "MultiHeadSelfAttention(causal=True), and TokenAndPositionEmbedding or SinusoidalPositionEncoding for "
            f"positions. Received: {model.name} with layers {[layer.name for layer in model.layers]}."
        )
    return {path: layer.init_cache(batch_size, max_length, **contexts.get(path, {})) for path, layer in found.items()}


def step(model, inputs, caches, mask=None):
    """Runs a functional model on the next T tokens of each row: the prompt at once, or one token at a time.

    Args:
        model: functional `keras.Model` whose first input is the token ids.
        inputs: int32 ids (B, T), or the model's inputs with them, in its structure.
        caches: dict from `init_caches`, or from the step before.
        mask: boolean (B, T), which of the ids are real, or `None` if the model knows or all are. Ids that are not real
            take no position, and nobody attends to them.

    Returns:
        The model's outputs for these tokens, such as logits (B, T, V), and the new caches. Outputs equal those of the
        model on the whole sequence, to rounding.
    """
    new_caches = dict(caches)

    def call_layer(layer, path, args, kwargs):
        if mask is not None and decode_state.takes(layer, "mask") and path in caches:
            kwargs = {**kwargs, "mask": mask}
        if path not in caches:
            return layer(*args, **kwargs)
        outputs, new_caches[path] = layer(*args, **{**kwargs, "cache": caches[path]})
        return outputs

    return walk(model, inputs, call_layer), new_caches
