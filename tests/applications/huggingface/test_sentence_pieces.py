"""Models of SentencePiece, and Unigrams: the ids of `transformers` and `tokenizers`, outside of a graph and inside one."""

import base64
import importlib.util
import json
import random

import pytest

from keras_tx.applications import load_tokenizer, save_tokenizer
from keras_tx.applications.huggingface.tokenizers import precompiled

pytestmark = pytest.mark.once  # strings meet TensorFlow and the packages alone
tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_text")
pytest.importorskip("keras_hub")
pytest.importorskip("sentencepiece")
tokenizers = pytest.importorskip("tokenizers")
from . import tokenizer_folders as folders  # noqa: E402  (needs the package)

TEXTS = [
    *folders.texts(),
    *("x<extra_id_3> y </s>  z<unk><pad>q <own>r<own> ", "▁a ▁b▁", " \u200b ", "``quoted'' ''", "  The  fox  "),
    *("<s>fox</s>fox <mask> fox", "[CLS] fox[MASK]", "<bos>The<eos><start_of_turn>", "<0x41>"),
]


def graph_ids(tokenizer, texts):
    compiled = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec((None,), tf.string)])
    return compiled(tf.constant(texts, tf.string)).to_list()


def graph_texts(tokenizer, rows):
    spell = tf.function(tokenizer.detokenize, input_signature=[tf.RaggedTensorSpec((None, None), tf.int32)])
    return [text.decode(errors="replace") for text in spell(tf.ragged.constant(rows, tf.int32)).numpy()]


def differing(one, other):
    return [(text, a, b) for text, a, b in zip(TEXTS, one, other, strict=True) if a != b]


