"""The costs of operations of `keras.ops` in a graph, between the layers."""

import keras

from .record import LayerCosts, elements

_UNKNOWN = frozenset(
    [
        "Conv",
        "DepthwiseConv",
        "SeparableConv",
        "ConvTranspose",
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
    tensors = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, keras.KerasTensor)]
    if name in ("Matmul", "Dot"):
        return LayerCosts({"dense": elements(outputs) * tensors[0].shape[-1]})
    if name == "Einsum":
        sizes = {}
        for labels, tensor in zip(
            operation.subscripts.replace(" ", "").split("->")[0].split(","), tensors, strict=True
        ):
            sizes |= dict(zip(labels, tensor.shape, strict=True))
        return LayerCosts({"dense": elements(sizes.values())})
    if name == "DotProductAttention":
        query, key = tensors[:2]
        pairs = 2 * elements(query) * key.shape[1]
        return LayerCosts({"attention": pairs}, pairs, pairs)
    if name in _UNKNOWN:
        raise ValueError(
            "`model` must be made of layers and operations whose costs are known: put this one into a layer with a method "
            f"`count_costs(...)`. Received: {path} of class {name}."
        )
    return LayerCosts()
