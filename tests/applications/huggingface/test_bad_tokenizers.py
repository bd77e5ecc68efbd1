"""Folders with tokenizers that are damaged or ask for what is not implemented, and templates that may not run."""

import json

import pytest

from keras_tx.applications import load_huggingface, load_tokenizer

pytestmark = pytest.mark.once  # nothing reaches a backend
pytest.importorskip("keras_hub")
pytest.importorskip("tokenizers")
from . import tokenizer_folders as folders  # noqa: E402  (needs the package)


def changed(spec, **parts):
    return {**spec, **parts}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: changed(spec, model={**spec["model"], "merges": [["zz", "qq"]]}), "one that `tokenizers` reads"),
        (
            lambda spec: changed(spec, model={**spec["model"], "vocab": {**spec["model"]["vocab"], "a": 900}}),
            "68 comes in the place of 67",
        ),
        (lambda spec: changed(spec, model={**spec["model"], "vocab": {**spec["model"]["vocab"], "a": 5}}), "each once"),
        (
            lambda spec: changed(spec, model={**spec["model"], "byte_fallback": True}),
            "must be none, or Metaspace",
        ),
        (lambda spec: changed(spec, added_tokens=[{**spec["added_tokens"][0], "id": 3}]), "must have the id"),
        (lambda spec: changed(spec, added_tokens=[{**spec["added_tokens"][0], "single_word": True}]), "single_word"),
        (lambda spec: changed(spec, normalizer={"type": "Lowercase"}), "'Lowercase' is not implemented"),
        (lambda spec: changed(spec, pre_tokenizer={"type": "Whitespace"}), "must end with ByteLevel"),
        (lambda spec: changed(spec, pre_tokenizer=split_by(r"\p{L}+(?=x)")), "looks ahead only in"),
        (lambda spec: changed(spec, pre_tokenizer=split_by(r"(?<!x)a")), "looks ahead only in"),
        (lambda spec: changed(spec, pre_tokenizer=split_by(r"\p{L}++")), "looks ahead only in"),
        (lambda spec: changed(spec, pre_tokenizer=split_by(r"^a")), "looks ahead only in"),
        (lambda spec: changed(spec, model=[]), "must have a model"),
    ],
)
def test_a_tokenizer_that_is_damaged_or_not_implemented_is_refused(tmp_path, change, message):
    folder = folders.write(tmp_path, folders.byte_pairs())
    spec = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(change(spec)))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(folder)


def split_by(pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, level]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"tokenizer.json": None},
            "must have tokenizer.json, vocab.json and merges.txt, vocab.txt, or one of spiece.model",
        ),
        ({"tokenizer.json": "{"}, "tokenizer.json"),
        ({"tokenizer.json": None, "vocab.txt": "[UNK]\n[CLS]\n[SEP]\na\na\n"}, "each token once"),
        ({"tokenizer.json": None, "vocab.txt": "[UNK]\n[CLS]\na\n"}, "must have the sep_token"),
        ({"tokenizer.json": None, "vocab.json": '{"a": 0, "b": 1}', "merges.txt": "a c\n"}, "`tokenizers` reads"),
        (
            {
                "tokenizer.json": None,
                "vocab.json": "{}",
                "merges.txt": "",
                "tokenizer_config.json": '{"tokenizer_class": "X"}',
            },
            "`tokenizer_class` must be one of",
        ),
        ({"tokenizer_config.json": '{"eos_token": "<none>"}'}, "eos_token='<none>'"),
        ({"tokenizer_config.json": '{"chat_template": 5}'}, "`chat_template` must be a string"),
        ({"generation_config.json": '{"eos_token_id": [400]}'}, "must be below 400"),
        ({"config.json": '{"eos_token_id": "2"}'}, "must be an id or a list of ids"),
    ],
)
def test_a_folder_that_is_damaged_is_refused(tmp_path, files, message):
    folder = folders.write(tmp_path, folders.byte_pairs())
    for name, text in files.items():
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        (folders.TEMPLATE, [{"role": "assistant", "content": "Hi"}], 'one of them of the role "user"'),
        (folders.TEMPLATE, "Hello", "`messages` must be a list"),
        ("{{ messages.__class__.__mro__ }}", None, "unsafe"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", None, "rounds of loops"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", None, "recursion"),
        ("{{ 'a' * 1000000000 }}", None, "small numbers"),
        (
            "{% set n = namespace(t='aaaa') %}{% for a in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
            None,
            "characters",
        ),
        ("{{ raise_exception('only one turn') }}", None, "only one turn"),
        ("{% if %}", None, "the template fails"),
    ],
)
def test_a_chat_is_refused(tmp_path, template, messages, message):
    folder = folders.write(tmp_path, folders.byte_pairs())
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(folder).chat_prompt([{"role": "user", "content": "Hello"}] if messages is None else messages)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    (tmp_path / "file").write_text("{}")
    for name, what in (("nothere", "where nothing is"), ("no.gguf", "where nothing is"), ("file", "a file of another")):
        with pytest.raises(ValueError, match=rf"`folder` must be a folder, or a GGUF file.*{name}', {what}"):
            load_tokenizer(tmp_path / name)
    with pytest.raises(ValueError, match="`folder` must be a folder. Received: folder='.*nothere', where nothing is"):
        load_huggingface(tmp_path / "nothere")
