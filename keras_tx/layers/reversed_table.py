"""The product of hidden states with a table of embeddings, also where the table is quantized."""

import keras
from keras import ops

from ..ops import eight_bits, linear
from ..ops.custom_gradient import custom_gradient


def logits(table, rows):
    """Scores each row of an embedding table: what `table(rows, reverse=True)` gives, with gradients that can be trained on.

    Keras rounds the inputs of a quantized product, and the gradient of rounding is zero: what reaches the layers before is
    that of the scales alone. Here the rounding is passed straight through, as in Keras' own quantized `Dense`. And an adapter
    of a quantized table, which Keras leaves out, counts here as it does where the table embeds.

    Args:
        table: built `keras.layers.ReversibleEmbedding` with tied weights, in whatever quantization mode.
        rows: float tensor (T, D).

    Returns:
        A float tensor (T, V).
    """
    if type(table) is not keras.layers.ReversibleEmbedding:
        return table(rows, reverse=True)
    if table.quantization_mode is None:
        dtype = table.reverse_dtype or rows.dtype
        scores = linear.rows_times_table(ops.cast(rows, dtype), ops.cast(table.embeddings, dtype))
    elif table.quantization_mode != "int8" and table.inputs_quantizer is None and not table.lora_enabled:
        return table(rows, reverse=True)
    else:
        scores = _quantized(table, rows)
    cap = table.logit_soft_cap
    return scores if cap is None else ops.tanh(scores / cap) * cap


def _quantized(table, rows):
    scores = _product(table, rows)
    if table.lora_enabled:
        change = ops.matmul(
            ops.matmul(rows, ops.transpose(table.lora_embeddings_b)), ops.transpose(table.lora_embeddings_a)
        )
        scores = scores + ops.cast((table.lora_alpha / table.lora_rank) * change, scores.dtype)
    return scores


def _product(table, rows):
    dtype = table.compute_dtype
    stored = {weight.name: ops.convert_to_tensor(weight) for weight in table.weights}
    integers, scale = stored["embeddings"], stored["embeddings_scale"]
    if table.quantization_mode == "int8":
        return eight_bits.product(rows, integers, scale, dtype, table.inputs_quantizer)
    if table.quantization_mode == "int4":
        integers = keras.quantizers.unpack_int4(integers, table.output_dim, axis=-1)
    groups = [stored[name] for name in ("embeddings_zero", "g_idx") if name in stored]

    def floats(integers, scale, zero=None, group=None):
        """(V, D): what the integers stand for."""
        if group is None:
            return ops.cast(integers, dtype) / ops.cast(scale, dtype)[:, None]
        group = ops.cast(group, "int32")
        zero = ops.cast(ops.take(zero, group, axis=-1), dtype)
        return (ops.cast(integers, dtype) - zero) * ops.cast(ops.take(scale, group, axis=-1), dtype)

    def forward(rows, integers, scale, *groups):
        residuals = (integers, scale, *groups)
        rounded, steps = (rows, None) if table.inputs_quantizer is None else table.inputs_quantizer(rows)
        if groups:
            scores = ops.matmul(rounded, ops.transpose(floats(integers, scale, *groups)))
        else:
            scores = ops.cast(ops.matmul(rounded, ops.transpose(integers)), dtype)
            steps = scale if steps is None else ops.multiply(steps, scale)
        return (scores if steps is None else ops.divide(scores, steps),), residuals

    def backward(residuals, upstream):
        gradient = ops.matmul(upstream[0], floats(*residuals))
        return (ops.cast(gradient, rows.dtype), *(None for _ in residuals))

    return custom_gradient(forward, backward)(rows, integers, scale, *groups)[0]
