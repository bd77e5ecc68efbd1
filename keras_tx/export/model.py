"""SavedModels of what a model computes, from raw text or from the model's own inputs."""

import os
from collections.abc import Callable

import keras

from .. import graph
from ..decoding.inputs import inputs_of
from . import folder, tokenizers


def export_model(
    model: keras.Model,
    path: str | os.PathLike,
    tokenizer=None,
    sequence_length: int | None = None,
    activation: str | Callable | None = None,
    jit_compile: bool = False,
) -> str | os.PathLike:
    """Writes a SavedModel whose endpoint `serve` maps strings (or the model's own inputs) to the model's outputs.

    `serve` is also the signature "serving_default", which servers, `saved_model_cli` and converters ask for. The
    tokenizer is part of the SavedModel and its tables are tracked, so a process with TensorFlow (and tensorflow-text,
    for keras-hub's tokenizers) alone can load it. Strings do not enter XLA: the tokenizer runs outside the compiled
    function.

    Args:
        model: `keras.Model` with one input of token ids (B, T), or of anything where no tokenizer is given. Optional inputs, as
            the segments of a packed model, are left out.
        path: folder to write. One that exists is replaced, when the new one is whole.
        tokenizer: layer that maps strings (B,) to ids, dense (B, T) or ragged: a keras-hub tokenizer or an adapted
            `keras.layers.TextVectorization`. `None` for a model served on its own inputs.
        sequence_length: int, what ragged ids are padded with 0, or cut, to. `None` for the model's static length; where
            that is unknown too, for the longest text of the batch. No text is longer than the position table: it is cut
            there.
        activation: name of, or function from, `keras.activations` applied to the outputs (such as "softmax" for
            probabilities of a model that returns logits), or `None`.
        jit_compile: bool, whether the model inside is compiled by XLA when served, once for each input shape.

    Returns:
        The path.

    Raises:
        ValueError: if the backend is not TensorFlow, the model has not one input where a tokenizer is given, or the
            tokenizer cannot be called, gives no integers, or has more tokens than the model's embedding has rows.
        ImportError: if TensorFlow is missing, with the command that installs it.

    Example:

    ```python
    vectorize = keras.layers.TextVectorization(output_sequence_length=8, vocabulary=["good", "bad"])
    model = keras_tx.applications.TextClassifier(4, 8, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=16)
    if keras.backend.backend() == "tensorflow":
        path = keras_tx.export.export_model(model, folder + "/reviews", tokenizer=vectorize, activation="softmax")
    ```
    """
    tf, model = folder.tensorflow(), graph.without_optional_inputs(model)
    compiled = folder.compiled(tf, model, activation, jit_compile)
    if tokenizer is None:
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
        return folder.export(tf, model, lambda *inputs: compiled(*inputs), signature, path)
    tokenizers.check_tokenizer(tf, tokenizer, model)
    (tensor,), (known,) = model.inputs, inputs_of(model).values()
    length = sequence_length or tensor.shape[1]

    def serve(texts):
        ids = tokenizers.tokens_of(tf, tokenizer, texts)[:, : known.longest]
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_tensor(0, shape=(None, length))
        return compiled(tf.cast(ids[:, :length], tensor.dtype))

    return folder.export(tf, model, serve, [tf.TensorSpec((None,), tf.string, name="texts")], path, [tokenizer])
