"""How much the outputs of a model change without a head: by switching it off, or by gradients, which is cheaper."""

import contextlib

import keras
import numpy as np
from keras import ops

from ..graph import changed_inputs, walk
from ..ops.pullback import pullback
from .head_ablation import ablate_heads, projections

PROBES = 8


def by_ablation(model, heads, inputs, outputs):
    """Returns the root of the mean square of the change without each head, over that of the outputs; a run for each head.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        heads: dict from layer name to a list of heads.
        inputs: of the model.
        outputs: of the model for these inputs.

    Returns:
        Dict from layer name to a list with a float for each head in the list; 0 where the outputs are zeros with it and without.
    """
    before = _floats(outputs)
    size = sum(map(_squares, before))
    found = {}
    for name, chosen in heads.items():
        found[name] = []
        for head in chosen:
            after = _floats(ablate_heads(model, {name: [head]}, inputs))
            change = sum(_squares(_numpy(one) - _numpy(other)) for one, other in zip(before, after, strict=True))
            found[name].append(_relative(change, size))
    return found


def by_gradient(model, heads, inputs, outputs=None):
    """Returns what `by_ablation` does as a first-order estimate, for all heads from one run and `PROBES` gradients.

    A gate g, 1 as it stands, is multiplied to what the projection reads of a head. The outputs y without the head, at g = 0, are
    y - dy/dg for as long as they go on as they begin to, and the mean of <v, dy/dg>^2 over random signs v is the square of
    |dy/dg|. Each row of the batch has gates and signs of its own, so B rows and P probes leave an error of about 1 / sqrt(2 B P).

    Args:
        model: as in `by_ablation`.
        heads: as there.
        inputs: as there.
        outputs: not used.

    Returns:
        As `by_ablation`.

    Raises:
        ValueError: for attention whose heads do not have the rows of the batch as their first axis, one row after the other.

    Reference:
        Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.1, for the gradient of a gate.
    """
    found = projections(model, heads)
    rows = next(part.shape[0] for part in keras.tree.flatten(inputs) if part is not None)

    def outputs_of(*gates):
        gated = {}
        for (name, (path, projection, _)), gate in zip(found.items(), gates, strict=True):
            gated.setdefault(path, []).append((projection, _multiplied(name, gate)))

        def call_layer(layer, path, args, kwargs):
            if path not in gated:
                return layer(*args, **kwargs)
            asked = kwargs.get("return_attention_scores", False)
            with contextlib.ExitStack() as stack:
                for projection, change in gated[path]:
                    stack.enter_context(changed_inputs(projection, change))
                # A block that hands its scores on does not compute again in the backward pass, which would not see the gates.
                outputs, scores = layer(*args, **{**kwargs, "return_attention_scores": True})
            return (outputs, scores) if asked else outputs

        return _floats(walk(model, inputs, call_layer))

    ones = [ops.ones((rows, count), dtype="float32") for _, _, count in found.values()]
    before, pull = pullback(outputs_of, *ones)
    size, rng = sum(map(_squares, before)), np.random.default_rng(0)
    changes = dict.fromkeys(found, 0.0)
    for _ in range(PROBES):
        signs = [ops.convert_to_tensor(rng.choice([-1.0, 1.0], each.shape), dtype=each.dtype) for each in before]
        for name, gradient in zip(found, pull(signs), strict=True):
            changes[name] = changes[name] + np.square(_numpy(gradient)).sum(axis=0) / PROBES  # (N,)
    return {name: [_relative(changes[name][head], size) for head in chosen] for name, chosen in heads.items()}


WAYS = {"ablation": by_ablation, "gradient": by_gradient}


def _multiplied(name, gate):
    """A gate (B, N) for heads (B', ..., N, H), B' a multiple of B: windows, or other parts, of one row after the other."""
    rows, count = gate.shape

    def change(heads):
        if heads.shape[0] % rows:
            raise ValueError(
                "`effects_by` may be 'gradient' where the first axis of the heads is the batch, or parts of each row in turn. "
                f"Received: {name} with heads of shape {tuple(heads.shape)} for a batch of {rows}."
            )
        each = ops.repeat(gate, heads.shape[0] // rows, axis=0)
        each = ops.reshape(each, (heads.shape[0], *(1,) * (len(heads.shape) - 3), count, 1))
        return heads * ops.cast(each, heads.dtype)

    return change


def _floats(outputs):
    """The outputs that are floats, in a list."""
    flat = [each for each in keras.tree.flatten(outputs) if each is not None]
    floats = [each for each in flat if "float" in keras.backend.standardize_dtype(each.dtype)]
    if not floats:
        raise ValueError(
            "`model` must have an output of floats, by whose change the effects of heads are told. Received: outputs of dtypes "
            f"{[keras.backend.standardize_dtype(each.dtype) for each in flat]}. Without effects: effects=None."
        )
    return floats


def _numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32")).astype("float64")


def _squares(tensor):
    return np.square(tensor if isinstance(tensor, np.ndarray) else _numpy(tensor)).sum()


def _relative(change, size):
    return np.sqrt(change / size) if size else np.sqrt(change)
