"""Files of GGUF, as llama.cpp has them: models of the Llama family, whose weights are widened as they are read.

A file says in one table what a folder of Hugging Face says in `config.json`, and holds the same tensors under other names.
So the tables of such folders read it.
"""

import functools

import keras

from .gguf_file import File
from .huggingface import RECIPES, build
from .quantized_loading import config_of, filler


def load_gguf(path, dtype=None, quantize=None) -> keras.Model:
    """Builds the model of a GGUF file, with its weights.

    The file is mapped, and one tensor at a time is widened to float32 and handed to the model: F32, F16, BF16, and the
    quantized kinds that the package gguf widens, such as Q8_0, Q4_0, Q4_1 and those with a K. Every tensor of the file and
    every weight of the model is accounted for before a weight is set.

    Args:
        path: str or path, of one file.
        dtype: name of a dtype or of a dtype policy, or a policy, such as "bfloat16"; `None` for the one that new layers have.
        quantize: "int8" or "int4", to what the matrices and tables are rounded again, each as it is read, so that the model is
            never whole in floats; or a `keras.quantizers.Int8QuantizationConfig` or `Int4QuantizationConfig`. By the name
            weights alone are rounded, and not the inputs of products. `None` leaves all as floats.

    Returns:
        A `keras.Model`, that of `Llama`; with `quantize` as `model.quantize` would give it.

    Raises:
        ImportError: if the package gguf is not installed.
        ValueError: for another `quantize`, if the file is missing, cut off or no GGUF file, and by name for an architecture, a
            setting or a kind of tensor that is not implemented, and tensors that are missing, too many, or of another shape.
    """
    config = config_of(quantize)
    file = File(path)
    quantized = None if config is None else functools.partial(filler, config=config)
    return build(RECIPES[file.model_type], file.config(), file, dtype, quantized)
