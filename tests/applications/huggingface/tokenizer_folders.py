"""Folders with small tokenizers, trained on the spot, and texts that tell tokenizers apart."""

import io
import json
import unicodedata

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = [
    "The quick brown fox's tail isn't 12345 metres long; it'll do.",
    "Größe und Straße, naïve café. Привет, мир! Как дела?",
    "你好，世界。今天天气很好。 こんにちは世界 हिन्दी में ६ और १२३ مرحبا بالعالم",
    "    def f(x):\n        return x\n\n\n👩‍👩‍👧 🎉🎉",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_pairs(kind="smollm2", size=400):
    """Returns a trained `tokenizers.Tokenizer` whose parts are those of a published model."""
    level = pre_tokenizers.ByteLevel

    def split(pattern):
        return pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")

    made = tokenizers.Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    made.pre_tokenizer = {
        "gpt2": lambda: level(add_prefix_space=True),
        "llama3": lambda: pre_tokenizers.Sequence([split(LLAMA3), level(add_prefix_space=False, use_regex=False)]),
        "qwen2": lambda: pre_tokenizers.Sequence([split(QWEN2), level(add_prefix_space=False, use_regex=False)]),
        "smollm2": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level(add_prefix_space=False)]),
    }[kind]()
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=level.alphabet(), show_progress=False
    )
    made.train_from_iterator(SENTENCES * 2, trainer)
    if kind == "qwen2":
        made.normalizer = normalizers.NFC()
    if kind == "llama3":
        first = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 0)])
        made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), first])
    if kind == "gpt2":
        made.add_tokens(
            [
                tokenizers.AddedToken("foo bar", normalized=True),
                tokenizers.AddedToken("<mask>", lstrip=True, normalized=False),
                tokenizers.AddedToken("<end>", rstrip=True, normalized=False),
            ]
        )
    return made


def character_pairs(metaspace=None, size=600):
    """Returns a trained `tokenizers.Tokenizer` as Llama 2's, or with the arguments of a Metaspace as newer folders have it."""
    trained = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=tokens, show_progress=False)
    trained.train_from_iterator(SENTENCES * 2, trainer)
    model = json.loads(trained.to_str())["model"]
    pairs = [tuple(pair) for pair in model["merges"]]
    made = tokenizers.Tokenizer(models.BPE(model["vocab"], pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace is None:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(**metaspace)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


SENTENCE_PIECES = {  # of each class: the file, and the arguments of the trainer
    "T5Tokenizer": ("spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "user_defined_symbols": "<own>"}),
    "XLMRobertaTokenizer": ("sentencepiece.bpe.model", {"unk_id": 0, "bos_id": 1, "eos_id": 2}),
    "AlbertTokenizer": (
        "spiece.model",
        {"unk_id": 1, "pad_id": 0, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"},
    ),
    "LlamaTokenizer": ("tokenizer.model", {"model_type": "bpe"}),
    "GemmaTokenizer": (
        "tokenizer.model",
        {"model_type": "bpe", "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "eos_piece": "<eos>", "bos_piece": "<bos>"},
    ),
}  # fmt: skip


def sentence_pieces(folder, kind, **options):
    """Trains a model of SentencePiece as a class of `transformers` has it, writes it into a folder, and returns its path."""
    import sentencepiece

    name, arguments = SENTENCE_PIECES[kind]
    if arguments.get("model_type") == "bpe":
        arguments = {
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            **arguments,
        }
    arguments = {
        "vocab_size": 470 if "byte_fallback" in arguments else 200,
        "hard_vocab_limit": False,
        **arguments,
        **options,
    }
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3), model_writer=written, minloglevel=2, **arguments
    )
    (folder / name).write_bytes(written.getvalue())
    return folder / name


def write(folder, made, **files):
    """Writes a tokenizer, and JSON files by their names without the ending, into a folder, and returns the folder."""
    made.save(str(folder / "tokenizer.json"))
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def texts():
    """Returns texts of many scripts, with every white space, mark, digit, control character and edge that splits look at."""
    characters = [
        code
        for code in [*range(0x3100), *range(0xA000, 0xD800, 40), *range(0xF900, 0x12000), *range(0x1F300, 0x1FB00)]
        if unicodedata.category(chr(code)) not in ("Cn", "Co") and not 0xAC00 < code < 0xD7A0
    ]
    written = [
        *(
            "",
            " ",
            "  ",
            "\n",
            "\0",
            "\0a\0",
            "a",
            "a  b   c\t\td\n\n e \r\n\r\n  f",
            "x <mask> y<mask>  \u3000<mask>\tz",
        ),
        *(
            "p <end>  q<end>\n<end> r<|im_start|>foo bar foo  bar",
            " foo bar",
            "1234567 ६७८ ½ Ⅷ ²",
            "'s 'S 'ſ I'LL we'Ve",
        ),
        *("a\u2003b\u00a0 c\u2028\u2029d\u0085e", "e\u0301 é a\u0323\u0302 \u1ebd \uac00\u1100\u1161 ﬁ İ Σας ΣΑΣ ß ẞ"),
        *(
            "\ufffd \ufeff \u200b\u200d",
            "x" * 150,
            " " * 50 + "a",
            "你" * 40,
            "<|endoftext|><|endoftext|> <|endoftext|>",
        ),
        *SENTENCES,
    ]
    runs = ["".join(map(chr, characters[start : start + 50])) for start in range(0, len(characters), 50)]
    return (
        written
        + runs
        + [" a".join(map(chr, characters[start : start + 211])) for start in range(0, len(characters), 211)]
    )
