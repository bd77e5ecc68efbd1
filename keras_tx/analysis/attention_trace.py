"""The attention of a model whose layers attend one after the other, with where their positions lie on an image."""

import inspect
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from ..graph import call_origins, layer_calls, layers_before, walk
from ..layers import cache_protocol
from ..ops import padding


class Grid(NamedTuple):
    """Where the positions of an image model lie.

    Attributes:
        rows: int, of positions.
        columns: int.
        stride: (rows, columns) of pixels between two positions.
        num_tokens: int, how many positions before those of the grid belong to no place, such as a class token.
    """

    rows: int
    columns: int
    stride: tuple
    num_tokens: int


def trace(model, inputs, attend, merge=None):
    """Walks a model and hands over what its attention layers attend to.

    What a layer does to positions is read off its attributes: `position_stride`, of a layer that maps a map (B, Y, X, D) to
    a coarser one, and `num_tokens`, of one that puts tokens before the positions.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`, which passed `check_chain`.
        inputs: a tensor or array, or several in the structure of the model's inputs.
        attend: function `(path, scores, grid, moved)`, called with the scores (B, N, T, T) of each attention as a numpy array,
            the `Grid`, or `None` where no layer has told of one, and the path of the last layer before this attention and
            after the one before that moved positions and tells of nothing, or `None`: a Permute, or before there is a grid
            one that changes the size of a map.
        merge: function `(path, weights)`, called where positions are merged after a layer attended to them: weights (B, T',
            T) say how much of each new position an old one is.

    Raises:
        ValueError: for a model in which a layer attends to another sequence than its own, or to sequences with more axes before
            the positions than the batch.
    """
    grid, attended, moved = None, False, None

    def call_layer(layer, path, args, kwargs):
        nonlocal grid, moved
        if attends(layer):
            return attention(layer, path, args, kwargs)
        outputs = layer(*args, **kwargs)
        shape = tuple(args[0].shape) if args and hasattr(args[0], "shape") else ()
        stride = getattr(layer, "position_stride", None)
        if stride is not None and len(shape) == 4:
            if merge is not None and attended:
                mask = padding.given_or_implicit(kwargs.get("mask"), args[0])
                merge(path, merging_weights(shape[0], shape[1:3], stride, mask))
            stride = tuple(stride) if grid is None else (grid.stride[0] * stride[0], grid.stride[1] * stride[1])
            grid = Grid(*outputs.shape[1:3], stride, 0)
        elif grid is not None and isinstance(getattr(layer, "num_tokens", None), int):
            grid = grid._replace(num_tokens=grid.num_tokens + layer.num_tokens)
        elif _moves(layer, shape, outputs, grid):
            moved = path
        return outputs

    def attention(layer, path, args, kwargs):
        nonlocal attended, moved
        asked = kwargs.get("return_attention_scores", False)
        outputs, scores = layer(*args, **{**kwargs, "return_attention_scores": True})
        if isinstance(scores, (tuple, list)) or crosses(layer, args, kwargs):
            raise ValueError(
                f"Every layer must attend to its own sequence. Received: {path}, which attends to another one as well."
            )
        if len(scores.shape) != 4:
            raise ValueError(
                "Every layer must attend to sequences of one batch axis. Received: "
                f"{path}, with attention weights of shape {tuple(scores.shape)}."
            )
        attend(path, ops.convert_to_numpy(scores), grid, moved)
        attended, moved = True, None
        return (outputs, scores) if asked else outputs

    walk(model, inputs, call_layer)


def check_chain(model):
    """Raises `ValueError` unless a model has layers that attend, each of which depends on the one before."""
    paths = [path for path, layer in layer_calls(model).items() if attends(layer)]
    if not paths:
        raise no_attention(model)
    before = layers_before(model)
    for first, second in zip(paths, paths[1:], strict=False):
        if first not in before[second]:
            raise ValueError(
                "`model` must attend in one layer after the other, not in branches. Received: "
                f"{model.name}, in which {second} does not depend on {first}."
            )


def check_unmixed(model):
    """Raises `ValueError` if positions are mixed by other means than attention between two layers that attend."""
    calls, before = layer_calls(model), layers_before(model)
    paths = [path for path, layer in calls.items() if attends(layer)]
    for path in _mixers(model):
        if paths[0] in before[path] and path in before[paths[-1]]:
            raise ValueError(
                "`model` must mix positions by attention alone between its first layer that attends and its last, as other means "
                f"have no weights to follow. Received: {model.name} with {_mixing(path, calls[path])} after {paths[0]} and "
                f"before {paths[-1]}."
            )


