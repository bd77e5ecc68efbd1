"""What is known of a model that decodes, found once."""

import weakref

import keras

from .. import arguments
from ..graph import functional_of, layer_inputs, without_optional_inputs
from ..layers import cache_protocol
from .inputs import inputs_of, least
from .programs import fingerprint

_decoders = weakref.WeakKeyDictionary()  # by the graph: a Sequential has another one after each layer that is added


class Decoder:
    """What is known of a model that decodes. It holds nothing of the model alive but its layers.

    Attributes:
        model: functional `keras.Model` of one output: the user's, or the part of it that leads to the one that is decoded.
        ids: str, the name of the input of token ids.
        conditioning: tuple of the names of the other inputs.
        inputs: dict from the name of each input to its `Input`.
        cached_layers: dict from path to layer, those with a cache that depend on the ids.
        longest_sequence: int, the most tokens that their position tables hold, or `None` where nothing limits them.
        variables: what tells whether the model has other variables than when it was looked at, see `fingerprint`.
        head: `Head`, how logits are had of the model, or `None` until that is found out.
        is_checked: bool, whether `check.check` found that cached steps give what the whole model gives.
        can_take_back: bool, whether `rewinding.check` found that tokens can be taken back of its caches.
        trials: dict, which padding of the other inputs it ignores (see `trials`).
        programs: dict, what was compiled for the model (see `programs`).
    """

    def __init__(self, model, conditioning, owned):
        # A part of a model is held here alone; the model itself is the user's.
        self._model = (lambda: model) if owned else weakref.ref(model)
        reached = layer_inputs(model)
        self.inputs, self.conditioning = inputs_of(model, reached), conditioning
        left = [name for name in self.inputs if name not in conditioning]
        if len(left) != 1 or set(conditioning) - set(self.inputs):
            raise ValueError(
                "`context` must hold every input of the model but one, the token ids that are decoded. Received: "
                f"{model.name} with inputs {list(self.inputs)}, context of {list(conditioning)}."
            )
        (self.ids,) = left
        self.cached_layers = {
            path: layer
            for path, (layer, names) in reached.items()
            if cache_protocol.is_cached_layer(layer) and self.ids in names
        }
        self.longest_sequence = least("sequence_length", self.cached_layers.values())
        self.variables, self.head, self.is_checked = fingerprint(model), None, False
        self.can_take_back = False
        self.trials, self.programs = {}, {}

    @classmethod
    def of(cls, model, output=None, conditioning=(), whole=False):
        """Returns what is known of a model, found anew if it has other variables than before.

        Args:
            model: functional `keras.Model` or built `keras.Sequential`.
            output: which of several outputs: str, its key in a dict of outputs or the name of the layer that gives it, or int,
                its index; `None` for the only one.
            conditioning: names of all inputs but the token ids; optional ones may be left out.
            whole: bool, whether all outputs are meant where `output` is `None`.

        Raises:
            ValueError: if the model is not functional or not built, or `output` names none of its outputs, or several, or
                the names leave no input, or several.
        """
        functional = built(model)
        index = None if whole and output is None else _index(functional, model.name, output)
        known, place = _decoders.setdefault(functional, {}), (index, tuple(sorted(conditioning)))
        if place not in known or known[place].variables != fingerprint(known[place].model):
            part = known[place].model if place in known else _part(functional, index, model.name, place[1])
            known[place] = cls(part, place[1], owned=part is not functional)
        return known[place]

    @property
    def model(self):
        return self._model()


def built(model):
    """Returns the functional model of a model; raises `ValueError` if it is not functional or not built."""
    functional = functional_of(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise ValueError(
            "`model` must be built to be decoded: give the Sequential a keras.Input first, or call it once. Received: "
            f"{model.name}, which is not built."
        )
    if functional is None or not functional.inputs:
        raise ValueError(f"`model` must be a functional keras.Model to be decoded. Received: model={model!r}.")
    return functional


def _part(functional, index, name, conditioning):
    """Returns the model of one output, without the optional inputs that are not given: the model itself, or a part of it that
    shares its layers.
    """
    if index is not None and (len(functional.outputs) > 1 or isinstance(functional.output, dict)):
        functional = keras.Model(functional.input, functional.outputs[index], name=name)
    return without_optional_inputs(functional, conditioning)


def _index(functional, name, output):
    keys, layers = list(functional.output) if isinstance(functional.output, dict) else [], list(functional.output_names)
    count = len(functional.outputs)
    if output is None and count == 1:
        return 0
    found = []
    if arguments.is_integer(output) and 0 <= output < count:
        found = [int(output)]
    elif isinstance(output, str) and output in keys and isinstance(functional.output[output], keras.KerasTensor):
        tensor = functional.output[output]
        found = [next(i for i, other in enumerate(functional.outputs) if other is tensor)]
    elif isinstance(output, str):
        found = [i for i, layer in enumerate(layers) if layer == output]
    if len(found) != 1:
        raise ValueError(
            "`output` must name the one output that is decoded, by its key, its layer or its index. Received: "
            f"output={output!r}, {name} with "
            + (f"outputs {keys} of layers {layers}." if keys else f"{count} outputs, of layers {layers}.")
        )
    return found[0]
