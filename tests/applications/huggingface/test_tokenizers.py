"""Tokenizers of folders: the ids of the package `tokenizers`, outside of a graph and inside one."""

import importlib.util
import json

import minilm
import pytest

from keras_tx.applications import GPT, T5, load_huggingface, load_tokenizer, save_huggingface, save_tokenizer
from keras_tx.decoding import generate

pytestmark = pytest.mark.once  # strings meet TensorFlow and the package alone
tf = pytest.importorskip("tensorflow")
tensorflow_text = pytest.importorskip("tensorflow_text")
pytest.importorskip("keras_hub")
tokenizers = pytest.importorskip("tokenizers")
from . import tokenizer_folders as folders  # noqa: E402  (needs the package)

TEXTS = folders.texts()


def graph_ids(tokenizer, texts):
    compiled = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec((None,), tf.string)])
    return compiled(tf.constant(texts, tf.string)).to_list()


def differing(one, other):
    return [(text, a, b) for text, a, b in zip(TEXTS, one, other, strict=True) if a != b]


@pytest.fixture
def folder(tmp_path):
    """A folder as SmolLM2's, without a model."""
    return folders.write(
        tmp_path,
        folders.byte_pairs(),
        tokenizer_config={
            "bos_token": "<|im_start|>",
            "eos_token": {"content": "<|im_end|>"},
            "chat_template": folders.TEMPLATE,
        },
        generation_config={"eos_token_id": [2, 0], "pad_token_id": 2},
    )


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2"])
def test_byte_pairs_in_a_graph_are_those_of_the_package(kind, tmp_path):
    made = folders.byte_pairs(kind)
    expected = [each.ids for each in made.encode_batch(TEXTS)]
    tokenizer = load_tokenizer(folders.write(tmp_path, made))
    assert tokenizer.tokenize(TEXTS) == expected
    differ = differing(graph_ids(tokenizer, TEXTS), expected)
    if kind == "qwen2":  # NFC puts marks in order, and tensorflow-text knows none that are newer than Unicode 9
        normal = tensorflow_text.normalize_utf8([text for text, *_ in differ], "NFC").numpy()
        assert len(differ) <= 10
        differ = [
            case
            for case, text in zip(differ, normal, strict=True)
            if text.decode() == made.normalizer.normalize_str(case[0])
        ]
    assert not differ

    spell = tf.function(tokenizer.detokenize, input_signature=[tf.RaggedTensorSpec((None, None), tf.int32)])
    rows = [*expected, [], [3, 10**6, -1, 5]]
    spelled = [text.decode(errors="replace") for text in spell(tf.ragged.constant(rows, tf.int32)).numpy()]
    assert spelled == tokenizer.detokenize(rows)
    if kind == "llama3":
        assert tokenizer.detokenize(tokenizer.tokenize("a")) == "a"  # what is put before a text is left out


@pytest.mark.parametrize(
    "metaspace", [None, {"prepend_scheme": "first", "split": False}, {"prepend_scheme": "always", "split": True}]
)
def test_pairs_of_characters_in_a_graph_are_those_of_the_package(metaspace, tmp_path):
    made = folders.character_pairs(metaspace)
    texts = [*TEXTS, "▁a ▁b▁", "</s> fox</s>fox <s>", " fox"]
    expected = [each.ids for each in made.encode_batch(texts)]
    tokenizer = load_tokenizer(folders.write(tmp_path, made))
    assert tokenizer.tokenize(texts) == expected
    assert [pair for pair in zip(graph_ids(tokenizer, texts), expected, strict=True) if pair[0] != pair[1]] == []
    spell = tf.function(tokenizer.detokenize, input_signature=[tf.RaggedTensorSpec((None, None), tf.int32)])
    spelled = [text.decode() for text in spell(tf.ragged.constant(expected, tf.int32)).numpy()]
    assert spelled == tokenizer.detokenize(expected)
    assert tokenizer.detokenize(tokenizer.tokenize(folders.SENTENCES[:3])) == folders.SENTENCES[:3]


