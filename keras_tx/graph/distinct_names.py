"""Layers of one name in one model, in which Keras wants each name once."""

import keras

from ..private_keras import get_keras_mask, set_keras_mask


class DistinctNames:
    """Calls layers and operations for a new model. One whose name is taken is called as a model of it alone, named by its path.

    Nested models may have layers of one name each, which then stand side by side.
    """

    def __init__(self, taken):
        """`taken`: names of the new model's inputs."""
        self.owners, self.models = dict.fromkeys(taken), {}

    def __call__(self, operation, path, args, kwargs):
        """Returns what the layer or the operation gives for symbolic tensors."""
        name = getattr(operation, "name", None)  # a function of a walk has none
        if name is None or self.owners.setdefault(name, operation) is operation:
            return operation(*args, **kwargs)
        flat = keras.tree.flatten((args, kwargs))
        tensors = [leaf for leaf in flat if isinstance(leaf, keras.KerasTensor)]
        form = repr([None if isinstance(leaf, keras.KerasTensor) else leaf for leaf in flat])
        if (id(operation), form) not in self.models:
            self.models[id(operation), form] = self._alone(operation, path, args, kwargs)
        outputs = self.models[id(operation), form](tensors)
        _carry(operation, args, outputs)
        return outputs

    def _alone(self, operation, path, args, kwargs):
        """Returns the model from the tensors of a call, a list of them, to what the operation gives."""
        inputs = []

        def stand_in(leaf):
            if not isinstance(leaf, keras.KerasTensor):
                return leaf
            inputs.append(keras.Input(batch_shape=leaf.shape, dtype=leaf.dtype, name=f"input_{len(inputs)}"))
            return inputs[-1]

        args, kwargs = keras.tree.map_structure(stand_in, (args, kwargs))
        name = name_of(path)
        while name in self.owners:
            name += ".alone"
        self.owners[name] = None
        model = keras.Model(inputs, operation(*args, **kwargs), name=name)
        # What is inside carries masks on, or not; else Keras would warn that they are lost, or hand on those of the inputs.
        model.supports_masking, model.compute_mask = True, lambda inputs, previous_mask: None
        return model


def name_of(path):
    """Returns a path as the name of an input or a layer: Keras allows no "/" in it, and TensorFlow no "#"."""
    return path.replace("/", ".").replace("#", ".")


def _carry(operation, args, outputs):
    """Makes symbolic outputs carry the mask that the layer alone gives them: a nested model's carry it only when it is run."""
    mask = get_keras_mask(args[0]) if args and isinstance(args[0], keras.KerasTensor) else None
    if mask is not None and isinstance(operation, keras.Layer) and operation.supports_masking:
        computed = operation.compute_mask(args[0], mask)
        if isinstance(outputs, keras.KerasTensor) and computed is not None:
            set_keras_mask(outputs, computed)
