"""Layers that tell of their symbolic outputs themselves, and the classes made from them, whose `call` may be another."""

import inspect

import keras


class TracedSubclasses:
    """Stands before `keras.Layer` among the bases of a layer.

    What `compute_output_spec` tells is true of the `call` beside it alone. A class with a `call` of its own, which may have other
    arguments or other outputs, and no `compute_output_spec` has that of Keras, which traces the `call`.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "call" in own and "compute_output_spec" not in own:
            keeper = keras.Layer if "compute_output_shape" in own else keras.Operation
            cls.compute_output_spec = keeper.compute_output_spec
        if "call" in own and "build" not in own:
            build, taken = cls.build, inspect.signature(cls.call).parameters
            shapes = list(inspect.signature(build).parameters)[1:]
            if len(shapes) > 1 and any(name.removesuffix("_shape") not in taken for name in shapes):
                cls.build = lambda self, input_shape: build(self, input_shape)
