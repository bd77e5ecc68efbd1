"""A bias by distance is the bias of all pairs that it stands for, and long attention never holds the pairs."""

import functools
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops import attention
from keras_tx.ops.attention import blockwise, dot_product
from keras_tx.ops.attention.attention_mask import AttentionMask
from keras_tx.ops.attention.distance_bias import DistanceBias, line_of_pairs, pairs_of_line
from keras_tx.ops.random_bits import DropoutMask

from ..layers.execution import BACKEND, array, compiled, gradients, tensor

B, BLOCK, SIZE = 3, 4, 5
# name: (T, S, M, G), radius (None: slopes), what the mask says and which positions are given
CASES = {
    "longer than the sequence": ((9, 9, 2, 1), 12, ""),
    "clipped, blocks that divide nothing": ((10, 7, 1, 2), 2, ""),
    "causal, grouped": ((11, 11, 2, 2), 4, "causal"),
    "causal window, padding": ((13, 13, 2, 1), 3, "causal window keys"),
    "padding, dropout": ((9, 11, 1, 3), 5, "keys dropout bias"),
    "positions of each row": ((9, 10, 2, 2), 4, "keys positions"),
    "positions of all rows": ((9, 9, 2, 1), 4, "causal shared"),
    "slopes": ((10, 9, 1, 2), None, ""),
    "slopes and positions, causal": ((9, 9, 2, 2), None, "causal positions"),
}
every_case = pytest.mark.parametrize("name", CASES)


def operands(name):
    """Returns query, key, value and the values by distance as variables, a plain bias or `None`, and how to attend."""
    (length, num_keys, key_heads, groups), radius, says = CASES[name]
    random, heads = np.random.default_rng(len(name)), key_heads * groups

    def variable(*shape):
        return keras.Variable(random.normal(size=shape).astype("float32"))

    floats = [variable(B, length, heads, SIZE), variable(B, num_keys, key_heads, SIZE)]
    floats.append(variable(B, num_keys, key_heads, SIZE + 1))
    where = {}
    if "positions" in says or "shared" in says:  # of documents side by side, and of a text that was begun before
        rows = () if "shared" in says else (B,)
        for name, count in (("query_positions", length), ("key_positions", num_keys)):
            where[name] = np.sort(random.integers(0, 15, (*rows, count)), axis=-1).astype("int32")
    if radius is None:
        where["slopes"] = random.uniform(0.1, 1.0, heads).astype("float32")
    else:
        floats.append(variable(2 * radius + 1, heads))
    keys = random.random((B, num_keys)) < 0.7
    keys[:, 0] = True
    mask = {"causal": "causal" in says, "window": 3 if "window" in says else None}
    mask["keys"] = tensor(keys) if "keys" in says else None
    others = {"mask": AttentionMask(**mask), "dropout_mask": None, "bias": None}
    if "dropout" in says:
        others["dropout_mask"] = DropoutMask(0.3, tensor(np.array([5, 6], "uint32")))
    if "bias" in says:
        others["bias"] = tensor(random.normal(size=(1, heads, length, num_keys)).astype("float32"))
    return floats, where, others


def reference_bias(values, where, length, num_keys):
    """The bias of all pairs (B or 1, N, T, S), by numpy."""
    queries = where.get("query_positions", np.arange(length))
    keys = where.get("key_positions", np.arange(num_keys))
    distance = np.atleast_2d(keys)[:, None, :] - np.atleast_2d(queries)[:, :, None]
    if "slopes" in where:
        return -np.abs(distance)[:, None] * where["slopes"][:, None, None]
    radius = len(values) // 2
    return np.moveaxis(values[np.clip(distance, -radius, radius) + radius], -1, 1)


def attend(query, key, value, values=None, *, where, others, blocks):
    where = {name: tensor(each) for name, each in where.items()}
    distance_bias = DistanceBias(values, **where)
    if not blocks:
        return attention.dot_product_attention(query, key, value, distance_bias=distance_bias, **others)[0]
    key, value = attention.isolate_nonfinite(key, value)
    query = query * (query.shape[-1] ** -0.5)
    return blockwise.blockwise_attention(query, key, value, block=BLOCK, distance_bias=distance_bias, **others)


