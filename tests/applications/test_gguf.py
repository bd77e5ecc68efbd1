"""GGUF files: put together by the package gguf as llama.cpp's converter does it, read as the model that they were made of."""

import contextlib
import random

import keras
import numpy as np
import pytest

from keras_tx.applications import load_gguf, load_tokenizer, quantized_loading
from keras_tx.applications.huggingface.activations import FUNCTIONS

from ..layers.execution import array

gguf = pytest.importorskip("gguf")
from .gguf_files import KIND, model_and_tensors, write  # noqa: E402  (needs the package)

FACTORS = "rope_freqs.weight"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A model, and its tensors by their names in a folder."""
    return model_and_tensors(tmp_path_factory.mktemp("folder"), tied=True)


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
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("qwen3", {"query_key_norm": "heads"}),
        (
            "gemma",
            {"norm": "zero_centered_rms", "embedding_scale": 32**0.5, "tied": True},
        ),
        ("olmo2", {"normalize_first": False, "normalize_branch": True, "query_key_norm": "all"}),
    ],
)
def test_other_architectures_are_laid_as_llama_cpp_lays_them(architecture, options, tmp_path):
    if architecture == "gemma":
        options = {**options, "activation": FUNCTIONS["gelu_pytorch_tanh"]}
    model, tensors = model_and_tensors(tmp_path / "folder", **options)
    settings = {"attention.key_length": 8}
    path, _ = write(tmp_path / "model.gguf", tensors, architecture=architecture, settings=settings)
    ids = np.array([[3, 4, 5, 6]])
    np.testing.assert_allclose(array(load_gguf(path)(ids)), array(model(ids)), atol=1e-6)


def llama3_factors(base, original, factor=8.0, low=1.0, high=4.0):
    """As llama.cpp's converter makes them, for heads of 8."""
    wavelengths = 2 * np.pi * base ** (np.arange(0, 8, 2) / 8)
    kept = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - kept) / factor + kept)).astype("float32")


YARN = {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 16}
LLAMA3 = {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.once
@pytest.mark.parametrize(
    ("scaling", "said", "factors"),
    [
        ({"type": "linear", "factor": 4.0}, {"scaling.type": "linear", "scaling.factor": 4.0}, None),
        ({"type": "linear", "factor": 4.0}, {"scale_linear": 4.0}, None),
        (None, {"scaling.type": "none", "scaling.factor": 4.0}, None),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, YARN, None),
        ({**LLAMA3, "original_max_position_embeddings": 8192}, {}, llama3_factors(5e5, 8192)),
        ({**LLAMA3, "original_max_position_embeddings": 64}, {}, llama3_factors(5e5, 64)),
        (None, {}, np.ones(4, "float32")),
    ],
)
def test_scaled_rotary_positions_are_those_of_a_folder(scaling, said, factors, tmp_path):
    model, tensors = model_and_tensors(tmp_path / "folder", rotary_scaling=scaling, max_wavelength=5e5)
    settings = {f"rope.{key}": value for key, value in {"freq_base": 5e5, **said}.items()}
    tensors |= {} if factors is None else {FACTORS: factors}
    path, _ = write(tmp_path / "model.gguf", tensors, settings=settings)
    found, ids = load_gguf(path), np.arange(60)[None] % 40
    np.testing.assert_allclose(array(found(ids)), array(model(ids)), atol=2e-5)
    rotary = found.get_layer("decoder_0").attention.rotary.scaling
    listed = factors is not None and (scaling or {}).get("original_max_position_embeddings") == 64
    assert (rotary or {}).get("type") == ("longrope" if listed else (scaling or {}).get("type"))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning")
