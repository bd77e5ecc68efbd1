"""SavedModels that take raw text or the bytes of image files, in one folder that is loaded without this package."""

import keras

from . import folder, generation, images


def export_saved_model(
    model,
    path,
    tokenizer=None,
    sequence_length=None,
    activation=None,
    jit_compile=False,
    generate=None,
    target_tokenizer=None,
    image_size=None,
):
    """Writes a SavedModel whose endpoint `serve` maps strings (or the model's own inputs) to the model's outputs.

    The same endpoint is the signature "serving_default", which servers, `saved_model_cli` and converters ask for.

    The tokenizer is part of the SavedModel and its tables are tracked, so a process with TensorFlow (and
    tensorflow-text, for keras-hub's tokenizers) alone can load it. So is the reading of image files. Strings do not enter XLA:
    tokenizer and decoder run outside the compiled function.

    The folder is written beside `path` and renamed when it is whole.

    Args:
        model: `keras.Model` with one input of token ids (B, T), or of anything where no tokenizer is given.
        path: folder to write. One that exists is replaced.
        tokenizer: layer that maps strings (B,) to ids, dense (B, T) or ragged: a keras-hub tokenizer or an adapted
            `keras.layers.TextVectorization`. `None` for a model served on its own inputs.
        sequence_length: int, what ragged ids are padded with 0, or cut, to. `None` for the model's static length; where
            that is unknown too, for the longest text of the batch. No text is longer than the position table: it is cut there.
        activation: name of, or function from, `keras.activations` applied to the outputs (such as "softmax" for
            probabilities of a model that returns logits), or `None`.
        jit_compile: bool, whether the model inside is compiled by XLA when served, once for each input shape.
        generate: dict of arguments for generation: `max_new_tokens`, and if wished `max_prompt_length` (a prompt's last tokens
            are read), `sampler`, `stop_ids`, `seed` and `output`. `serve` then maps prompts to prompts with their continuations,
            generated inside, and two more endpoints serve a loop of one's own: `prefill(token_ids, mask)` and `step(token_ids,
            cache_000, ...)`, each giving "logits" and the caches. Those hold `max_prompt_length + max_new_tokens` tokens, padding
            included, and no more than the position table; both endpoints fail with an `InvalidArgumentError` if more come. An
            empty prompt gives an empty string, as in `keras_tx.decoding.generate`. Any batch size. Needs a tokenizer. `None` for
            a model that does not generate.

            A model of two inputs, one of which is decoded, answers texts. Then `text_input` names the input of a text's ids,
            `prompt` is the list of ids with which each answer starts (it is not part of it), and `pad_id`, 0 unless given, is
            padding. `serve` then maps texts to answers (of a text, the first `max_prompt_length` tokens are read), and
            `prefill` takes the text as `context_ids`.
        target_tokenizer: keras-hub tokenizer that spells what is generated, where it is not `tokenizer`. It may have fewer
            tokens than the model, where it spells ids beyond its own without failing.
        image_size: (rows, columns) of a model of images (B, Y, X, C), C 1 or 3. `serve` then maps the bytes of JPEG and PNG
            files, strings (B,), to its outputs: decoded to C channels, resized to this size whatever their own (bilinear with
            antialiasing; the proportions are not kept), and given to the model as pixels from 0 to 255. So a model that takes
            other numbers must begin with a `keras.layers.Rescaling`. Greys are those of ITU-R BT.601, of a CMYK file as well; of
            16 bits a channel the upper 8 are read, and of a moving PNG the first picture. Transparency is dropped, as is what a
            file says of the camera's orientation. A file that is cut off or cannot be decoded is an `InvalidArgumentError` when
            served; one that is neither JPEG nor PNG is named by its place in the batch. `None` for a model that is served no
            files.

    Returns:
        The path.

    Raises:
        ValueError: if the backend is not TensorFlow, the model has not one input where a tokenizer is given, or the
            tokenizer cannot be called, gives no integers, or has more tokens than the model's embedding has rows; for a
            `target_tokenizer` with more tokens than the target's embedding, or one that fails for the last; and for an
            `image_size` that is not that of the model's images, or beside a tokenizer.
        ImportError: if TensorFlow is missing, with the command that installs it.

    Example:

    ```python
    vectorize = keras.layers.TextVectorization(output_sequence_length=8, vocabulary=["good", "bad"])
    model = keras_tx.applications.TextClassifier(4, 8, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=16)
    if keras.backend.backend() == "tensorflow":
        path = keras_tx.export.export_saved_model(model, folder + "/reviews", tokenizer=vectorize, activation="softmax")

    digits = keras_tx.applications.ViT(7, 1, 2, 8, 16, image_size=28, input_shape=(28, 28, 1), num_classes=10)
    if keras.backend.backend() == "tensorflow":
        path = keras_tx.export.export_saved_model(digits, folder + "/digits", image_size=(28, 28))
    ```
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError("A SavedModel needs TensorFlow: pip install 'keras-tx[tensorflow]'") from error
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "The backend must be TensorFlow for a SavedModel: save the model with model.save(), load that file in a process with "
            f"KERAS_BACKEND=tensorflow and export it there. Received: backend {keras.backend.backend()}."
        )
    text_input = generate.get("text_input") if isinstance(generate, dict) else None
    if tokenizer is not None and (not callable(tokenizer) or (len(model.inputs) != 1 and text_input is None)):
        raise ValueError(
            "`tokenizer` must be callable, and its model must have one input, or `generate` name its `text_input`. Received: "
            f"tokenizer={tokenizer!r}, a model with {len(model.inputs)} inputs."
        )
    if image_size is not None:
        image_size = images.check(model, image_size, tokenizer, generate)
    if tokenizer is not None:
        _check_tokenizer(tf, tokenizer, model, text_input)
    if generate is not None:
        if not isinstance(generate, dict):
            raise ValueError(f"`generate` must be a dict of arguments. Received: generate={generate!r}.")
        if activation is not None or sequence_length is not None or jit_compile:
            raise ValueError(
                "`activation`, `sequence_length` and `jit_compile` belong to models that do not generate. Received: "
                f"activation={activation!r}, sequence_length={sequence_length!r}, jit_compile={jit_compile!r} with generate."
            )
        return generation.export(tf, model, path, tokenizer, target_tokenizer or tokenizer, dict(generate))
    activation = keras.activations.get(activation)

    def run(*inputs):
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return activation(outputs) if activation is not keras.activations.linear else outputs

    module = folder.tracking_module(tf, model, [tokenizer])
    compiled = tf.function(run, jit_compile=jit_compile)
    if image_size is not None:
        decode = images.decoder(tf, image_size, model.inputs[0])
        signature = [tf.TensorSpec((None,), tf.string, name="files")]
        module.serve = tf.function(lambda files: compiled(decode(files)), input_signature=signature)
    elif tokenizer is None:
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
        module.serve = tf.function(lambda *inputs: compiled(*inputs), input_signature=signature)
    else:
        from ..decoding.endpoints import tokens_of
        from ..decoding.inputs import longest_input

        length, longest = sequence_length or model.inputs[0].shape[1], longest_input(model, model.inputs[0].name)

        def serve(texts):
            ids = tokens_of(tf, tokenizer, texts)
            ids = ids if longest is None else ids[:, :longest]
            return compiled(_dense_ids(tf, ids, length, model.inputs[0].dtype))

        module.serve = tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    folder.save_whole(tf, module, {"serve": module.serve}, path)
    return path


def _check_tokenizer(tf, tokenizer, model, text_input):
    """Raises `ValueError` unless the tokenizer gives integers that the model's embeddings have rows for.

    Else the folder would be written, and every request to it fail or, worse, be answered.
    """
    from ..decoding.inputs import vocabulary_size

    try:
        # In a graph, as it will be served: keras-hub's tokenizers give lists outside of one.
        ids = tf.function(tokenizer)(tf.constant(["text"]))
    except Exception as error:  # whatever its author chose to raise
        raise ValueError(
            "`tokenizer` must map a string tensor to ids; a TextVectorization must be adapted first. Received: "
            f"tokenizer={tokenizer!r}, which fails: {error}"
        ) from error
    if not getattr(getattr(ids, "dtype", None), "is_integer", False):
        raise ValueError(
            f"`tokenizer` must give integer ids. Received: tokenizer={tokenizer!r}, which gives "
            f"{getattr(ids, 'dtype', type(ids))}."
        )
    rows = vocabulary_size(model, text_input)
    size = getattr(tokenizer, "vocabulary_size", None)
    if rows is not None and callable(size) and size() > rows:
        raise ValueError(
            "`tokenizer` must have no more tokens than the model's embedding has rows. Received: vocabulary of "
            f"{size()} tokens, embedding of {rows} rows."
        )


def _dense_ids(tf, ids, length, dtype):
    if isinstance(ids, tf.RaggedTensor):
        ids = ids.to_tensor(0, shape=(None, length))
    elif length is not None:
        ids = ids[:, :length]
    return tf.cast(ids, dtype)