def test_word_pieces_in_a_graph_are_those_of_the_package(tmp_path):
    folder = minilm.unpack(tmp_path)
    made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    expected = [each.ids for each in made.encode_batch(TEXTS)]
    tokenizer = load_tokenizer(folder)
    assert tokenizer.tokenize(TEXTS) == expected
    assert not differing(graph_ids(tokenizer, TEXTS), expected)
    assert graph_ids(tokenizer, []) == []

    spell = tf.function(tokenizer.detokenize, input_signature=[tf.RaggedTensorSpec((None, None), tf.int32)])
    spelled = [text.decode() for text in spell(tf.ragged.constant(expected, tf.int32)).numpy()]
    assert spelled == tokenizer.detokenize(expected)
    assert tokenizer.detokenize(tokenizer.tokenize("Unbelievable, it is?")) == "unbelievable, it is?"

    vocabulary = sorted(made.get_vocab(), key=made.get_vocab().get)
    alone = tmp_path / "vocab"
    alone.mkdir()
    (alone / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    assert load_tokenizer(alone).tokenize(TEXTS) == expected
    assert load_tokenizer(alone, add_special_tokens=False).tokenize("[MASK] dog").tolist() == [103, 3899]


def test_a_byte_without_a_token_is_the_unknown_one_or_none(tmp_path):
    vocabulary = {"<unk>": 0, "a": 1, "b": 2, "ab": 3}
    for unknown, ids in ((None, [3, 1]), ("<unk>", [3, 0, 0, 1])):
        made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [("a", "b")], unk_token=unknown))
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = tokenizers.decoders.ByteLevel()
        tokenizer = load_tokenizer(folders.write(tmp_path, made))
        assert graph_ids(tokenizer, ["abéa"]) == [made.encode("abéa").ids] == [ids]


def test_two_files_of_gpt2_are_one_tokenizer(tmp_path):
    made = folders.byte_pairs("smollm2")
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model = json.loads(made.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n"
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|im_end|>"})
    )
    tokenizer = load_tokenizer(tmp_path)
    texts = [text for text in TEXTS if "<|im_start|>" not in text]  # no config names it
    assert tokenizer.tokenize(texts) == [each.ids for each in made.encode_batch(texts)]
    assert tokenizer.stop_ids == [0]

    config = {"tokenizer_class": "BartTokenizer", "cls_token": "<|im_start|>", "sep_token": "<|im_end|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).tokenize("x").tolist() == [1, *tokenizer.tokenize("x"), 2]


def test_it_runs_in_tf_data_and_in_a_saved_model(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    expected = [each.ids for each in folders.byte_pairs().encode_batch(TEXTS)]
    dataset = tf.data.Dataset.from_tensor_slices(TEXTS).map(tokenizer)
    assert [row.tolist() for row in dataset.as_numpy_iterator()] == expected

    module = tf.Module()
    module.parts = list(vars(tokenizer).values())
    texts = tf.TensorSpec((None,), tf.string)
    module.ids = tf.function(lambda texts: tokenizer(texts).to_tensor(-1), input_signature=[texts])
    module.again = tf.function(lambda texts: tokenizer.detokenize(tokenizer(texts)), input_signature=[texts])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    served = tf.saved_model.load(str(tmp_path / "saved"))
    rows = served.ids(tf.constant(TEXTS)).numpy()
    assert [[index for index in row if index >= 0] for row in rows.tolist()] == expected
    assert [text.decode() for text in served.again(tf.constant(TEXTS)).numpy()] == TEXTS


def test_without_tensorflow_text_it_works_outside_of_graphs(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.detokenize(tokenizer.tokenize("The fox")) == "The fox"
    with tf.Graph().as_default(), pytest.raises(ImportError, match="pip install tensorflow-text"):
        tokenizer.tokenize("The fox")


def test_special_tokens_and_stops_are_what_the_configs_say(folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.stop_ids == [2, 0]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id) == (
        1,
        2,
        2,
        None,
    )
    assert tokenizer.special_tokens == ["<|im_start|>", "<|im_end|>"]
    assert tokenizer.vocabulary_size() == len(tokenizer.get_vocabulary()) == 400
    assert (tokenizer.id_to_token(2), tokenizer.token_to_id("<|im_end|>")) == ("<|im_end|>", 2)
    (folder / "generation_config.json").unlink()
    assert load_tokenizer(folder).stop_ids == [2]


def test_generate_stops_where_the_tokenizer_says(folder):
    tokenizer = load_tokenizer(folder)
    model = GPT(400, sequence_length=32, num_layers=1, num_heads=1, hidden_dim=8, intermediate_dim=8)
    ids = generate(model, [tokenizer.tokenize("The fox").tolist()], 6)[0].tolist()
    new = ids[len(tokenizer.tokenize("The fox")) :]
    tokenizer.stop_ids = [new[2]]
    kept = new[: new.index(new[2])]
    assert generate(model, ["The fox"], 6, tokenizer=tokenizer) == [
        tokenizer.detokenize([*tokenizer.tokenize("The fox"), *kept])
    ]
    assert generate(model, ["The fox"], 6, tokenizer=tokenizer, stop_ids=[]) == [tokenizer.detokenize(ids)]


def test_a_chat_is_what_the_template_makes_of_it(folder):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    start = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
    tokenizer = load_tokenizer(folder)
    assert tokenizer.chat_prompt(chat, add_generation_prompt=False) == start
    assert tokenizer.chat_prompt(chat) == start + "<|im_start|>assistant\n"


def test_what_is_put_before_a_text_is_left_out_of_a_chat(tmp_path):
    template = "{{ bos_token }}{% for message in messages %}{{ message.content | trim }}{% endfor %}"
    config = {"bos_token": "<|endoftext|>", "chat_template": template}
    folder = folders.write(tmp_path, folders.byte_pairs("llama3"), tokenizer_config=config)
    chat = [{"role": "user", "content": " Hello "}]
    assert load_tokenizer(folder).chat_prompt(chat) == "Hello"
    assert load_tokenizer(folder, add_special_tokens=False).chat_prompt(chat) == "<|endoftext|>Hello"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0].content }}"}))
    with pytest.raises(ValueError, match="add_special_tokens=False"):
        load_tokenizer(folder).chat_prompt(chat)


