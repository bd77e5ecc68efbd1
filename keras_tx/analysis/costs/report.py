"""What a model costs: per layer and in sum, by the conventions of the field, as a table and as a picture."""

from typing import Any, NamedTuple

import keras
import numpy as np

from ... import layers
from ...graph import parts
from ..plots.costs import plot_costs
from .parameters import count_parameters
from .record import LayerCosts, item_bytes

_TABLES = (
    keras.layers.Embedding,
    layers.LearnedPositionEncoding,
    layers.SegmentEmbedding,
)


class LayerRow(NamedTuple):
    """One call in a model.

    Attributes:
        path: str, as in `graph.walk`.
        layer: `keras.Layer`, or `None` for an operation.
        costs: `LayerCosts`.
    """

    path: str
    layer: Any
    costs: LayerCosts

    @property
    def parameters(self):
        """How many numbers the layer's weights hold; a layer that is called twice has them in both rows."""
        return 0 if self.layer is None else count_parameters([self.layer])


class Costs:
    """What a model costs, as `count_costs` found it.

    Attributes:
        mode: "forward", "train" or "decode".
        layers: list of `LayerRow`, in the order of the calls.
        sum: `LayerCosts` of all of them.
        parameters: dict with "total", "trainable" and "embedding" (tables of tokens, positions and segments); shared weights
            count once. Quantized weights count as the numbers that they stand for, without their scales.
        macs: int, multiply-accumulates of the products: of the forward pass, of a training step, or of one step of decoding.
        flops: int, twice as many: floating-point operations, as the field counts them.
        weight_bytes: int, bytes of the weights as they are stored.
        kept_bytes: int, bytes that a training step keeps from the forward pass for its gradients.
        cache_bytes_per_token: int, bytes that each further token of a row takes in the caches.
        context_cache_bytes: int, bytes of the cached keys and values of the context.
        examples: int, the batch size that was counted for.
        tokens: int, how many tokens were counted for, or `None` where there are none, or inputs of several sizes; integer inputs
            (B, T) of one size, such as ids and segments, are taken to tell of the same tokens.
    """

    def __init__(self, model, mode, rows, total, examples, tokens):
        self.name, self.mode, self.layers, self.sum = model.name, mode, rows, total
        self.examples, self.tokens = examples, tokens
        self.parameters = {
            "total": count_parameters([model]),
            "trainable": count_parameters([model], model.trainable_weights),
            "embedding": count_parameters([part for _, part in parts(model) if isinstance(part, _TABLES)]),
        }
        self.macs = _steps(mode, total)
        self.flops = 2 * self.macs
        self.weight_bytes = int(sum(np.prod(each.shape, dtype=int) * item_bytes(each.dtype) for each in model.weights))
        self.kept_bytes, self.cache_bytes_per_token = total.kept, total.cache
        self.context_cache_bytes = total.context_cache

    def conventions(self):
        """Returns the numbers of the field that are counted otherwise, by name.

        "products" are the multiply-accumulates of the forward pass, as torchvision has them; "products and norms" has 5 more for
        each element that a norm reads, as the papers of ViT and Swin have them. The others, of models with one input of tokens,
        are floating-point operations a token: "Kaplan forward", 2 N + 2 L T D, N without tables, logits, biases and norms, with
        half of all pairs; "PaLM training", 6 N + 12 L T D, N all parameters, with all pairs, by which the field states
        utilization; and "6 N".

        Reference:
            Kaplan et al. 2020, section 2.1; Chowdhery et al. 2022, "PaLM", appendix B.
        """
        macs = self.sum.total_macs
        found = {"products": macs, "products and norms": macs + 5 * self.sum.normalized}
        if self.tokens and self.mode != "decode":
            pairs = self.sum.all_pairs / self.tokens
            products = (macs - self.sum.macs.get("attention", 0) - self.sum.macs.get("logits", 0)) / self.tokens
            found["Kaplan forward"] = round(2 * products + pairs)
            found["PaLM training"] = round(6 * self.parameters["total"] + 6 * pairs)
            found["6 N"] = 6 * self.parameters["total"]
        return found

    def table(self) -> str:
        """Returns the layers and their costs as a table of text, the sum last."""
        head = ("layer", "class", "parameters", "MMAC", "kept MB" if self.mode == "train" else "share")
        lines = [head]
        for row in self.layers:
            path, layer, costs = row
            if costs.macs or row.parameters:
                last = f"{costs.kept / 1e6:,.2f}" if self.mode == "train" else f"{_share(costs, self.sum):.1%}"
                kind = "operation" if layer is None else type(layer).__name__
                lines.append((path, kind, f"{row.parameters:,}", f"{_steps(self.mode, costs) / 1e6:,.2f}", last))
        last = f"{self.kept_bytes / 1e6:,.2f}" if self.mode == "train" else "100.0%"
        lines.append(("sum", "", f"{self.parameters['total']:,}", f"{self.macs / 1e6:,.2f}", last))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = [
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:-1], "-" * len(rows[0]), rows[-1]])

    def plot(self, path=None):
        """Draws where the multiply-accumulates go, by kind and depth; returns the `matplotlib.figure.Figure`.

        Args:
            path: file to write, PNG by its ending, or `None`.
        """
        rows = [
            (row.path, {kind: _steps(self.mode, LayerCosts({kind: n})) for kind, n in row.costs.macs.items()})
            for row in self.layers
        ]
        return plot_costs(rows, title=f"{self.name}: {self.macs / 1e9:,.3f} GMAC, {self.mode}", path=path)

    def __str__(self):
        parts = [
            f"{self.name}: {self.parameters['total']:,} parameters ({self.parameters['embedding']:,} in tables)",
            f"{self.flops / 1e9:,.3f} GFLOP {_WHAT[self.mode]}",
            f"{self.weight_bytes / 1e6:,.1f} MB of weights",
        ]
        if self.mode == "train":
            parts.append(f"{self.kept_bytes / 1e6:,.1f} MB kept for gradients")
        if self.cache_bytes_per_token:
            parts.append(f"{self.cache_bytes_per_token:,} bytes of cache a token")
        return ", ".join(parts)

    __repr__ = __str__


_WHAT = {"forward": "a forward pass", "train": "a training step", "decode": "a step of decoding"}


def _steps(mode, costs):
    """The multiply-accumulates of the mode, of costs of forward passes."""
    return costs.total_macs if mode != "train" else 3 * costs.total_macs + costs.recomputed


def _share(costs, total):
    return costs.total_macs / max(total.total_macs, 1)
