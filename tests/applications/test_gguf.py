"""GGUF files: put together by the package gguf as llama.cpp's converter does it, read as the model that they were made of."""

import numpy as np
import pytest

from keras_tx.applications import Llama, load_gguf, load_tokenizer, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ..layers.contract_rows import stir
from ..layers.execution import array

gguf = pytest.importorskip("gguf")
KIND = gguf.GGMLQuantizationType
SIZES = {"vocabulary_size": 40, "num_layers": 2, "num_heads": 4, "num_key_value_heads": 2, "hidden_dim": 32}
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A model, and its tensors by their names in a folder."""
    model = Llama(**SIZES, intermediate_dim=64, max_wavelength=500.0, norm_epsilon=1e-5, tied=True)
    stir(model)
    folder = tmp_path_factory.mktemp("folder")
    save_huggingface(model, folder)
    checkpoint = Checkpoint(folder)
    return model, {name: checkpoint.read(name) for name in checkpoint.shapes}


def named(name):
    for theirs, ours in NAMES.items():
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
        "attention.head_count_kv": 2, **(settings or {}),
    }  # fmt: skip
    for key, value in values.items():
        if value is not None:
            writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.rope.freq_base", 500.0)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    for name, tensor in tensors.items():
        laid = tensor
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            laid = permuted(tensor, 4 if "q_proj" in name else 2)
        each = kind if tensor.ndim == 2 else KIND.F32
        packed = gguf.quants.quantize(np.ascontiguousarray(laid), each)
        writer.add_tensor(named(name) if "." in name else name, packed, raw_dtype=each)
        held[name] = np.abs(gguf.quants.dequantize(packed, each).reshape(laid.shape) - laid).max()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, held


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0", "Q4_1"])
def test_a_file_gives_the_model_that_it_was_made_of(parts, kind, tmp_path):
    model, tensors = parts
    path, errors = write(tmp_path / "model.gguf", tensors, KIND[kind])
    found = load_gguf(path)
    assert [weight.path for weight in found.weights] == [weight.path for weight in model.weights]
    most = max(errors.values())
    assert (most == 0) == (kind == "F32")
    for weight, expected in zip(found.weights, model.weights, strict=True):
        np.testing.assert_allclose(array(weight), array(expected), atol=most * 1.001 + 1e-9, err_msg=weight.path)
    if kind == "F32":
        ids = np.array([[3, 4, 5, 6]])
        np.testing.assert_allclose(array(found(ids)), array(model(ids)), atol=1e-6)


@pytest.mark.once
def test_other_architectures_keep_the_rows_of_their_heads(tmp_path):
    model = Llama(**SIZES, intermediate_dim=64, max_wavelength=500.0, norm_epsilon=1e-5, query_key_norm="heads")
    stir(model)
    save_huggingface(model, tmp_path / "folder")
    checkpoint = Checkpoint(tmp_path / "folder")
    tensors = {name: checkpoint.read(name) for name in checkpoint.shapes}
    path, _ = write(tmp_path / "model.gguf", tensors, architecture="qwen3", settings={"attention.key_length": 8})
    ids = np.array([[3, 4, 5, 6]])
    np.testing.assert_allclose(array(load_gguf(path)(ids)), array(model(ids)), atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("split", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_its_tokenizer_is_read_and_spells(split, tmp_path):
    letters = [chr(each) for each in range(33, 127)] + ["Ġ", "Ċ"]
    tokens, merges = [*letters, "ab", "Ġab", "12", "<|end|>", "<own>"], ["a b", "Ġ ab", "1 2"]
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 2) + [3, 4])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|end|>"))
    writer.add_eos_token_id(tokens.index("<|end|>"))
    writer.add_add_bos_token(split == "llama-bpe")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = load_tokenizer(tmp_path / "model.gguf")
    end = tokens.index("<|end|>")
    assert tokenizer.stop_ids == [end]
    numbers = ["1", "2"] if split in ("smollm", "qwen2") else ["12"]
    expected = [tokens.index(each) for each in ("ab", "Ġab", "Ġ", *numbers, "<own>", "ab")]
    start = [end] if split == "llama-bpe" else []
    assert list(tokenizer.tokenize("ab ab 12<own>ab")) == start + expected
    assert tokenizer.detokenize(expected) == "ab ab 12<own>ab"


@pytest.mark.once
def test_what_is_wrong_or_not_implemented_is_refused_by_name(parts, tmp_path):
    _, tensors = parts

    def refused(message, tensors=tensors, **arguments):
        path, _ = write(tmp_path / "model.gguf", tensors, **arguments)
        with pytest.raises(ValueError, match=message):
            load_gguf(path)

    refused("`general.architecture` must be one of 'llama'.*'gpt2'", architecture="gpt2")
    refused("`llama.expert_count` must not be there.*8", settings={"expert_count": 8})
    refused(
        "`llama.rope.dimension_count` must be the size of a head, 8. Received: 4", settings={"rope.dimension_count": 4}
    )
    refused("`llama.attention.value_length` must be the size of a head", settings={"attention.value_length": 16})
    refused(
        "`qwen3.attention.sliding_window` must be 0", architecture="qwen3", settings={"attention.sliding_window": 4}
    )
    path, _ = write(tmp_path / "model.gguf", tensors, settings={"attention.sliding_window": 4})
    assert load_gguf(path).get_layer("decoder_0").attention.window == 4
    refused("`num_hidden_layers`|must be in model.gguf", settings={"block_count": None})
    refused("no tensor starts with 'model.layers.2.'", settings={"block_count": 3})
    refused("there is also 'model.layers.1", settings={"block_count": 1})
    refused("must be one that is known. Received: 'rope_freqs", {**tensors, "rope_freqs": np.ones(4, "float32")})
    refused("down_proj", {name: each for name, each in tensors.items() if "1.mlp.down_proj" not in name})
    refused("q_proj", {name: each[:16] if "0.self_attn.q_proj" in name else each for name, each in tensors.items()})
    path, _ = write(tmp_path / "model.gguf", tensors)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:300], b"", b"GGUF", b"PK" + whole[2:]):
        (tmp_path / "cut.gguf").write_bytes(data)
        with pytest.raises(ValueError, match="`path` must be a whole GGUF file"):
            load_gguf(tmp_path / "cut.gguf")
    with pytest.raises(ValueError, match="`path` must be a GGUF file"):
        load_gguf(tmp_path / "absent.gguf")
