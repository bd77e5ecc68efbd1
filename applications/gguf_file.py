"""A file of GGUF in the words of a folder of Hugging Face: its table as a config, its tensors under the names of a folder."""

import re
from pathlib import Path

import numpy as np

from ..ops.frequencies import frequencies
from .huggingface.fields import Config
from .huggingface.tokenizers.gguf_files import reader_of, values

# The architecture of a file: the model type whose table reads it.
_TYPES = {name: name for name in ("llama", "qwen2", "qwen3", "smollm3", "gemma", "olmo2")}
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
    "expert_count", "attention.value_length_mla", "rope.scaling.yarn_log_multiplier", "attention.scale",
    "attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "embedding_scale", "residual_scale",
)  # fmt: skip
# Settings of rotary positions that have one value here.
_ONES = ("attn_factor", "yarn_attn_factor", "yarn_ext_factor")
_SCALINGS = (
    "scaling.type", "scaling.factor", "scale_linear", "scaling.original_context_length", "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
)  # fmt: skip
_ROTARY_FACTORS = "rope_freqs.weight"
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
# OLMo 2 normalizes what a branch gives.
_OLMO2_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_OLMO2 = {name: _TENSORS[name] for name in _TENSORS if name not in ("attn_norm", "ffn_norm")} | _OLMO2_NORMS


