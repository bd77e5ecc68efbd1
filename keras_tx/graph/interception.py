"""A layer called as ever on inputs that a function of the caller's has changed."""

import contextlib


@contextlib.contextmanager
def changed_inputs(layer, change):
    """While it lasts, whoever calls a layer has it work on `change(inputs)`. No weight is touched, nothing is built anew.

    What calls the layer from inside another one is reached too, and a quantized layer or one with adapters works as ever.
    It is for eager runs by one thread: a graph that is traced meanwhile would keep the change.

    Args:
        layer: built `keras.Layer`.
        change: function from the first argument of its `call` to what stands in its place.

    Example:

    ```python
    dense = keras.layers.Dense(3)
    dense.build((None, 2))
    with keras_tx.graph.changed_inputs(dense, keras.ops.zeros_like):
        bias_alone = dense(keras.ops.ones((1, 2)))
    ```
    """
    own = vars(layer)
    before = {name: own[name] for name in ("call", "quantized_call") if name in own}
    replaced = {
        name: _changed(getattr(layer, name), change) for name in ("call", "quantized_call") if hasattr(layer, name)
    }
    own.update(replaced)  # beside what Keras and torch track, and found before the methods of the class
    try:
        yield
    finally:
        for name in replaced:
            del own[name]
        own.update(before)


def _changed(call, change):
    return lambda inputs, *args, **kwargs: call(change(inputs), *args, **kwargs)
