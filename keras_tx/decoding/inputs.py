"""What a model's inputs hold: how many tokens, of which vocabulary, and what pads them."""

import keras

from ..graph import parts
from .step import inputs_of_layers, steppers


def longest_sequence(model, given=()):
    """Returns the most tokens that the position tables hold where the model decodes, or `None` where nothing limits them."""
    return _least("sequence_length", steppers(model, given).values())


def longest_input(model, name):
    """Returns the most tokens that the position tables hold for one of the model's inputs, or `None`."""
    return _least("sequence_length", _layers_of(model, name))


def vocabulary_size(model, name=None):
    """Returns how many token ids the embeddings of an input know (`None`: all embeddings), or `None` where there are none."""
    layers = (
        _with_parts(model) if name is None else [x for layer in _layers_of(model, name) for x in _with_parts(layer)]
    )
    size = _least("vocabulary_size", layers)
    return size or _least("input_dim", (layer for layer in layers if isinstance(layer, keras.layers.Embedding)))


def reserves_zero(model, name):
    """Returns whether id 0 of an input is padding."""
    layers = [part for layer in _layers_of(model, name) for part in _with_parts(layer)]
    return any(getattr(layer, "mask_zero", False) for layer in layers)


def _layers_of(model, name):
    return [layer for layer, names in inputs_of_layers(model).values() if names == {name}]


def _with_parts(layer):
    return [layer, *(part for _, part in parts(layer))]


def _least(attribute, layers):
    sizes = [getattr(layer, attribute, None) for layer in layers]
    return min((size for size in sizes if isinstance(size, int)), default=None)


def input_tensors(model):
    """Returns the symbolic inputs of a functional model by name."""
    if isinstance(model.input, dict):
        return dict(model.input)
    return {tensor.name: tensor for tensor in model.inputs}


def padding_of(model, name, pad_id):
    """Returns what pads an input: the id where it holds tokens, else zero (False in a mask)."""
    return pad_id if vocabulary_size(model, name) is not None else 0


def holds_tokens(model, name):
    """Returns whether an input (B, S) holds ids of a vocabulary, or a mask: rows that padding can make longer."""
    tensor = input_tensors(model)[name]
    return len(tensor.shape) == 2 and (tensor.dtype == "bool" or vocabulary_size(model, name) is not None)
