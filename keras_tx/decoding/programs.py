"""Compiled programs, one for each model and set of shapes, and the count of how often each was compiled."""

import collections
import weakref

import keras

_programs = weakref.WeakKeyDictionary()
_traces = collections.Counter()


def run(model, name, key, function, *arguments):
    """Runs `function(model, *arguments)` compiled: by XLA on TensorFlow and JAX, as it is on torch.

    Args:
        model: `keras.Model`, whose variables are the only state that the function may read.
        name: str, what the program does, for the report.
        key: hashable: all that the function depends on beside its arguments' values. Another key is another program.
        function: function of the model and the arguments, made of `keras.ops`.
        *arguments: pytrees of tensors or arrays.

    Returns:
        What the function returns.
    """
    programs = _programs.setdefault(model, {})
    place = (name, key, fingerprint(model))
    if place not in programs:
        programs[place] = _compile(weakref.ref(model), f"{model.name}: {name}", key, function)
    return programs[place](*arguments)


def fingerprint(model):
    """Returns what changes when a model gets other variables, as by `enable_lora` or `quantize`; new values change nothing."""
    return tuple((id(variable), variable.path, str(variable.dtype)) for variable in model.variables)


def trace_report() -> dict[str, int]:
    """Tells how often programs were compiled in this process, and for what.

    Returns:
        Dict from a line that names the model, the program and the shapes and options it is for, to the number of
        compilations. The sum of the values is the number of all. Empty on torch, where nothing is compiled.

    Example:

    ```python
    before = sum(keras_tx.decoding.trace_report().values())
    ```
    """
    return dict(_traces)


def _compile(model_reference, label, key, function):
    line = label + ", " + ", ".join(f"{name}={getattr(value, '__name__', value)}" for name, value in key)

    def traced(*arguments):
        _traces[line] += 1
        return function(model_reference(), *arguments)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(traced, jit_compile=True, autograph=False)
    if keras.backend.backend() == "jax":
        return _compile_jax(model_reference, traced)
    return _uncompiled(model_reference, function)


def _compile_jax(model_reference, traced):
    import jax

    @jax.jit
    def compiled(values, *arguments):
        with keras.StatelessScope(state_mapping=zip(model_reference().variables, values, strict=True)):
            return traced(*arguments)

    return lambda *arguments: compiled([variable.value for variable in model_reference().variables], *arguments)


def _uncompiled(model_reference, function):
    if keras.backend.backend() != "torch":
        return lambda *arguments: function(model_reference(), *arguments)
    import torch

    return torch.no_grad()(lambda *arguments: function(model_reference(), *arguments))
