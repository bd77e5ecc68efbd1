"""A row of the contract table (see `contract_table.py`), and what tests do with rows."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_tx import graph

from .execution import array, tensor

BATCH, LENGTH, CONTEXT, WIDTH, HEADS, INTERMEDIATE, VOCABULARY = 4, 5, 3, 16, 2, 32, 11
X = ("float32", (LENGTH, WIDTH))
OTHER = ("float32", (CONTEXT, WIDTH))
IDS = ("int32", (LENGTH,))
IN_HEADS = ("float32", (LENGTH, HEADS, 8))
MAP = ("float32", (LENGTH, 4, WIDTH))
PLACES = ("places", (CONTEXT,))  # integers below CONTEXT


def own_call(layer, *inputs, **options):
    return layer(*inputs, **options)


def with_context(layer, inputs, context, **options):
    return layer(inputs, context=context, **options)


@dataclass(frozen=True)
class Row:
    """One way to make a layer, and what is to be true of it.

    Attributes:
        make: keyword arguments such as `dtype` -> the layer.
        inputs: (dtype, shape less the batch) of each call argument that is a tensor; the first axis is the time. The dtype
            "places" stands for int32 numbers that every axis has, "boxes" for corners in fractions of an image, and "logits" for
            floats at each position of the first argument.
        outputs: shape less the batch.
        trainable, frozen, seeds: how many weights that are trained and that never are, and how many states of random numbers it
            has.
        carries_mask: whether its outputs carry the mask of its first input; `None` where masks do not concern it.
        inner: paths of the inner layers that take a low-rank adapter.
        attentions: paths of the attentions whose scores it returns, in order.
        variant: what sets the row apart from others of the same layer.
        scaled: length of the first axis of the inputs, or `None` -> shape of the outputs, less the batch, where that is not
            simply their first axis.
        call: `(layer, *inputs, **options) -> outputs`.
        has_batch: whether the outputs of its call begin with the batch.
        graph_inputs, connect: where a functional model needs more than the layer: its inputs, and `(layer, *inputs) -> outputs`.
    """

    layer: type
    make: Callable
    inputs: tuple = (X,)
    outputs: tuple = (LENGTH, WIDTH)
    trainable: int = 0
    frozen: int = 0
    seeds: int = 0
    carries_mask: bool | None = True
    inner: tuple = ()
    attentions: tuple = ()
    variant: str = ""
    scaled: Callable | None = None
    call: Callable = own_call
    has_batch: bool = True
    graph_inputs: tuple = ()
    connect: Callable | None = None

    def __str__(self):
        return f"{self.layer.__name__}{'-' if self.variant else ''}{self.variant}"

    def outputs_for(self, length):
        """The shape of the outputs, less the batch, for inputs whose first axis has that length, or an unknown one."""
        if self.scaled is not None:
            return self.scaled(length)
        return (length, *self.outputs[1:]) if len(self.outputs) > 1 else self.outputs

    def values(self, seed=0, graph=False):
        """Returns tensors for the layer's arguments, or for the inputs of its functional model."""
        return [tensor(value) for value in self.numbers(seed, graph)]

    def numbers(self, seed=0, graph=False):
        random = np.random.default_rng(seed)
        return [_draw(random, dtype, (BATCH, *shape)) for dtype, shape in (graph and self.graph_inputs) or self.inputs]

    def shapes(self):
        return [(BATCH, *shape) for _, shape in self.inputs]

    def symbols(self, batch=None, dynamic=True, graph=True):
        """Returns symbolic inputs, with unknown time where `dynamic`."""
        return [
            keras.Input(
                batch_shape=(batch, None if dynamic else shape[0], *shape[1:]), dtype=_NUMBERS.get(dtype, dtype)
            )
            for dtype, shape in (graph and self.graph_inputs) or self.inputs
        ]

    def built(self, **kwargs):
        """Returns the layer, built, with every weight away from its start (biases are not zero)."""
        layer = self.make(**kwargs)
        layer.build(*self.shapes())
        stir(layer)
        return layer

    def model(self, layer=None):
        """Returns a functional model of this layer alone, for any batch and any length."""
        inputs = self.symbols()
        layer = layer or self.make(name="layer")
        model = keras.Model(inputs, (self.connect or self.call)(layer, *inputs))
        stir(model)
        return model


@functools.cache
def built_once(row):
    """The layer of a row, for the tests of a process that change no more of it than the values of its weights and states."""
    return row.built()


def stir(layer, seed=3):
    """Moves every weight a little from its start."""
    random = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        noise = random.normal(0, 0.1, weight.shape).astype("float32")
        weight.assign(array(weight) + noise)


def find(layer, path):
    """Returns the sublayer at a path of attributes or names; the layer itself for an empty path."""
    for name in path.split("/") if path else ():
        layer = getattr(layer, name, None) or next(part for _, part in graph.parts(layer) if part.name == name)
    return layer


def joint_model(rows):
    """Returns a functional model with a branch for each row; the layers are named "layer_0" and so on."""
    inputs, outputs = [], []
    for number, row in enumerate(rows):
        own = row.symbols()
        inputs += own
        outputs.append((row.connect or row.call)(row.make(name=f"layer_{number}"), *own))
    return keras.Model(inputs, outputs)


def joint_numbers(rows):
    """Returns numbers for the inputs of the joint model."""
    return [value for row in rows for value in row.numbers(graph=True)]


def reloaded(model, folder):
    """Returns what comes back from the model's `.keras` file, without its optimizer."""
    path = folder / "model.keras"
    model.save(path)
    return keras.models.load_model(path, compile=False)


_NUMBERS = {"places": "int32", "boxes": "float32", "logits": "float32"}


def _draw(random, dtype, shape):
    if dtype == "places":
        return random.integers(0, CONTEXT, shape).astype("int32")
    if dtype == "boxes":
        return (random.uniform(0, 0.5, shape) + [0, 0, 0.5, 0.5]).astype("float32")
    if dtype == "int32":
        return random.integers(1, VOCABULARY, shape).astype("int32")
    return random.normal(size=shape).astype(_NUMBERS.get(dtype, dtype))