def no_attention(model):
    """Returns the error for a model without a layer that attends."""
    mixers = _mixers(model)
    found = f" Without weights are {', '.join(_mixing(*each) for each in mixers.items())}." if mixers else ""
    return ValueError(
        "`model` must have a layer that attends, such as MultiHeadSelfAttention or TransformerEncoder. Received: "
        f"{model.name} with layers {[layer.name for layer in model.layers]}.{found}"
    )


def _mixers(model):
    """Dict from path to each layer that mixes positions by other means than attention."""
    return {path: layer for path, layer in layer_calls(model).items() if cache_protocol.mixes_without_scores(layer)}


def _mixing(path, layer):
    part = getattr(layer, "attention", None)
    return f"{path} of class {type(layer).__name__}" + (f" with a {type(part).__name__}" if part is not None else "")


def examples(inputs):
    """Yields the inputs cut into batches of one: the weights of one image alone may take a gigabyte."""
    inputs = keras.tree.map_structure(ops.convert_to_numpy, inputs)
    counts = {len(part) if part.ndim else 0 for part in keras.tree.flatten(inputs)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "`inputs` must hold arrays of one batch size, at least 1. Received: arrays of shapes "
            f"{[part.shape for part in keras.tree.flatten(inputs)]}."
        )
    for index in range(counts.pop()):
        yield keras.tree.map_structure(lambda part, at=index: part[at : at + 1], inputs)


def attends(layer):
    """Returns whether a layer can be asked for its attention weights."""
    return cache_protocol.gives_scores(layer)


def mixes(layer):
    """Returns whether a layer attends, or says that it mixes positions by other means."""
    return attends(layer) or cache_protocol.mixes_without_scores(layer)


def merging_weights(batch, sizes, stride, mask=None):
    """Returns how much of each position of a coarser map the positions of a map are: (B, Y' X', Y X) in float32.

    Each is the mean of those that it covers and that are real; if none is, of all that it covers.

    Args:
        batch: int, B.
        sizes: (Y, X).
        stride: (rows, columns) of the map that become one.
        mask: boolean tensor (B, Y, X), or `None`.
    """
    covered = np.ones((1, 1))
    for size, step in zip(sizes, stride, strict=True):
        part = np.arange(-(-size // step))[:, None] == np.arange(size) // step
        covered = np.kron(covered, part)
    covered = np.broadcast_to(covered, (batch, *covered.shape)).astype("float32")
    if mask is not None:
        real = covered * ops.convert_to_numpy(mask).reshape(batch, 1, -1)
        covered = np.where(real.sum(-1, keepdims=True) > 0, real, covered)
    return covered / covered.sum(-1, keepdims=True)


def _moves(layer, shape, outputs, grid):
    """Returns whether a layer, which tells of nothing, gives positions another order, or the pixels of images another size."""
    if isinstance(layer, keras.layers.Permute):
        return tuple(layer.dims) != tuple(sorted(layer.dims))
    after = tuple(getattr(outputs, "shape", ()))
    same_pixels = isinstance(layer, (keras.layers.Cropping2D, keras.layers.ZeroPadding2D))
    return grid is None and len(shape) == len(after) == 4 and shape[1:3] != after[1:3] and not same_pixels


def crosses(layer, args, kwargs):
    """Returns whether a layer was handed another sequence to attend to than its first argument."""
    given = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    first = next(iter(given.values()))
    others = [given.get(name) for name in ("context", "key", "value")]
    return any(other is not None and other is not first for other in others)


def crossing(model, maps):
    """Returns the names of layers whose keys are another sequence than their queries, a set.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        maps: dict from layer name to weights (..., T, S), as `attention_maps` returns it.
    """
    found = set()
    for path, (origin, args, kwargs) in call_origins(model).items():
        cross = f"{path}/cross_attention"
        if cross in maps:
            found.add(cross)
        elif path in maps and crosses(origin.operation, args, kwargs):
            found.add(path)
    return found | {path for path, scores in maps.items() if scores.shape[-2] != scores.shape[-1]}