@every_case
def test_all_pairs_have_the_bias_of_their_distance(name):
    floats, where, others = operands(name)
    length, num_keys = floats[0].shape[1], floats[1].shape[1]
    wanted = reference_bias(array(floats[3]) if len(floats) > 3 else None, where, length, num_keys)
    bias = tensor(wanted.astype("float32"))
    bias = bias if others["bias"] is None else bias + others["bias"]
    query, key, value = (each.value for each in floats[:3])
    expected, _ = attention.dot_product_attention(query, key, value, **{**others, "bias": bias})
    run = compiled(functools.partial(attend, where=where, others=others, blocks=False))
    np.testing.assert_allclose(array(run(*(each.value for each in floats))), array(expected), atol=1e-5)


@every_case
def test_blocks_give_the_outputs_and_gradients_of_the_whole(name):
    floats, where, others = operands(name)
    found = []
    for blocks in (False, True):
        run = functools.partial(attend, where=where, others=others, blocks=blocks)

        def loss(run=run):
            return ops.sum(ops.sin(3 * run(*(each.value for each in floats))))

        found.append([array(compiled(run)(*(each.value for each in floats))), *gradients(loss, floats)()])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)
    if len(floats) > 3:
        assert np.abs(found[1][-1]).max() > 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 3)])
def test_diagonals_are_copied_and_summed(shape):
    rows, columns = shape
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, rows + columns - 1)).astype("float32"), random.normal(size=(2, *shape))
    pairs = array(pairs_of_line(tensor(x), rows, columns))
    index = rows - 1 - np.arange(rows)[:, None] + np.arange(columns)
    np.testing.assert_array_equal(pairs, x[:, index])
    summed = array(line_of_pairs(tensor(y.astype("float32"))))
    np.testing.assert_allclose((summed * x).sum(), (pairs * y).sum(), rtol=1e-5)  # each is the other's transpose


def sizes_on_jax(function, operands):
    import jax

    def inside(jaxpr):
        for equation in jaxpr.eqns:
            yield from (math.prod(each.aval.shape) for each in equation.outvars)
            for value in jax.tree.leaves(equation.params, is_leaf=lambda each: hasattr(each, "eqns")):
                inner = getattr(value, "jaxpr", value)
                yield from inside(inner) if hasattr(inner, "eqns") else ()

    return list(inside(jax.make_jaxpr(jax.grad(function, (0, 1)))(*operands).jaxpr))


def sizes_on_tensorflow(function, operands):
    import tensorflow as tf

    @tf.function
    def both(*given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            result = function(*given)
        return [each for each in tape.gradient(result, given) if each is not None]

    program = both.get_concrete_function(*operands).graph.as_graph_def(add_shapes=True)
    nodes = [*program.node, *(node for each in program.library.function for node in each.node_def)]
    shapes = [shape for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    return [math.prod(max(axis.size, 1) for axis in shape.dim) for shape in shapes]


def sizes_on_torch(function, operands):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            outputs = operation(*args, **(kwargs or {}))
            found.extend(each.numel() for each in torch.utils._pytree.tree_leaves(outputs) if torch.is_tensor(each))
            return outputs

    given = [each.requires_grad_() for each in operands]
    with Sizes():
        function(*given).backward()
    return found


SIZES = {"jax": sizes_on_jax, "tensorflow": sizes_on_tensorflow, "torch": sizes_on_torch}


@pytest.mark.parametrize("kind", ["values", "positions", "slopes"])
def test_no_array_of_a_long_program_has_an_entry_for_each_pair(kind):
    length, heads = 2560 if BACKEND == "torch" else 8192, 2  # torch has to run it
    assert length * length > dot_product.LONG
    places = {}
    if kind == "positions":
        places = dict.fromkeys(("query_positions", "key_positions"), tensor(np.arange(length) % 700, "int32"))

    def loss(x, values):
        values = {"slopes": ops.sum(values, axis=0)} if kind == "slopes" else {"values": values}
        bias = DistanceBias(**values, **places)
        return ops.sum(attention.dot_product_attention(x, x, x, AttentionMask(causal=True), distance_bias=bias)[0])

    operands = (np.zeros((1, length, heads, 2), "float32"), np.zeros((257, heads), "float32"))
    sizes = SIZES[BACKEND](loss, [tensor(each) for each in operands])
    assert len(sizes) > 100
    assert 512 * 512 <= max(sizes) <= 6 * 512 * 512 < length * length