def test_a_folder_is_written_as_it_was_read(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    new = tmp_path / "new"
    new.mkdir()
    (new / "generation_config.json").write_text(json.dumps({"max_length": 20, "eos_token_id": 7}))
    save_tokenizer(tokenizer, new)
    again = load_tokenizer(new)
    assert again.tokenize(TEXTS) == tokenizer.tokenize(TEXTS)
    assert (again.stop_ids, again.bos_token_id, again.eos_token_id) == ([2, 0], 1, 2)
    assert again.folder_files["chat_template"] == folders.TEMPLATE
    assert json.loads((new / "generation_config.json").read_text()) == {"max_length": 20, "eos_token_id": [2, 0]}
    package = tokenizers.Tokenizer.from_file(str(new / "tokenizer.json"))
    assert [each.ids for each in package.encode_batch(TEXTS)] == tokenizer.tokenize(TEXTS)
    with pytest.raises(ValueError, match="one that `load_tokenizer` gave"):
        save_tokenizer(package, new)
    with pytest.raises(ValueError, match="`folder` must be a folder, .*which is a file"):
        save_tokenizer(tokenizer, new / "tokenizer.json")


@pytest.mark.parametrize("model_first", [True, False])
def test_beside_a_model_the_ids_that_start_and_pad_its_texts_stay(folder, tmp_path, model_first):
    transformers = pytest.importorskip("transformers")
    tokenizer, new = load_tokenizer(folder), tmp_path / "new"
    model = T5(400, num_layers=1, num_heads=1, hidden_dim=8, intermediate_dim=8)
    if model_first:
        save_huggingface(model, new)
    save_tokenizer(tokenizer, new)
    if not model_first:
        save_huggingface(model, new)
    said = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": [2, 0]}
    assert json.loads((new / "generation_config.json").read_text()) == said
    assert load_tokenizer(new).stop_ids == [2, 0]
    config = transformers.GenerationConfig.from_pretrained(new)
    assert (config.decoder_start_token_id, config.pad_token_id, config.eos_token_id) == (0, 0, [2, 0])
    (new / "generation_config.json").write_text(json.dumps({"num_beams": 4, "decoder_start_token_id": 7}))
    save_huggingface(load_huggingface(new), new)
    said = {"num_beams": 4, "decoder_start_token_id": 7, "pad_token_id": 0, "eos_token_id": 1}
    assert json.loads((new / "generation_config.json").read_text()) == said
