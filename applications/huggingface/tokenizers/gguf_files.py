"""The tokenizer that a GGUF file holds, as a folder of Hugging Face would have it."""

import itertools
import json

import numpy as np

from . import character_pairs

# The split of a text, by the name that llama.cpp has for it, as the published `tokenizer.json` of these models has it.
_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(digits):
    pattern = {"type": "Split", "pattern": {"Regex": _WORDS % digits}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [pattern, {**_LEVEL, "use_regex": False}]}


_GPT2 = {**_LEVEL, "use_regex": True}
_SMOLLM = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _GPT2]}
_SPLITS = {
    "gpt-2": (_GPT2, {}),
    "smollm": (_SMOLLM, {}),
    "llama-bpe": (_split(r"\p{N}{1,3}"), {"ignore_merges": True}),
    "qwen2": (_split(r"\p{N}"), {}),
}
_USER_DEFINED, _CUT_OUT = (
    4,
    (2, 3, 4),
)  # of `token_type`: unknown, control and user-defined tokens are cut out of a text first


def reader_of(path):
    """Returns the reader of a GGUF file; `ValueError` if it is damaged, `ImportError` without the package gguf."""
    try:
        import gguf
    except ImportError as error:
        raise ImportError("GGUF files need the package gguf. Install it: pip install gguf") from error

    class Reader(gguf.GGUFReader):
        """The package's, which cuts the file into a hundred thousand pieces: of a plain array three times as fast as of a map."""

        @property
        def data(self):
            return self.bytes_of_file

        @data.setter
        def data(self, mapped):
            self.bytes_of_file = np.asarray(mapped).view(np.ndarray)

    try:
        return Reader(path)
    except Exception as error:  # whatever the package stumbles over in a damaged file
        raise ValueError(f"`path` must be a whole GGUF file. Received: {path}, of which gguf says: {error}") from error


def values(reader):
    """Returns the function from a key of a GGUF file to its value, `None` for a key that is not there."""

    def value(name):
        field = reader.fields.get(name)
        try:
            found = None if field is None else field.contents()
        except Exception as error:  # such as a text that is no UTF-8
            raise ValueError(f"`{name}` must be readable. Received: a file of which gguf says: {error}") from None
        return found.tolist() if hasattr(found, "tolist") else found

    return value


def read(path):
    """Returns what a GGUF file says of its tokenizer, as `folders.read` of a folder.

    Raises:
        ValueError: if the file is damaged or has no tokenizer, and by name for a kind or a split that is not implemented.
    """
    value = values(reader_of(path))
    kind, name = value("tokenizer.ggml.model"), value("tokenizer.ggml.pre")
    if kind != "llama" and (kind != "gpt2" or name not in _SPLITS):
        raise ValueError(
            "A GGUF file must have a tokenizer of SentencePiece's pairs (`tokenizer.ggml.model` 'llama'), or of pairs of bytes "
            f"('gpt2') whose `tokenizer.ggml.pre` is one of {', '.join(map(repr, _SPLITS))}. Received: model={kind!r}, "
            f"pre={name!r} in {path}."
        )
    texts = value("tokenizer.ggml.tokens") or []
    kinds = value("tokenizer.ggml.token_type") or [1] * len(texts)
    if len(kinds) != len(texts) or len(set(texts)) != len(texts):
        raise ValueError(
            f"`tokenizer.ggml.tokens` must have each token once, and a type for each. Received: {len(texts)} tokens, "
            f"{len(set(texts))} of them different, and {len(kinds)} types in {path}."
        )
    ids = {each: value(f"tokenizer.ggml.{key}_token_id") for each, key in _IDS.items()}
    for each, index in ids.items():
        if index is not None and not 0 <= index < len(texts):
            raise ValueError(f"The id of a token must be in the vocabulary. Received: {each}={index} in {path}.")
    parts = _sentence_pieces(value, texts, kinds, path) if kind == "llama" else _byte_pairs(value, texts, name)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    around = []
    for each, default in (("bos", kind == "llama"), ("eos", False)):
        added = value(f"tokenizer.ggml.add_{each}_token")
        added = default if added is None else added
        around.append((texts[ids[each]], ids[each]) if added and ids[each] is not None else None)
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": text, **flags, "special": kind != _USER_DEFINED}
            for index, (text, kind) in enumerate(zip(texts, kinds, strict=True))
            if kind in _CUT_OUT
        ],
        "post_processor": _template(*around) if any(around) else None,
        **parts,
    }  # fmt: skip
    return {
        "tokenizer_json": json.dumps(whole, ensure_ascii=False),
        "tokens": {each: texts[index] for each, index in ids.items() if index is not None},
        "token_ids": {each: ids[each] for each in ("bos", "eos", "pad")},
        "stop_ids": None if ids["eos"] is None else [ids["eos"]],
        "chat_template": value("tokenizer.chat_template"),
    }


_IDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def _byte_pairs(value, texts, name):
    split, options = _SPLITS[name]
    vocabulary = {text: index for index, text in enumerate(texts)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": value("tokenizer.ggml.merges") or [], **options}
    normalizer = {"type": "NFC"} if name == "qwen2" else None
    return {"normalizer": normalizer, "pre_tokenizer": split, "decoder": _GPT2, "model": model}


def _sentence_pieces(value, texts, kinds, path):
    """The parts of SentencePiece's pairs of characters: of those beside each other, the pair of the highest score is merged."""
    scores = value("tokenizer.ggml.scores") or []
    if len(scores) != len(texts):
        raise ValueError(
            f"`tokenizer.ggml.scores` must have a number for each of {len(texts)} tokens. Received: {len(scores)} in {path}."
        )
    # Tokens that are cut out first are not in what is left of a text, so none is made of others.
    made = [index for index, kind in enumerate(kinds) if kind not in _CUT_OUT]
    merges = character_pairs.merges_of([texts[index] for index in sorted(made, key=lambda index: -scores[index])])
    ranks = dict(zip(texts, scores, strict=True))
    for one, other in itertools.pairwise(dict.fromkeys(left + right for left, right in merges)):
        if not ranks[one] > ranks[other]:
            raise ValueError(
                "Two tokens that are made of others must not have one score: which is merged first is not implemented. "
                f"Received: {ranks[one]} for {one!r} and {ranks[other]} for {other!r} in {path}."
            )
    prefix = value("tokenizer.ggml.add_space_prefix") is not False
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizers = [{"type": "Prepend", "prepend": "▁"}, spaces] if prefix else [spaces]
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    vocabulary = {text: index for index, text in enumerate(texts)}
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary, "merges": merges},
    }


def _template(first, last):
    """Returns the post-processor that puts a token, a pair of text and id, before and behind a text; `None` for no token."""

    def sequence(kind, number):
        return {"Sequence": {"id": kind, "type_id": number}}

    before, behind = ([{"SpecialToken": {"id": token[0], "type_id": 0}}] if token else [] for token in (first, last))
    return {
        "type": "TemplateProcessing",
        "single": [*before, sequence("A", 0), *behind],
        "pair": [*before, sequence("A", 0), *behind, *before, sequence("B", 1), *behind],
        "special_tokens": {
            text: {"id": text, "ids": [index], "tokens": [text]} for text, index in filter(None, (first, last))
        },
    }
