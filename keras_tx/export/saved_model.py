"""The short name of the three exports."""

import inspect
import os
from collections.abc import Callable

import keras

from .generator import export_generator
from .images import export_images
from .model import export_model


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    tokenizer=None,
    sequence_length: int | None = None,
    activation: str | Callable | None = None,
    jit_compile: bool = False,
    generate: dict | None = None,
    target_tokenizer=None,
    image_size: tuple[int, int] | None = None,
) -> str | os.PathLike:
    """Writes a SavedModel: by `export_generator` given `generate`, by `export_images` given `image_size`, else by `export_model`.

    Args:
        model: `keras.Model`.
        path: folder to write. One that exists is replaced, when the new one is whole.
        tokenizer: from strings to ids, see `export_model`; `None` for a model served on its own inputs or on images.
        sequence_length: int, see `export_model`.
        activation: see `export_model`.
        jit_compile: bool, see `export_model`.
        generate: dict of the arguments of `export_generator` but the tokenizers, or `None` for a model that does not
            generate.
        target_tokenizer: see `export_generator`.
        image_size: (rows, columns), see `export_images`.

    Returns:
        The path.

    Raises:
        ValueError: as the function that is chosen does, and for arguments of another one.
        ImportError: if TensorFlow is missing, with the command that installs it.

    Example:

    ```python
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    if keras.backend.backend() == "tensorflow":
        path = keras_tx.export.export_saved_model(model, folder + "/model")
    ```
    """
    if image_size is not None:
        if tokenizer is not None or generate is not None:
            raise ValueError(
                "`image_size` belongs to a model of images, without `tokenizer` and `generate`. Received: "
                f"image_size={image_size!r}, tokenizer={tokenizer!r}, generate={generate!r}."
            )
        return export_images(model, path, image_size, activation, jit_compile)
    if generate is None:
        return export_model(model, path, tokenizer, sequence_length, activation, jit_compile)
    if not isinstance(generate, dict):
        raise ValueError(f"`generate` must be a dict of arguments. Received: generate={generate!r}.")
    if activation is not None or sequence_length is not None or jit_compile:
        raise ValueError(
            "`activation`, `sequence_length` and `jit_compile` belong to models that do not generate. Received: "
            f"activation={activation!r}, sequence_length={sequence_length!r}, jit_compile={jit_compile!r} with generate."
        )
    known = set(inspect.signature(export_generator).parameters) - {"model", "path", "tokenizer", "target_tokenizer"}
    needed = {"max_new_tokens"} | ({"prompt"} if "text_input" in generate else set())
    known -= set() if "text_input" in generate else {"text_input", "prompt", "pad_id"}
    if needed - set(generate) or set(generate) - known:
        raise ValueError(
            f"`generate` must hold {', '.join(map(repr, sorted(needed)))}, and nothing but {sorted(known)}. Received: "
            f"generate={generate!r}."
        )
    return export_generator(model, path, tokenizer, target_tokenizer=target_tokenizer, **generate)
