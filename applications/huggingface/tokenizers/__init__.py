"""The tokenizer of a folder of Hugging Face, as a keras-hub tokenizer, and back."""

import json
from pathlib import Path

from ....backup import whole_file
from .. import generation
from . import folders, gguf_files
from .folder_tokenizer import tokenizer_class
from .folders import CONFIG, JSON, MODEL, optional


def load_tokenizer(folder, add_special_tokens=True):
    r"""Makes a keras-hub tokenizer of the tokenizer of a folder, which gives the ids that `tokenizers` gives.

    Reads `tokenizer.json`, or `vocab.json` and `merges.txt` (GPT-2, RoBERTa, BART), or `vocab.txt` (BERT), or a model of
    SentencePiece (T5, Llama, Gemma, XLM-R, ALBERT), as `transformers` converts it; and beside them the configs, which name
    special tokens, the ids that end a text, and a template of chats. Or a GGUF file, which says all of it. Nothing is
    downloaded, and no code in the folder is run but the template's, in a sandbox.

    Outside of a graph the package `tokenizers` does the work; inside `tf.data`, a `tf.function` or a SavedModel
    TensorFlow does, and gives the same ids. Implemented are BPE on bytes, BPE on characters with `byte_fallback`, word
    pieces and Unigram. What is not, such as Marian's two models, or a split by a pattern that looks behind, is refused
    by name. `truncation` and `padding` of a `tokenizer.json` belong to a call, and are left out.

    Args:
        folder: str or path, of a folder or of a GGUF file.
        add_special_tokens: bool, whether the tokens that the folder puts around a text, such as a first one, are added.
            What was added is left out when ids are spelled.

    Returns:
        A `keras_hub.tokenizers.Tokenizer` with the methods `tokenize` (strings to ids), `detokenize`, `vocabulary_size`,
        `get_vocabulary`, `token_to_id`, `id_to_token` and `chat_prompt`, and the attributes `stop_ids` (list of int: where
        `generate` stops unless it is told; may be empty) and `bos_token_id`, `eos_token_id`, `unk_token_id`, `pad_token_id`,
        `sep_token_id`, `cls_token_id` and `mask_token_id` (int or `None`).

    Raises:
        ImportError: if keras-hub is not installed, or for a model of SentencePiece sentencepiece or protobuf.
        ValueError: if a file is missing, damaged or contradicts another, and by name for what is not implemented.

    Example:

    ```python
    with open(f"{folder}/vocab.txt", "w") as file:
        file.write("[UNK]\n[CLS]\n[SEP]\nhello\n,\nworld\n")
    tokenizer = keras_tx.applications.load_tokenizer(folder)
    ids = tokenizer.tokenize("Hello, world")  # [CLS] hello , world [SEP]: 1 3 4 5 2
    ```
    """
    if not isinstance(add_special_tokens, bool):
        raise ValueError(f"`add_special_tokens` must be True or False. Received: {add_special_tokens!r}.")
    if str(folder).endswith(".gguf") and Path(folder).is_file():
        known = gguf_files.read(folder)
    else:
        known = folders.read(folder)
    return tokenizer_class()(known, add_special_tokens)


def save_tokenizer(tokenizer, folder) -> None:
    r"""Writes a tokenizer into a folder, where `load_tokenizer`, `tokenizers` and `transformers` read it.

    Writes `tokenizer.json`, `tokenizer_config.json` (special tokens and the chat template) and the ids that end a text as
    `eos_token_id` into `generation_config.json`, which keeps what else it says. As `transformers` then reads it alone, it gets
    what `config.json` says of generation beside, such as `decoder_start_token_id`. Other files stay as they are: save the model
    with `save_huggingface` into the same folder, before or after.

    Args:
        tokenizer: one that `load_tokenizer` gave.
        folder: str or path; made if it is not there.

    Raises:
        ValueError: for another tokenizer, and a `folder` that is a file.

    Example:

    ```python
    with open(f"{folder}/vocab.txt", "w") as file:
        file.write("[UNK]\n[CLS]\n[SEP]\nhello\n,\nworld\n")
    tokenizer = keras_tx.applications.load_tokenizer(folder)
    keras_tx.applications.save_tokenizer(tokenizer, f"{folder}/new")
    ```
    """
    known = getattr(tokenizer, "folder_files", None)
    if known is None:
        raise ValueError(f"`tokenizer` must be one that `load_tokenizer` gave. Received: tokenizer={tokenizer!r}.")
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(
            f"`folder` must be a folder, or a path for a new one. Received: folder={str(folder)!r}, which is a file."
        )
    config = {f"{name}_token": text for name, text in known["tokens"].items()}
    config |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    if known["chat_template"] is not None:
        config["chat_template"] = known["chat_template"]
    files = {JSON: json.loads(known["tokenizer_json"]), CONFIG: config}
    if tokenizer.stop_ids:
        stops = list(tokenizer.stop_ids)
        said = generation.completed(optional(folder, generation.NAME), optional(folder, MODEL))
        files[generation.NAME] = {**said, "eos_token_id": stops[0] if len(stops) == 1 else stops}
    for name, values in files.items():
        with whole_file(folder / name) as beside:
            beside.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
