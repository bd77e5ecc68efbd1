"""Files of GGUF, put together by the package gguf as llama.cpp's converter does it."""

import gguf
import numpy as np

from keras_tx.applications import Llama, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ..layers.contract_rows import stir

KIND = gguf.GGMLQuantizationType
SIZES = {"vocabulary_size": 40, "num_layers": 2, "num_heads": 4, "num_key_value_heads": 2, "hidden_dim": 32}
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip


def model_and_tensors(folder, **options):
    """Returns a model, and its tensors by their names in a folder."""
    model = Llama(**{**SIZES, "intermediate_dim": 64, "max_wavelength": 500.0, "norm_epsilon": 1e-5, **options})
    stir(model)
    save_huggingface(model, folder)
    checkpoint = Checkpoint(folder)
    return model, {name: checkpoint.read(name) for name in checkpoint.shapes}


OLMO2 = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}


def named(name, architecture):
    for theirs, ours in {**NAMES, **(OLMO2 if architecture == "olmo2" else {})}.items():
        if name.removesuffix(".weight").endswith(theirs):
            block = f"blk.{name.split('.')[2]}." if ".layers." in name else ""
            return f"{block}{ours}.weight"
    raise AssertionError(name)


def permuted(tensor, heads):
    """As llama.cpp's converter lays the rows of query and key maps."""
    return tensor.reshape(heads, 2, -1, tensor.shape[-1]).swapaxes(1, 2).reshape(tensor.shape)


def write(path, tensors, kind=KIND.F32, architecture="llama", settings=None):
    """Writes a file; matrices are of the kind, all else is F32. Returns the tensors as the file holds them."""
    writer, held = gguf.GGUFWriter(path, architecture), {}
    values = {
        "block_count": 2, "embedding_length": 32, "feed_forward_length": 64, "attention.head_count": 4,
        "attention.head_count_kv": 2, "rope.freq_base": 500.0, **(settings or {}),
    }  # fmt: skip
    for key, value in values.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}.get(type(value))
        if value is not None:
            add(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    for name, tensor in tensors.items():
        laid = tensor
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            laid = permuted(tensor, 4 if "q_proj" in name else 2)
        if architecture == "gemma" and name.endswith("norm.weight"):
            laid = tensor + 1
        each = kind if tensor.ndim == 2 else KIND.F32
        packed = gguf.quants.quantize(np.ascontiguousarray(laid), each)
        writer.add_tensor(
            named(name, architecture) if name.startswith(("model.", "lm_head")) else name, packed, raw_dtype=each
        )
        held[name] = np.abs(gguf.quants.dequantize(packed, each).reshape(laid.shape) - laid).max()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, held
