"""Models of SentencePiece as a `tokenizer.json`, as `transformers` converts them: Unigram, and BPE with tokens of bytes."""

import base64
import json

from . import character_pairs
from .word_pieces import text_of

FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
_UNIGRAM, _BPE = 1, 2  # of `model_type`
_CONTROL, _USER_DEFINED = 3, 4  # of a piece's `type`
_MODEL_TYPES = {
    "t5": "T5Tokenizer", "mt5": "T5Tokenizer", "switch_transformers": "T5Tokenizer", "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer", "gemma": "GemmaTokenizer", "xlm-roberta": "XLMRobertaTokenizer", "albert": "AlbertTokenizer",
}  # fmt: skip
_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def proto_class():
    """Returns the class of the messages of SentencePiece; `ImportError` without the packages that have it."""
    try:
        from sentencepiece.sentencepiece_model_pb2 import ModelProto
    except ImportError as error:
        raise ImportError(
            "A model of SentencePiece needs the packages sentencepiece and protobuf: pip install sentencepiece protobuf."
        ) from error
    return ModelProto


def file_as_json(path, config, model_type, added):
    """Returns the `tokenizer.json` of a model of SentencePiece, and the texts of special tokens by their names.

    Args:
        path: path of the model.
        config: dict, a `tokenizer_config.json`; may be empty.
        model_type: what `config.json` calls it; `None` if there is none.
        added: list of dicts with the "content" and the "id" of tokens that were added.

    Raises:
        ImportError: if sentencepiece is not installed.
        ValueError: if the file is damaged, and by name for a kind that is not implemented.
    """
    proto = _parsed(path)
    kind = str(config.get("tokenizer_class") or "").removesuffix("Fast") or _MODEL_TYPES.get(model_type)
    if kind is None and model_type is None:  # what `transformers` calls such files
        kind = {"spiece.model": "T5Tokenizer", "tokenizer.model": "LlamaTokenizer"}.get(
            path.name, "XLMRobertaTokenizer"
        )
    make, wanted, first, names = _KINDS.get(kind, (None,) * 4)
    if make is None:
        raise ValueError(
            f"Without a tokenizer.json, the `tokenizer_class` of a model of SentencePiece must be one of {', '.join(_KINDS)}, or "
            f"config.json must have their `model_type`. Received: {kind or model_type!r} in {path.parent}."
        )
    pieces = [piece.piece for piece in proto.pieces]
    names = {name: text_of(config.get(f"{name}_token")) or text for name, text in names.items()}
    first = [names.get(name, name) for name in first]
    if proto.trainer_spec.model_type != wanted or pieces[: len(first)] != first or len(set(pieces)) != len(pieces):
        raise ValueError(
            f"A model of SentencePiece for {kind} must be {'a Unigram' if wanted == _UNIGRAM else 'a BPE'} that begins with "
            f"the pieces {', '.join(first)}, each piece once. Received: model_type={proto.trainer_spec.model_type} and "
            f"{', '.join(pieces[: len(first)])} in {path}. {_TRAINED[kind]}"
        )
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ValueError(
            f"A model of SentencePiece with `treat_whitespace_as_suffix` is not implemented. Received: {path}."
        )
    parts = make(proto, config, names)
    vocabulary = parts["model"]["vocab"]
    places = {text: index for index, text in enumerate(vocabulary)} if wanted == _BPE else None
    places = places or {text: index for index, (text, _) in enumerate(vocabulary)}
    tokens = {piece.piece: piece.type == _CONTROL for piece in proto.pieces if piece.type in (_CONTROL, _USER_DEFINED)}
    tokens |= dict.fromkeys([*names.values(), *parts.pop("extra", [])], True)
    tokens = {text: {**_FLAGS, "special": special, "id": places.get(text)} for text, special in tokens.items()}
    tokens |= {token["content"]: {**_FLAGS, "special": True, **token} for token in added}
    new = [text for text, token in tokens.items() if token["id"] is None]
    end = max(len(places), *(1 + token["id"] for token in tokens.values() if token["id"] is not None))
    tokens |= {text: {**tokens[text], "id": end + index} for index, text in enumerate(new)}
    tokens = sorted(({"content": text, **token} for text, token in tokens.items()), key=lambda token: token["id"])
    ids = places | {token["content"]: token["id"] for token in tokens}
    parts["post_processor"] = _template(parts["post_processor"], ids)
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, **parts}
    return json.dumps(whole, ensure_ascii=False), names


def _parsed(path):
    from google.protobuf.message import DecodeError

    proto = proto_class()()
    try:
        proto.ParseFromString(path.read_bytes())
        if not proto.IsInitialized() or not proto.pieces:
            raise DecodeError("no pieces")
        if not all(isinstance(piece.piece, str) for piece in proto.pieces):  # bytes where it is no UTF-8
            raise DecodeError("a piece that is no UTF-8")
    except (DecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(
            f"A model of SentencePiece must be a whole file. Received: {path}, {error or 'cut off'}."
        ) from None
    return proto


def _unigram(proto, vocabulary, unknown, normalizers=()):
    """Returns the parts of a Unigram, which splits at white space."""
    charsmap = proto.normalizer_spec.precompiled_charsmap
    normalizers = list(normalizers)
    if charsmap:
        normalizers.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()})
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    model = {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": False}
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]},
        "decoder": space,
        "model": model,
    }


