"""The residual branch that every block is made of: a sublayer with its norm before or after it."""

from keras import ops

from . import input_checks, sublayers
from .drop_path import DropPath
from .dropout import Dropout
from .normalization import LayerNormalization


def make_norm(block, name):
    """Returns a layer normalization with the block's epsilon and dtype policy. Its statistics run in float32 or wider."""
    return LayerNormalization(epsilon=block.layer_norm_epsilon, name=name, dtype=block.dtype_policy)


def make_drops(block, name, drop_path=0.0):
    """Returns the layers that thin a branch out in training, in the order in which they apply."""
    drops = [Dropout(block.dropout, name=f"{name}_dropout", dtype=block.dtype_policy)]
    if drop_path:
        drops.append(DropPath(drop_path, name=f"{name}_drop_path", dtype=block.dtype_policy))
    return drops


def build(norm, drops, input_shape):
    """Builds what surrounds a sublayer."""
    for layer in (norm, *drops):
        sublayers.build_once(layer, input_shape)


def apply(inputs, sublayer, norm, drops, normalize_first, training):
    """x + drop(f(norm(x))) with the norm first (Xiong et al. 2020), norm(x + drop(f(x))) with it last (Vaswani et al.
    2017).

    Args:
        inputs: float tensor (..., D), whose dtype the outputs have, whatever the parts compute in.
        sublayer: function x -> (f(x), extras), the extras a tuple handed through.
        norm: the normalization layer.
        drops: layers applied to f(x), in order.
        normalize_first: bool.
        training: bool or `None`.

    Returns:
        The outputs (..., D), and the extras.

    Raises:
        ValueError: if the sublayer, which may be a caller's own, gives another shape than that of its inputs.
    """
    x, extras = sublayer(norm(inputs) if normalize_first else inputs)
    input_checks.check_branch(inputs, x, norm.name.removesuffix("_norm"))
    for drop in drops:
        x = drop(x, training=training)
    x = inputs + ops.cast(x, inputs.dtype)
    return (x if normalize_first else ops.cast(norm(x), inputs.dtype)), extras
