"""The costs of operations of `keras.ops` in a graph, between the layers."""

import math

import numpy as np

from .record import LayerCosts, elements

_UNKNOWN = frozenset(
    [
        "Conv",
        "DepthwiseConv",
        "SeparableConv",
        "ConvTranspose",
        "CDist",
        "Correlate",
        "FFT",
        "FFT2",
        "IFFT2",
        "RFFT",
        "IRFFT",
        "STFT",
        "ISTFT",
        "Cholesky",
        "Det",
        "Eig",
        "Eigh",
        "Inv",
        "CholeskyInverse",
        "Logdet",
        "MatrixRank",
        "Pinv",
        "LuFactor",
        "Qr",
        "Solve",
        "SolveTriangular",
        "SVD",
        "Lstsq",
    ]
)


def operation_costs(operation, path, args, kwargs, outputs) -> LayerCosts:
    """Returns what an operation costs: products are counted, all that goes element by element is not.

    Raises:
        ValueError: for a transform or a solver, whose costs are not known here.
    """
    name = type(operation).__name__
    operands = [*args, *kwargs.values()]  # constants of the graph among them
    if name in _PRODUCTS:
        return LayerCosts({"dense": _PRODUCTS[name](operation, *map(_shape, operands[:2])) * elements(outputs)})
    if name == "Einsum":
        return LayerCosts({"dense": _einsum(operation.subscripts, list(map(_shape, operands)))})
    if name == "DotProductAttention":
        query, key = operands[:2]
        pairs = 2 * elements(query) * key.shape[1]
        return LayerCosts({"attention": pairs}, pairs, pairs)
    if name in _UNKNOWN:
        raise ValueError(
            "`model` must be made of layers and operations whose costs are known: put this one into a layer with a method "
            f"`count_costs(...)`. Received: {path} of class {name}."
        )
    return LayerCosts()


def _shape(operand):
    return tuple(operand.shape) if hasattr(operand, "shape") else np.shape(operand)


def _last(operation, first, second):
    """How many products are summed for each output of a product over the last axis of the first factor; 0 for a scalar."""
    return first[-1] if first and second else 0


def _over_axes(operation, first, second):
    if isinstance(operation.axes, int):
        return math.prod(first[len(first) - operation.axes :])
    return math.prod(first[axis] for axis in operation.axes[0])


_PRODUCTS = {
    "Matmul": _last,
    "Dot": _last,
    "Inner": _last,
    "Tensordot": _over_axes,
    "Vdot": lambda operation, first, second: math.prod(first),
}


def _einsum(subscripts, shapes):
    """Returns how many products a sum by Einstein's convention has: one for each value of all indices."""
    if len(shapes) < 2:
        return 0  # a sum or another order of the axes
    sizes, unnamed = {}, []
    for labels, shape in zip(subscripts.replace(" ", "").split("->")[0].split(","), shapes, strict=True):
        before, dots, after = labels.partition("...")
        kept = len(shape) - len(after)
        if dots:
            unnamed.append(shape[len(before) : kept])
        for label, size in [*zip(before, shape, strict=False), *zip(after, shape[kept:], strict=True)]:
            sizes[label] = max(size, sizes.get(label, 1))  # one of size 1 broadcasts
    return math.prod(sizes.values()) * math.prod(np.broadcast_shapes(*unnamed))