def _scored(proto):
    return [[piece.piece, piece.score] for piece in proto.pieces]


def _t5(proto, config, names):
    count = config.get("extra_ids", 100)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 10_000:
        raise ValueError(f"`extra_ids` must be an integer from 0 to 10,000. Received: extra_ids={count!r}.")
    extra = [f"<extra_id_{index}>" for index in reversed(range(count))]
    known = {piece.piece for piece in proto.pieces}
    vocabulary = _scored(proto) + [[text, 0.0] for text in extra if text not in known]
    return {**_unigram(proto, vocabulary, 2), "extra": extra, "post_processor": (None, names["eos"])}


def _xlm_roberta(proto, config, names):
    first = [[names[name], 0.0] for name in ("bos", "pad", "eos", "unk")]
    vocabulary = [*first, *_scored(proto)[3:], [names["mask"], 0.0]]
    return {**_unigram(proto, vocabulary, 3), "post_processor": (names["bos"], names["eos"])}


def _albert(proto, config, names):
    parts = [{"type": "Replace", "pattern": {"String": quotes}, "content": '"'} for quotes in ("``", "''")]
    if not config.get("keep_accents", False):
        parts += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if config.get("do_lower_case", True):
        parts.append({"type": "Lowercase"})
    return {**_unigram(proto, _scored(proto), 1, parts), "post_processor": (names["cls"], names["sep"])}


def _byte_fallback(proto, config, names, **parts):
    """Returns the parts of a BPE with tokens of bytes."""
    merges = character_pairs.merges_of([piece.piece for piece in proto.pieces])
    vocabulary = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    model = {
        "type": "BPE",
        "unk_token": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": vocabulary,
        "merges": merges,
    }
    sides = (names[name] if config.get(f"add_{name}_token") else None for name in ("bos", "eos"))
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    parts = {"normalizer": None, "pre_tokenizer": None, "post_processor": tuple(sides), "model": model, **parts}
    return {**parts, "decoder": {"type": "Sequence", "decoders": decoders + parts.get("decoder", [])}}


def _llama(proto, config, names):
    prefix = config.get("add_prefix_space") in (None, True)
    scheme = ("always" if config.get("legacy", False) else "first") if prefix else "never"
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return _byte_fallback(proto, config, names, pre_tokenizer=space, decoder=strip)


def _gemma(proto, config, names):
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    parts = _byte_fallback(proto, config, names, normalizer=spaces, pre_tokenizer=split)
    parts["model"]["unk_token"] = names["unk"]
    return parts


# Of each class of `transformers`: the parts, the kind of model, its first pieces, and the special tokens that no config names.
_KINDS = {
    "T5Tokenizer": (_t5, _UNIGRAM, ("pad", "eos", "unk"), {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}),
    "LlamaTokenizer": (_llama, _BPE, ("unk", "bos", "eos"), {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}),
    "GemmaTokenizer": (
        _gemma, _BPE, ("pad", "eos", "bos", "unk"),
        {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>", "mask": "<mask>"},
    ),
    "XLMRobertaTokenizer": (
        _xlm_roberta, _UNIGRAM, ("<unk>", "<s>", "</s>"),
        {
            "bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>",
        },
    ),
    "AlbertTokenizer": (
        _albert, _UNIGRAM, ("pad", "unk", "cls", "sep"),
        {
            "bos": "[CLS]", "eos": "[SEP]", "unk": "<unk>", "sep": "[SEP]", "pad": "<pad>", "cls": "[CLS]", "mask": "[MASK]",
        },
    ),
}  # fmt: skip
# How one's own is trained to begin so.
_TRAINED = {
    kind: f"SentencePieceTrainer.train makes one with {options}."
    for kind, options in {
        "T5Tokenizer": "pad_id=0, eos_id=1, unk_id=2, bos_id=-1",
        "LlamaTokenizer": "model_type='bpe', byte_fallback=True",
        "GemmaTokenizer": "model_type='bpe', byte_fallback=True, pad_id=0, eos_id=1, bos_id=2, unk_id=3, bos_piece='<bos>', "
        "eos_piece='<eos>'",
        "XLMRobertaTokenizer": "unk_id=0, bos_id=1, eos_id=2",
        "AlbertTokenizer": "pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols='[CLS],[SEP],[MASK]'",
    }.items()
}


def _template(sides, ids):
    """Returns the post-processor that puts tokens before and behind a text; `None` for no token."""
    before, behind = ([{"SpecialToken": {"id": text, "type_id": 0}}] if text else [] for text in sides)
    parts = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    tokens = {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in sides if text}
    single = [*before, parts[0], *behind]
    pair = [*single, *before, parts[1], *behind]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}