class File:
    """A GGUF file, in the words of a folder of Hugging Face: what `Checkpoint` is to safetensors."""

    def __init__(self, path):
        self.folder = Path(path)
        if not self.folder.is_file():
            there = "a folder" if self.folder.exists() else "where nothing is"
            raise ValueError(f"`path` must be a GGUF file. Received: path={str(path)!r}, {there}.")
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
        self._tensors, self._factors = {}, None
        for tensor in reader.tensors:
            if tensor.name == _ROTARY_FACTORS and self._factors is None:
                self._factors = tensor
                continue
            name = self._named(tensor.name)
            if name in self._tensors:
                raise ValueError(f"A tensor must be there once. Received: {tensor.name!r} in {self.folder}.")
            self._tensors[name] = tensor
        # The sizes of a file come in the order of memory, the last axis first.
        self.shapes = {name: tuple(map(int, tensor.shape[::-1])) for name, tensor in self._tensors.items()}

    def _check_head_size(self):
        sizes, size = {name: self._value(f"{self.architecture}.{name}") for name in _HEAD_SIZES}, self._head_size()
        for name, value in sizes.items():
            if size and value not in (None, size):
                raise ValueError(
                    f"`{self.architecture}.{name}` must be the size of a head, {size}. Received: {value} in {self.folder}."
                )

    def _head_size(self):
        names = ("attention.key_length", "embedding_length", "attention.head_count")
        size, width, heads = (self._value(f"{self.architecture}.{name}") for name in names)
        return size or (width and heads and width // heads)

    def _scaling(self):
        """Returns the `rope_scaling` of a config, or `None`: how rotary positions are stretched for longer texts."""
        said = {name: self._value(f"{self.architecture}.rope.{name}") for name in _SCALINGS}
        kind = said["scaling.type"] or "linear"
        factor = said["scaling.factor"] or said["scale_linear"] or 1.0
        for name in _ONES:
            value = self._value(f"{self.architecture}.rope.scaling.{name}")
            if value not in (None, 1.0) and kind != "none":
                raise ValueError(
                    f"`{self.architecture}.rope.scaling.{name}` must be 1, as others are not implemented. Received: "
                    f"{ascii(value)[:100]} in {self.folder}."
                )
        if kind not in ("none", "linear", "yarn"):
            raise ValueError(
                f"`{self.architecture}.rope.scaling.type` must be 'none', 'linear' or 'yarn': others are not implemented. "
                f"Received: {ascii(kind)[:100]} in {self.folder}."
            )
        scaling = None
        if kind == "yarn":
            length = said["scaling.original_context_length"] or self._value(f"{self.architecture}.context_length")
            scaling = {"rope_type": kind, "factor": factor, "original_max_position_embeddings": length}
            betas = {name: said[f"scaling.yarn_{name}"] for name in ("beta_fast", "beta_slow")}
            scaling |= {name: value for name, value in betas.items() if value is not None}
        elif kind == "linear" and factor != 1:
            scaling = {"rope_type": kind, "factor": factor}
        if self._factors is None:
            return scaling
        if scaling is not None:
            raise ValueError(
                f"A file with {_ROTARY_FACTORS} must have no other scaling of rotary positions. Received: {scaling} in "
                f"{self.folder}."
            )
        return self._factor_scaling()

    def _factor_scaling(self):
        """The scaling whose frequencies are divided by the tensor of factors: that of Llama 3, or a list of factors."""
        factors = self._widened(self._factors).reshape(-1)
        size = self._head_size()
        if not size or factors.shape != (size // 2,) or not np.isfinite(factors).all() or (factors <= 0).any():
            raise ValueError(
                f"{_ROTARY_FACTORS} must have a positive number for each of the {(size or 0) // 2} pairs of a head. Received: "
                f"shape {factors.shape}, from {factors.min(initial=0)} to {factors.max(initial=0)} in {self.folder}."
            )
        if (factors == 1).all():
            return None
        base = self._value(f"{self.architecture}.rope.freq_base") or 1e4
        llama3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        llama3 = {**llama3, "factor": float(factors.max())}
        stretched, _ = frequencies(size, base, {"type": "llama3", **llama3})
        if np.allclose(frequencies(size, base)[0] / factors, stretched, rtol=1e-5, atol=0):
            return {"rope_type": "llama3", **llama3}
        length = self._value(f"{self.architecture}.context_length") or 8192
        values = [float(each) for each in factors]
        return {
            "rope_type": "longrope", "factor": 1.0, "original_max_position_embeddings": length, "attention_factor": 1.0,
            "short_factor": values, "long_factor": values,
        }  # fmt: skip

    def config(self):
        """Returns what a `config.json` would say."""
        found = {name: self._value(f"{self.architecture}.{key}") for name, key in _SETTINGS.items()}
        found = {name: value for name, value in found.items() if value is not None}
        if "vocab_size" not in found and "model.embed_tokens.weight" in self.shapes:
            found["vocab_size"] = self.shapes["model.embed_tokens.weight"][0]
        scaling = self._scaling()
        if scaling is not None:
            found["rope_scaling"] = scaling
        found["tie_word_embeddings"] = "lm_head.weight" not in self.shapes
        found["attention_bias"] = self.architecture == "llama" and any("q_proj.bias" in name for name in self.shapes)
        return Config(self.folder, found, self.folder.name)

    def read(self, name):
        """Returns a tensor in float32, as `transformers` has it: of Llama the halves of a head, of Gemma the scales of norms."""
        array = self._widened(self._tensors[name])
        if self.architecture == "gemma" and name.endswith("norm.weight"):
            array = array - 1  # which llama.cpp's converter has added
        heads = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}
        part = name.split(".")[-2]
        if self.architecture == "llama" and part in heads:
            # llama.cpp rotates neighbours, so its converter laid the two halves of each head beside each other.
            count = self._value(f"llama.{heads[part]}") or self._value("llama.attention.head_count")
            array = array.reshape(count, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        return np.ascontiguousarray(array, dtype="float32")

    def _widened(self, tensor):
        import gguf

        try:
            array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        except (NotImplementedError, ValueError) as error:
            raise ValueError(
                f"A tensor must be of a kind that the package gguf widens. Received: {tensor.name!r} of kind "
                f"{tensor.tensor_type.name} in {self.folder}: {error}"
            ) from error
        return array.astype("float32", copy=False)

    def _named(self, name):
        """The name that a tensor has in a folder."""
        block, part, ending = (_NAME.fullmatch(name) or _NAME.fullmatch("none.weight")).groups()
        known = (_OLMO2 if self.architecture == "olmo2" else _TENSORS).get(part)
        if known is None:
            raise ValueError(f"A tensor must be one that is known. Received: {ascii(name)[:100]} in {self.folder}.")
        return f"{f'model.layers.{block}.' if block else ''}{known}.{ending}"