@pytest.mark.parametrize(
    ("mode", "tied"),
    [("int8", True), *(pytest.param(*row, marks=pytest.mark.once) for row in (("int8", False), ("int4", True)))],
)
def test_weights_are_quantized_as_they_are_read(mode, tied, tmp_path, monkeypatch):
    monkeypatch.setattr(quantized_loading, "_BLOCK", 16)  # of the 40 rows of the table
    _, tensors = model_and_tensors(tmp_path / "folder", tied=tied)
    path, _ = write(tmp_path / "model.gguf", tensors)
    config = {"int8": keras.quantizers.Int8QuantizationConfig, "int4": keras.quantizers.Int4QuantizationConfig}[mode]
    expected, ids = load_gguf(path), np.array([[3, 4, 5, 6]])
    exact = array(expected(ids))
    expected.quantize(mode, config=config(activation_quantizer=None))
    found = load_gguf(path, quantize=mode)
    assert [weight.path for weight in found.weights] == [weight.path for weight in expected.weights]
    for weight, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(array(weight), array(other), err_msg=weight.path)
    np.testing.assert_array_equal(array(found(ids)), array(expected(ids)))
    assert 0 < np.abs(array(found(ids)) - exact).max() < {"int8": 0.05, "int4": 0.5}[mode] * np.abs(exact).max()
    found.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(again(ids)), array(found(ids)))


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
def test_a_tokenizer_of_sentencepiece_gives_the_ids_of_sentencepiece(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    from .huggingface import tokenizer_folders as folders

    data = folders.sentence_pieces(tmp_path, "LlamaTokenizer", allow_whitespace_only_pieces=True).read_bytes()
    package = sentencepiece.SentencePieceProcessor(model_proto=data)
    ids = range(package.vocab_size())
    pieces, scores = [package.id_to_piece(index) for index in ids], [package.get_score(index) for index in ids]
    kinds = [2, 3, 3, *(6 if package.is_byte(index) else 1 for index in ids[3:])]

    def tokenizer(scores=scores, **arguments):
        writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
        writer.add_tokenizer_model("llama")
        writer.add_token_list(pieces)
        writer.add_token_scores(scores)
        writer.add_token_types(kinds)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return load_tokenizer(tmp_path / "model.gguf", **arguments)

    draw = random.Random(0)
    texts = [text for text in folders.texts() if "<" not in text]
    texts += ["".join(draw.choice("ao =-#\n") for _ in range(draw.randint(1, 60))) for _ in range(1000)]
    found = tokenizer(add_special_tokens=False)
    assert found.tokenize(texts) == package.encode(texts)
    assert found.detokenize(package.encode(texts)) == package.decode(package.encode(texts))
    assert tokenizer().tokenize("a</s>a").tolist() == [1, *package.encode("a"), 2, *package.encode("a")]
    with pytest.raises(ValueError, match="must not have one score"):
        tokenizer([0.0] * len(pieces))
    with pytest.raises(ValueError, match="must have a number for each of"):
        tokenizer(scores[:-1])


@pytest.mark.once
def test_files_that_were_altered_are_refused_or_give_a_model_of_the_same_sizes(parts, tmp_path):
    model, tensors = parts
    path, _ = write(tmp_path / "model.gguf", tensors)
    whole, draw = path.read_bytes(), random.Random(0)
    header = len(whole) - sum(tensor.nbytes for tensor in tensors.values())
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3:
            for _ in range(trial % 4 + 1):
                data[draw.randrange(header)] ^= 1 << draw.randrange(8)
        else:
            del data[draw.randrange(len(data)) :]
        path.write_bytes(data)
        with contextlib.suppress(ValueError):
            found = load_gguf(path)
            assert trial % 3, "a file that was cut off"
            assert [weight.shape for weight in found.weights] == [weight.shape for weight in model.weights]


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
    refused("must be one that is known. Received: 'rope_freqs'", {**tensors, "rope_freqs": np.ones(4, "float32")})
    for wrong in (np.ones(3, "float32"), -np.ones(4, "float32"), np.full(4, np.nan, "float32")):
        refused("rope_freqs.weight must have a positive number for each of the 4 pairs", {**tensors, FACTORS: wrong})
    stretched = {"rope.scaling.factor": 2.0}
    refused("must have no other scaling", {**tensors, FACTORS: 2 * np.ones(4, "float32")}, settings=stretched)
    refused("`llama.rope.scaling.type` must be 'none'.*'longrope'", settings={"rope.scaling.type": "longrope"})
    refused("`llama.rope.scaling.attn_factor` must be 1", settings={"rope.scaling.attn_factor": 2.0})
    refused(
        "rope_scaling.*must be",
        settings={"rope.scaling.type": "yarn", "rope.scaling.factor": -2.0, "context_length": 64},
    )
    with pytest.raises(ValueError, match="`quantize` must be one of 'int8', 'int4'.*'gptq'"):
        load_gguf(tmp_path / "model.gguf", quantize="gptq")
    refused("down_proj", {name: each for name, each in tensors.items() if "1.mlp.down_proj" not in name})
    refused("q_proj", {name: each[:16] if "0.self_attn.q_proj" in name else each for name, each in tensors.items()})
    path, _ = write(tmp_path / "model.gguf", tensors)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:300], b"", b"GGUF", b"PK" + whole[2:]):
        (tmp_path / "cut.gguf").write_bytes(data)
        with pytest.raises(ValueError, match="`path` must be a whole GGUF file"):
            load_gguf(tmp_path / "cut.gguf")
    with pytest.raises(ValueError, match="`path` must be a GGUF file.*absent.gguf', where nothing is"):
        load_gguf(tmp_path / "absent.gguf")
