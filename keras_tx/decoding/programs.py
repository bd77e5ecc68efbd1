"""Compiled programs, one for each model and set of shapes, and the count of how often each was compiled."""

import collections
import functools

import keras

_traces = collections.Counter()


def run(decoder, name, key, function, *arguments, others=()):
    """Runs `function(decoder, *arguments)` compiled: by XLA on TensorFlow and JAX, as it is on torch.

    Args:
        decoder: `Decoder`; the variables of its model are the only state that the function may read.
        name: str, what the program does, for the report.
        key: hashable: all that the function depends on beside its arguments' values. Another key is another program.
        function: function of the decoder and the arguments, made of `keras.ops`.
        *arguments: pytrees of tensors or arrays.
        others: `Decoder`s whose models' variables the function reads too.

    Returns:
        What the function returns.
    """
    models = [each.model for each in (decoder, *others)]
    programs, place = decoder.programs, (name, key, *(fingerprint(model) for model in models))
    if place not in programs:
        programs[place] = _compile(decoder, f"{decoder.model.name}: {name}", key, function, others)
    return programs[place](*arguments)


def quick(decoder, function):
    """Returns `function(decoder, *arguments)` for a call or two, as it is the least wait.

    Where each operation would be compiled by itself, as on JAX, they are one program, compiled without what would make it fast.
    Elsewhere they run one by one: compiling them takes longer.
    """
    if keras.backend.backend() == "jax":
        import jax

        # Other processors' compilers need not have these options.
        options = _UNOPTIMIZED if jax.default_backend() == "cpu" else None
        return _compile_jax([decoder], functools.partial(function, decoder), options)
    return functools.partial(function, decoder)


_UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


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


def _compile(decoder, label, key, function, others):
    line = label + ", " + ", ".join(f"{name}={getattr(value, '__name__', value)}" for name, value in key)

    def traced(*arguments):
        _traces[line] += 1
        return function(decoder, *arguments)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(traced, jit_compile=True, autograph=False)
    if keras.backend.backend() == "jax":
        return _compile_jax([decoder, *others], traced)
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(functools.partial(function, decoder))
    return functools.partial(function, decoder)


def _compile_jax(decoders, traced, options=None):
    import jax

    def variables():  # of several models, which may share some
        return {id(each): each for decoder in decoders for each in decoder.model.variables}.values()

    @functools.partial(jax.jit, compiler_options=options)
    def compiled(values, *arguments):
        with keras.StatelessScope(state_mapping=zip(variables(), values, strict=True)):
            return traced(*arguments)

    return lambda *arguments: compiled([variable.value for variable in variables()], *arguments)
