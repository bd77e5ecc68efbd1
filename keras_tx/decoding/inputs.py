"""What a model's inputs hold: how many tokens, of which vocabulary, and what pads them."""

from typing import Any, NamedTuple

import keras

from ..graph import input_names, layer_inputs, parts


class Input(NamedTuple):
    """What is known of one input of a model.

    Attributes:
        tensor: `keras.KerasTensor`, the symbolic input.
        vocabulary_size: int, how many token ids its embeddings know, or `None` where there are none.
        longest: int, the most tokens that its position tables hold, or `None`.
        reserves_zero: bool, whether id 0 is padding.
    """

    tensor: Any
    vocabulary_size: int | None
    longest: int | None
    reserves_zero: bool

    @property
    def holds_tokens(self):
        """Whether it (B, S) holds ids of a vocabulary, or a mask: rows that padding can make longer."""
        return len(self.tensor.shape) == 2 and (self.tensor.dtype == "bool" or self.vocabulary_size is not None)

    @property
    def fixed_length(self):
        """How many tokens each of its rows must have, or `None`."""
        return self.tensor.shape[1] if len(self.tensor.shape) > 1 else None

    def padding(self, pad_id):
        """Returns what pads it: the id where it holds tokens, else zero (False in a mask)."""
        return pad_id if self.vocabulary_size is not None else 0


def inputs_of(model, reached=None):
    """Returns a dict from the name of each input of a functional model to its `Input`.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        reached: dict as from `graph.layer_inputs`, or `None` to have it found.
    """
    reached, inputs = reached or layer_inputs(model), {}
    tensors = (
        dict(model.input) if isinstance(model.input, dict) else dict(zip(input_names(model), model.inputs, strict=True))
    )
    for name, tensor in tensors.items():
        layers = [layer for layer, names in reached.values() if names == {name}]
        inner = [*layers, *(part for layer in layers for _, part in parts(layer))]
        embeddings = (layer for layer in inner if isinstance(layer, keras.layers.Embedding))
        size = least("vocabulary_size", inner) or least("input_dim", embeddings)
        reserves_zero = any(getattr(layer, "mask_zero", False) for layer in inner)
        inputs[name] = Input(tensor, size, least("sequence_length", layers), reserves_zero)
    return inputs


def least(attribute, layers):
    """Returns the least integer that layers have under a name, or `None` where none has one."""
    sizes = [getattr(layer, attribute, None) for layer in layers]
    return min((size for size in sizes if isinstance(size, int)), default=None)
