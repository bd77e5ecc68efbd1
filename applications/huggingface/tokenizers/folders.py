"""What the files of a folder say of its tokenizer, in one form, whichever files there are."""

import json
from pathlib import Path

from ....checkpoints import read_json
from ..fields import NAME as MODEL
from ..generation import NAME as GENERATION
from . import byte_pairs, precompiled, sentence_pieces, word_pieces
from .word_pieces import text_of

JSON, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
NAMES = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")
# What `tokenizer_class` may be where the files have no tokenizer.json, which says itself what is done.
_BYTE_PAIRS = ("GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer")
_WORD_PIECES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")


def read(folder):
    """Returns what a folder says of its tokenizer, a dict.

    "tokenizer_json" is the text of a `tokenizer.json`, "tokens" a dict of the texts of special tokens by their names, "token_ids"
    one of the ids that its configs give for them, "stop_ids" a list of int or `None`, and "chat_template" a str or `None`.

    Raises:
        ValueError: if a file is missing, or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"`folder` must be a folder, or a GGUF file whose name ends in .gguf. Received: folder={str(folder)!r}, "
            f"{'a file of another kind' if folder.exists() else 'where nothing is'}."
        )
    config = optional(folder, CONFIG)
    tokens = {**optional(folder, "special_tokens_map.json"), **config}
    tokens = {name: text_of(tokens.get(f"{name}_token")) for name in NAMES}
    ids = [optional(folder, name) for name in (GENERATION, MODEL)]
    made = _tokenizer_json(folder, config, tokens, ids[1].get("model_type"))
    precompiled.check(json.loads(made).get("normalizer"))
    return {
        "tokenizer_json": made,
        "tokens": {name: text for name, text in tokens.items() if text is not None},
        "token_ids": {name: _first(ids, f"{name}_token_id") for name in ("bos", "eos", "pad")},
        "stop_ids": _stops(ids),
        "chat_template": _template(folder, config),
    }


def _tokenizer_json(folder, config, tokens, model_type):
    """Returns the text of the folder's `tokenizer.json`, without truncation and padding, or one made of its other files.

    The texts of special tokens that a file other than a config names are put among `tokens`.
    """
    if (folder / JSON).exists():
        whole = read_json(folder, JSON)
        if not isinstance(whole.get("model"), dict) or not isinstance(whole.get("added_tokens", []), list):
            raise ValueError(f"`{JSON}` must have a model and a list of added tokens. Received: {JSON} in {folder}.")
        # They belong to a call: `transformers` leaves them out too.
        return json.dumps({**whole, "truncation": None, "padding": None}, ensure_ascii=False)
    kind = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        _check_class(folder, kind, _BYTE_PAIRS)
        vocabulary = read_json(folder, "vocab.json")
        if not all(isinstance(index, int) and not isinstance(index, bool) for index in vocabulary.values()):
            raise ValueError(f"`vocab.json` must give an integer for each token. Received: vocab.json in {folder}.")
        added = [*_added(folder, config), *(text for text in tokens.values() if text in vocabulary)]
        ends = tuple(tokens[name] for name in ("cls", "sep")) if kind in _BYTE_PAIRS[1:] else None
        return byte_pairs.files_as_json(vocabulary, _text(folder, "merges.txt"), added, ends, config)
    if (folder / "vocab.txt").exists():
        _check_class(folder, kind, _WORD_PIECES)
        return word_pieces.file_as_json(_text(folder, "vocab.txt").removesuffix("\n").split("\n"), config)
    found = [name for name in sentence_pieces.FILES if (folder / name).exists()]
    if found:
        made, named = sentence_pieces.file_as_json(folder / found[0], config, model_type, _added(folder, config))
        tokens.update({name: text for name, text in named.items() if tokens[name] is None})
        return made
    raise ValueError(
        f"A folder with a tokenizer must have {JSON}, vocab.json and merges.txt, vocab.txt, or one of "
        f"{', '.join(sentence_pieces.FILES)}; two models of SentencePiece with a vocab.json (Marian) are not implemented. "
        f"Received: {folder}."
    )


def _check_class(folder, kind, known):
    if kind and kind not in known:
        raise ValueError(
            f"Without a {JSON}, `tokenizer_class` must be one of {', '.join(known)}. Received: {kind!r} in {folder}."
        )


def _added(folder, config):
    """Returns the tokens that were added to a vocabulary: their texts, or dicts with an id."""
    listed = config.get("added_tokens_decoder") or {}
    if listed:
        return [{**token, "id": int(index)} for index, token in listed.items()]
    return [{"content": content, "id": index} for content, index in optional(folder, "added_tokens.json").items()]


def _first(configs, key):
    for config in configs:
        value = config.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _stops(configs):
    for config in configs:
        value = config.get("eos_token_id")
        if value is None:
            continue
        value = value if isinstance(value, list) else [value]
        if not value or not all(isinstance(index, int) and not isinstance(index, bool) for index in value):
            raise ValueError(f"`eos_token_id` must be an id or a list of ids. Received: eos_token_id={value!r}.")
        return value
    return None


def _template(folder, config):
    if (folder / TEMPLATE).exists():
        return _text(folder, TEMPLATE)
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}.get(
            "default"
        )
    if template is not None and not isinstance(template, str):
        raise ValueError(
            f"`chat_template` must be a string, or a list with one named 'default'. Received: {template!r}."
        )
    return template


def optional(folder, name):
    """Returns the object of a JSON file, empty where there is no such file."""
    return read_json(folder, name) if (folder / name).exists() else {}


def _text(folder, name):
    try:
        return (folder / name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"A text file must be there, in UTF-8. Received: {name} in {folder}, {error}.") from None