@pytest.mark.parametrize(
    ("kind", "config", "graph"),
    [
        ("T5Tokenizer", {"extra_ids": 5}, True),
        ("XLMRobertaTokenizer", {}, True),
        ("AlbertTokenizer", {}, True),
        ("AlbertTokenizer", {"do_lower_case": False, "keep_accents": True}, False),
        ("LlamaTokenizer", {}, False),
        ("LlamaTokenizer", {"add_bos_token": True, "legacy": True}, False),
        ("LlamaTokenizer", {"add_bos_token": True, "add_eos_token": True, "add_prefix_space": False}, True),
        ("GemmaTokenizer", {"add_bos_token": True}, True),
    ],
)
def test_a_model_alone_is_what_transformers_makes_of_it(kind, config, graph, tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    folders.sentence_pieces(tmp_path, kind)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **config}))
    reference = getattr(transformers, kind).from_pretrained(tmp_path)
    if not graph:  # what is in a graph has a row beside
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tokenizer = load_tokenizer(tmp_path)
    expected = reference(TEXTS).input_ids
    assert not differing(tokenizer.tokenize(TEXTS), expected)
    assert tokenizer.get_vocabulary() == reference.convert_ids_to_tokens(range(len(reference)))
    assert tokenizer.stop_ids == [reference.eos_token_id]
    if graph:
        assert not differing(graph_ids(tokenizer, TEXTS), expected)
        assert graph_texts(tokenizer, expected) == tokenizer.detokenize(expected)
    inside = [row for row in expected if not {*row[1:-1]} & {*reference.all_special_ids}]
    plain = reference.batch_decode(inside, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert tokenizer.detokenize(inside) == plain
    save_tokenizer(tokenizer, tmp_path / "new")
    written = tokenizers.Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert [each.ids for each in written.encode_batch(TEXTS)] == expected


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A folder with a `spiece.model` and nothing else, and the `tokenizer.json` that is made of it."""
    folder = tmp_path_factory.mktemp("t5")
    folders.sentence_pieces(folder, "T5Tokenizer")
    return folder, json.loads(load_tokenizer(folder).folder_files["tokenizer_json"])


def test_a_model_with_no_other_file_runs_in_tf_data_and_in_a_saved_model(t5, tmp_path):
    tokenizer = load_tokenizer(t5[0])
    names = ("bos", "eos", "pad", "unk")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [None, 1, 0, 2]
    ids = tokenizer.tokenize("The <extra_id_0> fox").tolist()
    assert (ids[-1], tokenizer.vocabulary_size() - 1 in ids) == (1, True)
    assert tokenizer.detokenize(ids) == "The<extra_id_0> fox"  # as `transformers` spells it
    expected = tokenizer.tokenize(TEXTS)
    dataset = tf.data.Dataset.from_tensor_slices(TEXTS).map(tokenizer)
    assert not differing([row.tolist() for row in dataset.as_numpy_iterator()], expected)
    module = tf.Module()
    module.parts = list(vars(tokenizer).values())
    texts = tf.TensorSpec((None,), tf.string)
    module.ids = tf.function(lambda texts: tokenizer(texts).to_tensor(-1), input_signature=[texts])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    rows = tf.saved_model.load(str(tmp_path / "saved")).ids(tf.constant(TEXTS)).numpy().tolist()
    assert not differing([[index for index in row if index >= 0] for row in rows], expected)


BEYOND = base64.b64encode(b"\4\0\0\0\xff\xff\xff\xffa").decode()  # a table that points beyond its end
SPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}


def named(kind):
    return {"type": kind}


@pytest.mark.parametrize(
    ("normalizers", "splits", "byte_fallback"),
    [
        ([{"type": "Strip", "strip_left": False, "strip_right": True}, " {2,}"], [SPACE], False),
        ([*map(named, ("NFKD", "StripAccents", "Lowercase"))], [{**SPACE, "split": False, "prepend_scheme": "always"}], True),
        ([{"type": "Prepend", "prepend": "▁"}, {"type": "StripAccents"}, r"\s+"], [], True),
        (None, [{"type": "WhitespaceSplit"}, {**SPACE, "prepend_scheme": "never"}], False),
    ],
)  # fmt: skip
def test_other_parts_of_a_unigram_are_those_of_the_package(t5, normalizers, splits, byte_fallback, tmp_path):
    whole = json.loads(json.dumps(t5[1]))
    parts = [
        {"type": "Replace", "pattern": {"Regex": part}, "content": "▁"} if isinstance(part, str) else part
        for part in normalizers or []
    ]
    table = whole["normalizer"]["normalizers"]
    whole["normalizer"] = None if normalizers is None else {"type": "Sequence", "normalizers": [*table, *parts]}
    whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splits} if splits else None
    if byte_fallback:
        whole["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        whole["model"]["byte_fallback"] = True
        whole["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    tokenizer = load_tokenizer(tmp_path)
    expected = tokenizer.tokenize(TEXTS)
    assert sum(2 in row for row in expected) > 0 or byte_fallback
    scores = [score for _, score in whole["model"]["vocab"]]
    assert not [case for case in differing(graph_ids(tokenizer, TEXTS), expected) if not tie(scores, *case[1:])]
    assert graph_texts(tokenizer, expected) == tokenizer.detokenize(expected)


def tie(scores, one, other):
    """Tells whether two ways to cut a text are as probable, but for what float32 makes of their sums."""
    return abs(sum(scores[index] for index in one) - sum(scores[index] for index in other)) < 1e-4


def test_characters_with_accents_are_looked_up_as_the_package_does_it(t5):
    (part,) = t5[1]["normalizer"]["normalizers"]
    package = tokenizers.normalizers.Precompiled(base64.b64decode(part["precompiled_charsmap"]))
    letters = [
        *range(32, 0x250),
        *range(0x370, 0x400),
        *map(ord, "\r\n\t\0\x85\u0600\u1100\u1161\uac00\ufb01\uff21\u200b"),
    ]
    marks = [*range(0x300, 0x370), *map(ord, "\u0903\u093c\u200d\ufe0f\u3099\u302e")]
    draw = random.Random(0)
    texts = [
        "".join(chr(draw.choice(letters if draw.random() < 0.6 else marks)) for _ in range(draw.randint(1, 12)))
        for _ in range(3000)
    ]  # fmt: skip
    expected = [package.normalize_str(text) for text in texts]
    normalize, tables = precompiled.normalizer(part)
    found = [text.decode() for text in normalize(tf.constant(texts)).numpy()]
    assert [case for case in zip(texts, found, expected, strict=True) if case[1] != case[2]] == []
    assert tables


def test_sentencepiece_itself_gives_the_same_ids_but_where_it_is_said_to_differ(t5):
    import sentencepiece

    folder, whole = t5
    package = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    normalize = tokenizers.Tokenizer.from_str(json.dumps(whole)).normalizer.normalize_str
    texts = [text for text in folders.texts() if "<" not in text]
    ids = load_tokenizer(folder).tokenize(texts)
    scores, differ = [score for _, score in whole["model"]["vocab"]], []
    for text, row in zip(texts, ids, strict=True):
        other = [*package.encode(text), 1]
        spaced = any(each.isspace() and each != " " for each in package.normalize(text))
        if row != other and not spaced and normalize(text) == package.normalize(text) and not tie(scores, row, other):
            differ.append((text, row, other))
    assert not differ


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unk_id": None}, "must have the id of an unknown token"),
        ({"byte_fallback": True}, "token for each byte. Received: none for <0x00>"),
        ({"vocab": [["a", -1.0], ["b", -2.0], ["a", -3.0]]}, "The ids of the tokens must be"),
        ({"vocab": [["a", -1.0], ["b", "x"]]}, "one that `tokenizers` reads"),
        ({"normalizer": {"type": "Nmt"}}, "normalizer of a Unigram must be.*Nmt"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "a+b"}, "content": ""}}, "run of spaces. Received.*a\\+b"),
        ({"pre_tokenizer": {"type": "Punctuation", "behavior": "Isolated"}}, "pre-tokenizer of a Unigram must be"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "must be a table of SentencePiece"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": BEYOND}}, "must be a table of SentencePiece"),
    ],
)  # fmt: skip
def test_a_unigram_that_is_damaged_or_not_implemented_is_refused(t5, change, message, tmp_path):
    whole = json.loads(json.dumps(t5[1]))
    for name, value in change.items():
        (whole if name in whole else whole["model"])[name] = value
    if "vocab" in change:
        whole["added_tokens"], whole["post_processor"], whole["model"]["unk_id"] = [], None, 0
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(tmp_path)


def test_a_model_that_is_damaged_or_of_another_class_is_refused(t5, tmp_path):
    data = (t5[0] / "spiece.model").read_bytes()
    path = tmp_path / "spiece.model"

    def refused(message, data=data, **config):
        path.write_bytes(data)
        for name in ("tokenizer_config", "config"):
            (tmp_path / f"{name}.json").write_text(json.dumps(config.get(name, {})))
        with pytest.raises(ValueError, match=message):
            load_tokenizer(tmp_path)

    for wrong in (b"", b"{}", data[: len(data) // 2], data[:-1], b"\xff" * 50):
        refused("A model of SentencePiece must be a whole file", wrong)
    refused(
        "`tokenizer_class`.*must be one of T5Tokenizer, .*'PegasusTokenizer'",
        tokenizer_config={"tokenizer_class": "PegasusTokenizer"},
    )
    refused("must be one of T5Tokenizer, .*'xlnet'", config={"model_type": "xlnet"})
    refused("for LlamaTokenizer must be a BPE", tokenizer_config={"tokenizer_class": "LlamaTokenizerFast"})
    refused("begins with the pieces <unk>, <s>, </s>", config={"model_type": "xlm-roberta"})
    own = folders.sentence_pieces(
        tmp_path, "XLMRobertaTokenizer"
    ).read_bytes()  # trained without a word of special tokens
    (tmp_path / "sentencepiece.bpe.model").unlink()
    refused("<unk>, <s>, </s> in .*train makes one with pad_id=0, eos_id=1, unk_id=2, bos_id=-1", own)
    refused("`extra_ids` must be an integer", tokenizer_config={"extra_ids": -1})
    for name in ("source.spm", "target.spm", "vocab.json"):
        (tmp_path / name).write_text("{}")
    path.unlink()
    with pytest.raises(ValueError, match="\\(Marian\\) are not implemented"):
        load_tokenizer(tmp_path)
