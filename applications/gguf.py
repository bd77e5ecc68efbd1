"""Files of GGUF, as llama.cpp has them: models of the Llama family, whose weights are widened as they are read.

A file says in one table what a folder of Hugging Face says in `config.json`, and holds the same tensors under other names.
So the tables of such folders read it.
"""

import re
from pathlib import Path

import keras
import numpy as np

from .huggingface import RECIPES, build
from .huggingface.fields import Config
from .huggingface.tokenizers.gguf_files import reader_of, values

# The architecture of a file: the model type whose table reads it.
_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "smollm3": "smollm3"}
# Keys of a config, and of a file behind the name of its architecture.
_SETTINGS = {
    "vocab_size": "vocab_size",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "sliding_window": "attention.sliding_window",
}
# What would give other numbers if it were left out.
_REFUSED = (
    "expert_count", "rope.scaling.type", "rope.scale_linear", "rope.scaling.factor", "attention.value_length_mla",
    "attention.scale", "attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "embedding_scale",
    "residual_scale",
)  # fmt: skip
# The size of a head, of which values and rotary positions take the whole.
_HEAD_SIZES = ("attention.key_length", "attention.value_length", "rope.dimension_count")
_NAME = re.compile(r"(?:blk\.(0|[1-9][0-9]{0,8})\.)?([a-z_]+)\.(weight|bias)")
_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def load_gguf(path, dtype=None) -> keras.Model:
    """Builds the model of a GGUF file, with its weights.

    The file is mapped, and one tensor at a time is widened to float32 and handed to the model: F32, F16, BF16, and the
    quantized kinds that the package gguf widens, such as Q8_0, Q4_0, Q4_1 and those with a K. Every tensor of the file and
    every weight of the model is accounted for before a weight is set.

    Args:
        path: str or path, of one file.
        dtype: name of a dtype or of a dtype policy, or a policy, such as "bfloat16"; `None` for the one that new layers have.

    Returns:
        A `keras.Model`, that of `Llama`. Quantize it again with `model.quantize("int8")`.

    Raises:
        ImportError: if the package gguf is not installed.
        ValueError: if the file is missing, cut off or no GGUF file, and by name for an architecture, a setting or a kind of
            tensor that is not implemented, and tensors that are missing, too many, or of another shape.
    """
    file = _File(path)
    return build(RECIPES[file.model_type], file.config(), file, dtype)


class _File:
    """A GGUF file, in the words of a folder of Hugging Face: what `Checkpoint` is to safetensors."""

    def __init__(self, path):
        self.folder = Path(path)
        if not self.folder.is_file():
            raise ValueError(f"`path` must be a GGUF file. Received: path={str(path)!r}.")
        reader = reader_of(self.folder)
        self._value = values(reader)
        self.architecture = self._value("general.architecture")
        if self.architecture not in _TYPES:
            raise ValueError(
                f"`general.architecture` must be one of {', '.join(map(repr, _TYPES))}. Received: "
                f"{ascii(self.architecture)[:100]} in {self.folder}."
            )
        for name in _REFUSED:
            value = self._value(f"{self.architecture}.{name}")
            if value not in (None, "none", 0):
                raise ValueError(
                    f"`{self.architecture}.{name}` must not be there, as it is not implemented. Received: "
                    f"{ascii(value)[:100]} in {self.folder}."
                )
        window = self._value(f"{self.architecture}.attention.sliding_window")
        if window and self.architecture != "llama":
            raise ValueError(
                f"`{self.architecture}.attention.sliding_window` must be 0, as it is implemented for llama alone. Received: "
                f"{window} in {self.folder}."
            )
        self.model_type = "mistral" if window else _TYPES[self.architecture]
        self._check_head_size()
        self._tensors = {}
        for tensor in reader.tensors:
            name = self._named(tensor.name)
            if name in self._tensors:
                raise ValueError(f"A tensor must be there once. Received: {tensor.name!r} in {self.folder}.")
            self._tensors[name] = tensor
        # The sizes of a file come in the order of memory, the last axis first.
        self.shapes = {name: tuple(map(int, tensor.shape[::-1])) for name, tensor in self._tensors.items()}

    def _check_head_size(self):
        sizes = {name: self._value(f"{self.architecture}.{name}") for name in _HEAD_SIZES}
        width, heads = (
            self._value(f"{self.architecture}.{name}") for name in ("embedding_length", "attention.head_count")
        )
        size = sizes["attention.key_length"] or (width and heads and width // heads)
        for name, value in sizes.items():
            if size and value not in (None, size):
                raise ValueError(
                    f"`{self.architecture}.{name}` must be the size of a head, {size}. Received: {value} in {self.folder}."
                )

    def config(self):
        """Returns what a `config.json` would say."""
        found = {name: self._value(f"{self.architecture}.{key}") for name, key in _SETTINGS.items()}
        found = {name: value for name, value in found.items() if value is not None}
        if "vocab_size" not in found and "model.embed_tokens.weight" in self.shapes:
            found["vocab_size"] = self.shapes["model.embed_tokens.weight"][0]
        found["tie_word_embeddings"] = "lm_head.weight" not in self.shapes
        found["attention_bias"] = self.architecture == "llama" and any("q_proj.bias" in name for name in self.shapes)
        return Config(self.folder, found, self.folder.name)

    def read(self, name):
        """Returns a tensor in float32, and query and key maps of Llama with the halves of a head as `transformers` has them."""
        import gguf

        tensor = self._tensors[name]
        try:
            array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(self.shapes[name])
        except (NotImplementedError, ValueError) as error:
            raise ValueError(
                f"A tensor must be of a kind that the package gguf widens. Received: {tensor.name!r} of kind "
                f"{tensor.tensor_type.name} in {self.folder}: {error}"
            ) from error
        heads = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}
        part = name.split(".")[-2]
        if self.architecture == "llama" and part in heads:
            # llama.cpp rotates neighbours, so its converter laid the two halves of each head beside each other.
            count = self._value(f"llama.{heads[part]}") or self._value("llama.attention.head_count")
            array = array.reshape(count, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        return np.ascontiguousarray(array, dtype="float32")

    def _named(self, name):
        """The name that a tensor has in a folder."""
        block, part, ending = (_NAME.fullmatch(name) or _NAME.fullmatch("none.weight")).groups()
        known = _TENSORS.get(part)
        if known is None:
            raise ValueError(f"A tensor must be one that is known. Received: {ascii(name)[:100]} in {self.folder}.")
        return f"{f'model.layers.{block}.' if block else ''}{known}.{ending}"
