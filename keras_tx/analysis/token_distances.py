"""How far over the text each head looks."""

import numpy as np

from ..graph import layer_calls
from . import attention_trace, pattern_arguments
from .attention_distances import mean_distance
from .attention_maps import attention_maps


def token_distances(model, inputs, mask=None) -> dict[str, np.ndarray]:
    """Returns the mean distance, in positions, between a token and what each head attends to from it.

    d = mean over queries t of sum over keys s of A[t, s] |t - s|. An even attention to T tokens has (T^2 - 1) / (3 T), a causal
    one (T - 1) / 4, a head on the token before about 1. Padding is left out, as a query and as a key, and the weights of the rest
    made to sum to 1; a query that has none of it left does not count. `plots.plot_attention_distances` draws them by depth.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` of sequences, in which a position is a place in the text.
            Attention to another sequence has no distance, and is left out. A layer that makes positions of anything else says so
            by an attribute `positions_in_text = False`.
        inputs: a tensor or array, or several in the structure of the model's inputs.
        mask: booleans (B, T), True at real positions, for the layers on so many; `None` where padding attends to nothing, as in
            this package's layers.

    Returns:
        Dict from layer name to float32 array (B, N), in the order of the layers; nan where no query counts.

    Raises:
        ValueError: if the model is a subclassed one, no layer attends to its own sequence, positions lie on an image, for which
            there is `attention_distances`, or are queries or regions, or the mask is that of no layer.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 16, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    distances = keras_tx.analysis.token_distances(model, np.array([[7, 8, 9, 7, 8]]))  # {"decoder_0": (1, 2)}
    keras_tx.analysis.plots.plot_attention_distances(distances, unit="tokens")
    ```

    Reference:
        Vig and Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language Model", section 4.2.
    """
    for path, layer in layer_calls(model).items():
        if getattr(layer, "position_stride", None) is not None:
            raise ValueError(
                "`model` must attend to texts; over images `attention_distances` tells how far heads look. Received: "
                f"{model.name} with {path}, which makes positions of pixels."
            )
        if not getattr(layer, "positions_in_text", True):
            raise ValueError(
                "`model` must attend to texts alone: places of a map, queries and regions are in no row, so that they have no "
                f"distance. Received: {model.name} with {path} of class {type(layer).__name__}."
            )
    mask = None if mask is None else pattern_arguments.booleans(mask)
    maps = attention_maps(model, inputs)
    crossing = attention_trace.crossing(model, maps)
    maps = {path: scores for path, scores in maps.items() if path not in crossing}
    if not maps or any(scores.ndim != 4 for scores in maps.values()):
        raise ValueError(
            "`model` must attend to its own sequences, of one batch axis. Received: "
            f"{model.name} with weights of shapes { {path: scores.shape for path, scores in maps.items()} }, and to others in "
            f"{sorted(crossing)}."
        )
    pattern_arguments.check_used(maps, (), {"mask": mask}, None)
    found = {}
    for path, scores in maps.items():
        real = pattern_arguments.fitting(mask, len(scores), scores.shape[-1])
        place = np.arange(scores.shape[-1], dtype="float32")
        between = np.abs(place - place[:, None])
        weights = scores.astype("float32")
        if real is not None:
            weights = np.where(real[:, None, :, None] & real[:, None, None, :], weights, 0.0)
        found[path] = np.stack([mean_distance(row, between) for row in weights])
    return found
