"""Models written by `model.export` in each format, and run by the runtime of that format, which knows nothing of Keras."""

import pathlib
import warnings

import keras

BACKEND = keras.backend.backend()
# What Keras writes, or tries to, on each backend with the packages that the tests install.
FORMATS = {
    "tensorflow": ("tf_saved_model", "onnx", "openvino", "litert"),
    "jax": ("tf_saved_model", "openvino"),
    "torch": ("onnx", "openvino", "torch"),
}
RUNTIMES = {
    "tf_saved_model": "tensorflow",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai-edge-litert",
    "torch": "torch",
}
_FILES = {"onnx": "model.onnx", "openvino": "model.xml", "litert": "model.tflite", "torch": "model.pt2"}


def export(model, format, folder, axes=None, sample=None):
    """Writes a functional model with every axis free that is `None` in it.

    Args:
        model: functional `keras.Model` that has been called, as ONNX asks.
        format: str, as `model.export` takes it.
        folder: where to write.
        axes: dict name of an input -> a name for each of its axes. Axes of one name have one size, which JAX and torch have to
            be told. `None`: each axis but the batch has a name of its own.
        sample: (batch, rows, columns) of images that the model takes, where the exporter runs the model on images of one pixel
            to check what it traced, as OpenVINO's on torch does.

    Returns:
        The path.
    """
    path = str(pathlib.Path(folder) / _FILES.get(format, "model"))
    named, arguments = _named_axes(model, axes), {}
    if BACKEND == "jax":
        shapes = {name: f"({', '.join(map(str, sizes))})" for name, sizes in named.items()}
        # Without its gradient, which takes most of the time.
        arguments["jax2tf_kwargs"] = {"polymorphic_shapes": [_structured(model, shapes)], "with_gradient": False}
        if format == "openvino":
            arguments["jax2tf_kwargs"] |= {"enable_xla": False, "native_serialization": False}
    if format == "torch":
        import torch

        dims = {each: torch.export.Dim(each) for sizes in named.values() for each in sizes if isinstance(each, str)}
        free = {
            name: {index: dims[each] for index, each in enumerate(sizes) if each in dims}
            for name, sizes in named.items()
        }
        shapes = _structured(model, free)
        arguments["dynamic_shapes"] = [(shapes,)]
    if format == "openvino" and BACKEND == "torch" and sample is not None:
        inputs = [keras.InputSpec(each.dtype, (*sample, each.shape[-1]), name=each.name) for each in model.inputs]
        arguments["input_signature"] = inputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters
        model.export(path, format=format, verbose=False, **arguments)
    return path


def _named_axes(model, axes):
    """Dict name of an input -> for each axis its name, or its size where that is fixed."""
    named = {}
    for number, tensor in enumerate(model.inputs):
        names = (axes or {}).get(tensor.name)
        names = names or ["batch", *(f"axis_{number}_{index}" for index in range(1, len(tensor.shape)))]
        named[tensor.name] = [name if size is None else size for name, size in zip(names, tensor.shape, strict=True)]
    return named


def _structured(model, values):
    """Puts values, by the names of the model's inputs, into the structure in which the model takes its inputs."""
    return keras.tree.map_structure(lambda tensor: values[tensor.name], model.input)


def outputs(model, values):
    """Returns the model's own outputs, a list of arrays, for a dict of arrays by the names of its inputs."""
    tensors = _structured(model, {name: keras.ops.convert_to_tensor(value) for name, value in values.items()})
    call = model
    if BACKEND == "jax":  # which compiles each operation for each size else
        import jax

        call = jax.jit(model)
    return [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(call(tensors))]


def runner(model, format, path):
    """Returns the function from a dict of arrays, by the names of the model's inputs, to the list of its outputs.

    The model is asked for nothing but the structure of its inputs and outputs.
    """
    return _RUNNERS[format](model, path)


def _saved_model(model, path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)

    def run(values):
        found = loaded.serve(_structured(model, {name: tf.constant(value) for name, value in values.items()}))
        return [each.numpy() for each in keras.tree.flatten(found)]

    return run


def _onnx(model, path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = _matched(model, [each.name for each in session.get_inputs()])
    return lambda values: session.run(None, {ours: values[name] for name, ours in names.items()})


def _openvino(model, path):
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = _matched(model, [each.any_name for each in compiled.inputs])

    # TensorFlow's converter adds outputs of its own, such as sizes that nothing reads.
    found = {name: each for each in compiled.outputs for name in each.names}
    own = ["Identity:0", *(f"Identity_{number}:0" for number in range(1, len(found)))]
    own = [found[name] for name in own if name in found] or compiled.outputs

    def run(values):
        results = compiled({ours: values[name] for name, ours in names.items()})
        return [results[each] for each in own]

    return run


def _litert(model, path):
    from ai_edge_litert.interpreter import Interpreter

    interpret = Interpreter(path).get_signature_runner()
    names = _matched(model, list(interpret.get_input_details()))
    tree = keras.tree.flatten_with_path(model.output)
    keys = [where[-1] if where and isinstance(where[-1], str) else f"output_{n}" for n, (where, _) in enumerate(tree)]

    def run(values):
        found = interpret(**{ours: values[name] for name, ours in names.items()})
        return [found[key] for key in keys]

    return run


def _torch(model, path):
    import torch

    module = torch.export.load(path).module()

    def run(values):
        with torch.no_grad():
            found = module(_structured(model, {name: torch.tensor(value) for name, value in values.items()}))
        return [each.numpy() for each in keras.tree.flatten(found)]

    return run


def _matched(model, found):
    """Dict name of an input -> its name in the file, which may have something before and after."""
    names = [tensor.name for tensor in model.inputs]
    if len(names) == 1 == len(found):
        return {names[0]: found[0]}
    matched = {name: next((each for each in found if each.split(":")[0].endswith(name)), None) for name in names}
    # An input that changes no output is left out of some files.
    return {name: each for name, each in matched.items() if each is not None}


_RUNNERS = {
    "tf_saved_model": _saved_model,
    "onnx": _onnx,
    "openvino": _openvino,
    "litert": _litert,
    "torch": _torch,
}
