"""What a mask may hold: booleans, or numbers that stand for them."""

import keras
from keras import ops

from .concrete import check_tensor, concrete, is_placeholder
from .run_checks import when_run


def as_booleans(name, mask):
    """Returns a mask as booleans.

    Args:
        name: the argument's name, for the message.
        mask: tensor of booleans, of integers (nonzero: True) or of the floats 0 and 1, or `None`.

    Returns:
        A boolean tensor, or `None`. In a compiled function, where nothing can be raised, floats other than 1 are False: an
        additive mask lets nobody attend. A graph that TensorFlow runs without XLA raises `tf.errors.InvalidArgumentError`.

    Raises:
        ValueError: if the mask is no tensor, or its values are known and are floats other than 0 and 1, as those of an additive
            mask are.
    """
    if mask is None:
        return None
    check_tensor(name, mask)
    if isinstance(mask, keras.KerasTensor):
        return mask if mask.dtype == "bool" else keras.KerasTensor(mask.shape, dtype="bool")
    mask = ops.convert_to_tensor(mask)
    dtype = keras.backend.standardize_dtype(mask.dtype)
    if dtype == "bool":
        return mask
    if "float" not in dtype:
        return ops.cast(mask, "bool")
    real = ops.equal(mask, ops.ones_like(mask))
    if is_placeholder(mask):
        return real
    rule = (
        f"`{name}` must be boolean, True where attending is allowed, or hold 0 and 1 alone; numbers to be added to the scores "
        f"go to `attention_bias`. Received: {name} of dtype {dtype}"
    )
    known = ops.logical_or(real, ops.equal(mask, ops.zeros_like(mask)))
    values = concrete(known)
    if values is None:
        return when_run(real, ops.all(known), f"{rule} with other values.")
    if not values.all():
        other = ops.convert_to_numpy(ops.cast(mask, "float32"))[~values][0]
        raise ValueError(f"{rule} that holds {other}.")
    return real
