"""The tokenizer that a GGUF file holds, as a folder of Hugging Face would have it."""

import json

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
_CONTROL, _USER_DEFINED = 3, 4  # of `token_type`: tokens that are cut out of a text first


def reader_of(path):
    """Returns the reader of a GGUF file; `ValueError` if it is damaged, `ImportError` without the package gguf."""
    try:
        import gguf
    except ImportError as error:
        raise ImportError("GGUF files need the package gguf. Install it: pip install gguf") from error
    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # whatever the package stumbles over in a damaged file
        raise ValueError(f"`path` must be a whole GGUF file. Received: {path}, of which gguf says: {error}") from error


def values(reader):
    """Returns the function from a key of a GGUF file to its value, `None` for a key that is not there."""

    def value(name):
        field = reader.fields.get(name)
        found = None if field is None else field.contents()
        return found.tolist() if hasattr(found, "tolist") else found

    return value


def read(path):
    """Returns what a GGUF file says of its tokenizer, as `folders.read` of a folder.

    Raises:
        ValueError: if the file is damaged or has no tokenizer, and by name for a kind or a split that is not implemented.
    """
    value = values(reader_of(path))
    kind, name = value("tokenizer.ggml.model"), value("tokenizer.ggml.pre")
    if kind != "gpt2" or name not in _SPLITS:
        raise ValueError(
            "A GGUF file must have a tokenizer of pairs of bytes (`tokenizer.ggml.model` 'gpt2') whose `tokenizer.ggml.pre` is "
            f"one of {', '.join(map(repr, _SPLITS))}. Received: model={kind!r}, pre={name!r} in {path}."
        )
    texts, merges = value("tokenizer.ggml.tokens") or [], value("tokenizer.ggml.merges") or []
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
    split, options = _SPLITS[name]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    first = value("tokenizer.ggml.add_bos_token") and ids["bos"] is not None
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": text, **flags, "special": kind == _CONTROL}
            for index, (text, kind) in enumerate(zip(texts, kinds, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        "normalizer": {"type": "NFC"} if name == "qwen2" else None,
        "pre_tokenizer": split,
        "post_processor": _template(texts[ids["bos"]], ids["bos"]) if first else None,
        "decoder": _GPT2,
        "model": {"type": "BPE", "vocab": {text: index for index, text in enumerate(texts)}, "merges": merges, **options},
    }  # fmt: skip
    return {
        "tokenizer_json": json.dumps(whole, ensure_ascii=False),
        "tokens": {each: texts[index] for each, index in ids.items() if index is not None},
        "token_ids": {each: ids[each] for each in ("bos", "eos", "pad")},
        "stop_ids": None if ids["eos"] is None else [ids["eos"]],
        "chat_template": value("tokenizer.chat_template"),
    }


_IDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def _template(text, index):
    def sequence(kind, number):
        return {"Sequence": {"id": kind, "type_id": number}}

    token = {"SpecialToken": {"id": text, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [token, sequence("A", 0)],
        "pair": [token, sequence("A", 0), token, sequence("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [index], "tokens": [text]}},
    }
