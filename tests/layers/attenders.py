"""Every layer that attends or pools, and every path by which it can be run, for the mask contract."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from keras_tx import layers

from .contract_rows import BATCH, CONTEXT, HEADS, INTERMEDIATE, LENGTH, WIDTH, stir
from .execution import COMPILES, AttachMask, arrays, compiled, frozen, tensor

_RANDOM = np.random.default_rng(7)
CLEAN = _RANDOM.normal(size=(BATCH, LENGTH, WIDTH)).astype("float32")
OTHER = _RANDOM.normal(size=(BATCH, CONTEXT, WIDTH)).astype("float32")
RANDOM = _RANDOM.normal(size=(BATCH, LENGTH, WIDTH)).astype("float32")
ALL_REAL = np.ones((BATCH, LENGTH), bool)
REAL = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]], bool)
JUNK = (np.nan, np.inf, 1e30, None)  # one a row of the batch; None: other numbers


def with_junk(place):
    """The clean inputs with something else, in each row of the batch another thing, where `place` is True."""
    rows = [RANDOM[row] if junk is None else np.full_like(CLEAN[row], junk) for row, junk in enumerate(JUNK)]
    return np.where(place[..., None], np.stack(rows), CLEAN)


def at_inputs(layer, x, mask, **options):
    return layer(x, mask=mask, **options)


def beside_context(layer, x, mask, **options):
    return layer(x, tensor(OTHER), mask=mask, **options)


def at_context(layer, x, mask, **options):
    return layer(tensor(OTHER), x, context_mask=mask, **options)


@dataclass(frozen=True)
class Attender:
    """A layer seen from one of its sequences.

    Attributes:
        make: dtype policy -> the layer.
        call: `(layer, x, mask, **options)`, x the sequence.
        side: "inputs" where outputs belong to the positions of x, "context" or "pooled" where each belongs to all of them.
        causal: whether position t sees 0 .. t alone.
        bare: whether it is an attention and nothing else, so that a query without keys gets zeros.
    """

    make: Callable
    call: Callable = at_inputs
    side: str = "inputs"
    causal: bool = False
    bare: bool = False

    def real(self, outputs, mask):
        """The outputs that belong to real positions."""
        return outputs[mask] if self.side == "inputs" else outputs


def _attention(dtype, **kwargs):
    return layers.MultiHeadSelfAttention(HEADS, dropout=0.3, dtype=dtype, **kwargs)


def _rotary(dtype):
    return _attention(dtype, causal=True, num_key_value_heads=1, window=3, rotary=layers.RotaryEmbedding(dtype=dtype))


def _cross(dtype):
    return layers.MultiHeadCrossAttention(HEADS, dropout=0.3, dtype=dtype)


def _block(block, normalize_first, **kwargs):
    return lambda dtype: block(INTERMEDIATE, HEADS, 0.3, normalize_first=normalize_first, dtype=dtype, **kwargs)


def _co_attention(dtype):
    return layers.TransformerEncoder(INTERMEDIATE, attention=_cross(dtype), dropout=0.3, dtype=dtype)


def at_keyword_context(layer, x, mask, **options):
    return layer(tensor(OTHER), context=x, context_mask=mask, **options)


ATTENDERS = {
    "self": Attender(_attention, bare=True),
    "causal": Attender(lambda dtype: _attention(dtype, causal=True), causal=True, bare=True),
    "grouped": Attender(lambda dtype: _attention(dtype, num_key_value_heads=1), bare=True),
    "rotary": Attender(_rotary, causal=True, bare=True),
    "cross, inputs": Attender(_cross, beside_context, bare=True),
    "cross, context": Attender(_cross, at_context, side="context", bare=True),
    "encoder, post-norm": Attender(_block(layers.TransformerEncoder, False)),
    "encoder, pre-norm": Attender(_block(layers.TransformerEncoder, True, normalize_branch=True, layer_scale=0.5)),
    "encoder, context": Attender(_co_attention, at_keyword_context, side="context"),
    "decoder": Attender(_block(layers.TransformerDecoder, True, parallel=True), causal=True),
    "decoder, inputs": Attender(_block(layers.TransformerDecoder, False), beside_context, causal=True),
    "decoder, context": Attender(_block(layers.TransformerDecoder, True), at_context, side="context"),
    "pooling": Attender(lambda dtype: layers.MaskedMeanPooling(dtype=dtype), side="pooled"),
}


@functools.cache
def built(name, dtype):
    """The layer, with every weight (biases too) away from its start."""
    layer = ATTENDERS[name].make(dtype)
    ATTENDERS[name].call(layer, tensor(CLEAN), tensor(ALL_REAL))
    stir(layer)
    return layer


@dataclass(frozen=True)
class Path:
    """One way to run a layer: policy, scores asked for, training with dropout, compiled, and a mask that Keras carries."""

    name: str
    dtype: str = "float32"
    scores: bool = False
    dropout: bool = False
    compiled: bool = False
    implicit: bool = False

    def __str__(self):
        flags = ("scores", "dropout", "compiled", "implicit")
        return " ".join([f"{self.name}:", self.dtype, *(flag for flag in flags if getattr(self, flag))])

    @property
    def attender(self):
        return ATTENDERS[self.name]

    def on(self, **changes):
        return replace(self, **changes)


@functools.cache
def runner(path):
    """Returns the function `(x, mask) -> (outputs, scores or None)`, of numpy arrays, that runs the layer on the path."""
    layer, options = built(path.name, path.dtype), {}
    if path.name != "pooling":
        options = {"training": path.dropout, "return_attention_scores": path.scores}

    def run(x, mask):
        if path.implicit:
            x, mask = AttachMask(dtype=path.dtype)(x, mask), None
        return path.attender.call(layer, x, mask, **options)

    function = compiled(frozen(run)) if path.compiled else frozen(run)

    def call(x, mask):
        found = arrays(function(tensor(x), tensor(mask)))
        return found if isinstance(found, tuple) else (found, None)

    return call


def _paths(names, choices):
    return [Path(name, *choice) for choice in choices for name in names if name != "pooling" or not any(choice[1:3])]


_ON = (False, True)
EAGER = [("float32", scores, dropout) for scores in _ON for dropout in _ON]
EAGER_HALF = [(half, on, on, False, on) for half in ("mixed_float16", "mixed_bfloat16") for on in _ON]
COMPILED = [
    ("float32", False, False, True),
    ("float32", True, False, True),
    ("mixed_float16", True, True, True, True),
    ("mixed_bfloat16", False, False, True, True),
]
# Compiling takes its time, and so does a first eager call on JAX: of layers that differ by one part, those that have it all.
FULL_NAMES = ("rotary", "cross, context", "encoder, pre-norm", "decoder, inputs", "pooling")
PATHS = _paths(ATTENDERS, EAGER) + _paths(FULL_NAMES, EAGER_HALF) + (_paths(FULL_NAMES, COMPILED) if COMPILES else [])
