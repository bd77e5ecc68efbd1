"""Low-rank adapters on the layers of a model that a few names choose."""

import keras

from . import arguments, graph

# The modes in which Keras has adapters.
_MODES = (None, "int8", "int4")


def enable_lora(model, rank, targets=("query", "value"), alpha=None) -> list[str]:
    """Freezes a model and gives some of its layers low-rank adapters, which are then all that it trains.

    A layer with the kernel W gets two factors A (inputs, rank) and B (rank, outputs), and its kernel becomes
    W + (alpha / rank) A B. B starts as zeros, so that the model's outputs stay what they were. Kernels may be in int8 or
    int4. Biases are frozen too. Compile the model afterwards, also one that was compiled before. New layers that are put around
    it then, such as a head, are trained as ever.

    `model.save` and `keras_tx.applications.save_huggingface` write kernels with the adapters merged in. A model loaded from
    a file of Keras has no adapters, trains the float kernels that had some, and is frozen otherwise. Its optimizer begins anew,
    as Keras warns. A layer that is part of no block, as "logits" or a head, comes back as Keras has it, with an adapter whose
    factors are zero and stay zero. Load `model.save_weights` into a model without adapters there. Should Keras fail to load the
    optimizer of such a model, `keras.models.load_model(path, compile=False)` loads the model alone.

    Args:
        model: built `keras.Model`, such as one of `keras_tx.applications`, or a layer.
        rank: int of at least 1.
        targets: names of the layers that get an adapter, str or list of str: each a layer's name, or the end of its path,
            such as "decoder_0/attention/query". Of an attention "query", "key", "value" and "attention_output"; of a
            feed-forward network "gate", "intermediate" and "output_dense"; of an embedding "token_embedding" and
            "position_embedding".
        alpha: float above 0, or `None` for the rank.

    Returns:
        The paths of the layers that got one, list of str.

    Raises:
        ValueError: if the model is not built, a target is the name of no layer that can have an adapter, or a layer has one
            already, or weights that Keras has no adapters for ("gptq", "awq"). The model is then as it was.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 64, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
    paths = keras_tx.adapters.enable_lora(model, rank=2)  # gpt/decoder_0/attention/query and three more
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ```

    Reference:
        Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.
    """
    rank = arguments.positive_int("rank", rank)
    alpha = arguments.positive_float("alpha", alpha, optional=True)
    if not isinstance(model, keras.Layer) or not model.built:
        raise ValueError(f"`model` must be a built keras.Model. Received: model={model!r}.")
    chosen = _chosen(model, _names(targets))
    for path, layer in chosen.items():
        _check(path, layer)
    _freeze(model, {id(layer) for layer in chosen.values()})
    for layer in chosen.values():
        layer.enable_lora(rank, lora_alpha=alpha)
    if isinstance(model, keras.Model):
        model.compiled = False  # what was compiled on TensorFlow would go on training the weights that are now frozen
    return list(chosen)


def _names(targets):
    """Returns the targets as a list; raises `ValueError` unless they are names."""
    names = [targets] if isinstance(targets, str) else list(targets) if isinstance(targets, (list, tuple, set)) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"`targets` must be names of layers, one at least. Received: targets={targets!r}.")
    return names


def _chosen(model, names):
    """Returns a dict from path to each layer that a target names, which is there once if it has several places."""
    able, seen = {}, set()
    for path, layer in graph.parts(model):
        if callable(getattr(layer, "enable_lora", None)) and id(layer) not in seen:
            seen.add(id(layer))
            able[path] = layer
    for name in names:
        if not any(_names_it(name, path) for path in able):
            known = ", ".join(sorted({path.rpartition("/")[2] for path in able})) or "none"
            raise ValueError(
                f"`targets` must name layers that can have an adapter; {model.name} has {known}. Received: {name!r}."
            )
    return {path: layer for path, layer in able.items() if any(_names_it(name, path) for name in names)}


def _names_it(name, path):
    return path == name or path.endswith(f"/{name}")


def _check(path, layer):
    if layer.lora_enabled:
        raise ValueError(f"`model` must have no adapters yet where it gets some. Received: an adapter in {path}.")
    if layer.quantization_mode not in _MODES:
        raise ValueError(
            "`model` must hold float, int8 or int4 kernels where it gets adapters, as Keras has none for other modes. "
            f"Received: {path} in mode {layer.quantization_mode!r}."
        )


def _freeze(model, adapted):
    """Freezes all weights, and all layers but those that get an adapter and those that hold one."""
    model.trainable = True  # what the caller froze may hold a layer that gets one
    for weight in model.weights:
        weight.trainable = False
    waiting = [model]
    while waiting:
        layer = waiting.pop()
        if id(layer) in adapted:
            continue
        if layer is model or any(id(part) in adapted for _, part in graph.parts(layer)):
            waiting.extend(graph.direct_parts(layer))
        else:
            layer.trainable = False  # and so is what it holds
