"""The vectors of tokens and of texts at any depth of a model, and which of them point the same way."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from .. import arguments
from ..graph import layer_calls, walk
from ..ops import padding
from . import attention_trace


class Similarity(NamedTuple):
    """Vectors by depth, as `similarity` returns them. A nearness is the cosine of the angle, nan for a vector of zeros.

    Attributes:
        tokens: dict from layer name to float32 array (B, T, D).
        pooled: dict from layer name to float32 array (B, D), the mean over the real positions of a row.
        mask: boolean array (B, T), the real positions.
    """

    tokens: dict
    pooled: dict
    mask: np.ndarray

    def between(self, first, second) -> dict[str, float]:
        """Returns how near two tokens are at each depth, a dict from layer name to cosine.

        Args:
            first: pair of a row and a position, which must be a real one.
            second: another.
        """
        places = [self._place(name, place) for name, place in (("first", first), ("second", second))]
        return {
            name: float(np.dot(*(_directions(vectors[place]) for place in places)))
            for name, vectors in self.tokens.items()
        }

    def neighbours(self, layer, row, position=None, count=5) -> list[tuple]:
        """Lists what is nearest to a token among all real tokens, or to a text among all, the nearest first.

        Args:
            layer: name of a layer.
            row: int.
            position: int, or `None` for the text as a whole.
            count: int of at least 1.

        Returns:
            List of `count` tuples, or of as many as there are: (row, position, cosine), or (row, cosine) of texts.
        """
        if layer not in self.tokens:
            raise ValueError(f"`layer` must be one of {', '.join(self.tokens)}. Received: layer={layer!r}.")
        count = arguments.positive_int("count", count)
        if position is None:
            row = arguments.integer("row", row, least=0, most=len(self.mask) - 1)
            vectors, places, own = self.pooled[layer], [(each,) for each in range(len(self.mask))], (row,)
        else:
            own = self._place("row and position", (row, position))
            vectors, places = (
                self.tokens[layer][self.mask],
                [tuple(map(int, place)) for place in np.argwhere(self.mask)],
            )
        directions = _directions(vectors)
        cosines = directions @ directions[places.index(own)]
        order = [index for index in np.argsort(-cosines, kind="stable") if places[index] != own]
        return [(*places[index], float(cosines[index])) for index in order[:count]]

    def _place(self, name, place):
        rows, length = self.mask.shape
        place = tuple(place)
        inside = len(place) == 2 and all(map(arguments.is_integer, place))
        if not inside or not (0 <= place[0] < rows and 0 <= place[1] < length) or not self.mask[place]:
            raise ValueError(
                f"`{name}` must be a row and a position of a real token, of {rows} rows and {length} positions. "
                f"Received: {place}."
            )
        return place


def similarity(model, inputs, layer=None, mask=None) -> Similarity:
    """Returns the vectors of tokens and of texts at some depths of a functional model, to be compared.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        inputs: a tensor or array, or several in the structure of the model's inputs.
        layer: name of a layer, as `attention_maps` has it, or a list of names: each must give (B, T, D), of one T. `None` for
            each layer that attends, and for the layer before the first of them, which gives the same positions.
        mask: booleans (B, T), True at real positions; `None` for the mask that Keras carries, if any.

    Returns:
        A `Similarity`.

    Raises:
        ValueError: if the model is a subclassed one or has no such layer, a layer gives something else, or a row has no real
            position.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 16, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
    vectors = keras_tx.analysis.similarity(model, np.array([[7, 8, 9], [9, 5, 7]]))
    by_depth = vectors.between((0, 0), (1, 2))  # of the two tokens 7: how near they are at each depth
    near = vectors.neighbours("decoder_1", row=0, position=1, count=2)  # [(row, position, cosine), ...]
    ```

    Reference:
        Ethayarajh 2019, "How Contextual are Contextualized Word Representations?", section 3, for the same word in several
        sentences by depth.
    """
    calls = layer_calls(model)
    chosen = _chosen(calls, layer)
    given = {}

    def call_layer(layer, path, args, kwargs):
        outputs = layer(*args, **kwargs)
        given[path] = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        return outputs

    walk(model, inputs, call_layer)
    if layer is None:
        chosen = _before(given, chosen) + chosen
    tokens = {path: _vectors(path, given[path]) for path in chosen}
    shapes = {path: vectors.shape[:2] for path, vectors in tokens.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"`layer` must name layers of the same positions. Received: {shapes}.")
    mask = _real(mask, given[chosen[-1]], next(iter(shapes.values())))
    weights = mask / mask.sum(axis=1, keepdims=True)  # (B, T)
    pooled = {
        path: np.einsum("bt,btd->bd", weights, np.where(mask[..., None], vectors, 0.0)).astype("float32")
        for path, vectors in tokens.items()
    }
    return Similarity(tokens, pooled, mask)


def _chosen(calls, layer):
    if layer is None:
        chosen = [path for path, each in calls.items() if attention_trace.mixes(each)]
        if not chosen:
            raise ValueError(
                f"`layer` must be given for a model in which no layer attends or mixes, of {', '.join(calls)}. "
                "Received: layer=None."
            )
        return chosen
    chosen = [layer] if isinstance(layer, str) else list(layer)
    for name in chosen:
        if name not in calls:
            raise ValueError(f"`layer` must name layers of the model, of {', '.join(calls)}. Received: {name!r}.")
    if not chosen:
        raise ValueError("`layer` must name at least one layer. Received: none.")
    return chosen


def _before(given, chosen):
    """The last layer before the first that attends, if it gives vectors of the same positions."""
    paths = list(given)
    shape = tuple(given[chosen[0]].shape)
    before = [path for path in paths[: paths.index(chosen[0])] if tuple(getattr(given[path], "shape", ())) == shape]
    return before[-1:]


def _vectors(path, outputs):
    shape = tuple(getattr(outputs, "shape", ()))
    if len(shape) != 3 or "float" not in keras.backend.standardize_dtype(outputs.dtype):
        raise ValueError(
            f"`layer` must name layers that give vectors (B, T, D). Received: {path}, which gives {shape}."
        )
    return ops.convert_to_numpy(ops.cast(outputs, "float32"))


def _real(mask, outputs, shape):
    mask = padding.given_or_implicit(mask, outputs)
    mask = np.ones(shape, bool) if mask is None else ops.convert_to_numpy(mask)
    if mask.shape != tuple(shape) or mask.dtype != bool or not mask.any(axis=1).all():
        raise ValueError(
            f"`mask` must be booleans of shape {tuple(shape)} with a True in each row. Received: mask of shape {mask.shape}, "
            f"dtype {mask.dtype}, with {mask.sum(axis=-1)} in its rows."
        )
    return mask


def _directions(vectors):
    with np.errstate(invalid="ignore", divide="ignore"):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
