"""The class of the tokenizer of a folder: the package `tokenizers` outside of a graph, TensorFlow inside one."""

import functools
import importlib.util
import sys

import keras
import numpy as np

from . import chat_templates, graph
from .folders import JSON, NAMES


@functools.lru_cache
def tokenizer_class():
    """Returns the class, made when it is first asked for: keras-hub is optional."""
    try:
        import keras_hub
        import tokenizers
    except ImportError:
        raise ImportError("A tokenizer needs the packages keras-hub and tokenizers: pip install keras-hub.") from None

    @keras.saving.register_keras_serializable("keras_tx")
    class FolderTokenizer(keras_hub.tokenizers.Tokenizer):
        """The tokenizer of a folder; see `load_tokenizer`."""

        def __init__(self, folder_files, add_special_tokens=True, dtype="int32", **kwargs):
            super().__init__(dtype=dtype, **kwargs)
            self.folder_files, self.add_special_tokens = dict(folder_files), add_special_tokens
            text = folder_files["tokenizer_json"]
            try:
                self._fast = tokenizers.Tokenizer.from_str(text)
            except Exception as error:  # the package raises nothing narrower
                raise ValueError(f"`{JSON}` must be one that `tokenizers` reads. Received: {error}.") from None
            _check_ids(self._fast)
            around = _around(self._fast) if add_special_tokens else ((), ())
            self._around = [list(side) for side in around]
            self._size = graph.size_of(self._fast)
            self._graph = self._tables = None
            if importlib.util.find_spec("tensorflow_text") is not None:  # Windows has none
                self._graph = graph.TokenizerGraph(text, self._fast, around)
                self._tables = self._graph.tables  # what a SavedModel tracks
            self._name_tokens()

        def _in_tensorflow(self):
            if self._graph is None:
                raise ImportError(
                    "A tokenizer in a graph needs the package tensorflow-text: pip install tensorflow-text."
                )
            return self._graph

        def _name_tokens(self):
            size, said = self.vocabulary_size(), self.folder_files
            for name in NAMES:
                text, index = said["tokens"].get(name), said["token_ids"].get(name)
                if text is not None:
                    index = self._fast.token_to_id(text)
                    if index is None:
                        raise ValueError(
                            f"A special token must be in the vocabulary. Received: {name}_token={text!r}, which is not "
                            f"one of its {size} tokens."
                        )
                elif index is not None and index < size:
                    said["tokens"][name] = self._fast.id_to_token(index)
                else:
                    index = None
                setattr(self, f"{name}_token_id", index)
            stops = said["stop_ids"]
            stops = ([] if self.eos_token_id is None else [self.eos_token_id]) if stops is None else stops
            if not all(0 <= index < size for index in stops):
                raise ValueError(
                    f"`eos_token_id` must be below {size}, the size of the vocabulary. Received: {stops!r}."
                )
            self.stop_ids = list(stops)

        def tokenize(self, inputs):
            """Returns ids: of a string (T,), of strings (B,) lists of ids, or in a graph an int32 ragged tensor (B, T)."""
            if _in_graph():
                return self._in_tensorflow().tokenize_any(inputs)
            texts, one = _strings(inputs)
            rows = self._fast.encode_batch(texts, add_special_tokens=self.add_special_tokens)
            rows = [each.ids for each in rows]
            return np.array(rows[0], self.compute_dtype) if one else rows

        def detokenize(self, inputs):
            """Returns the string of ids (T,), or the strings of several rows of them; ids that are no token's are left out."""
            if _in_graph():
                return self._in_tensorflow().detokenize_any(inputs)
            rows = keras.tree.map_structure(_numpy, inputs) if isinstance(inputs, (list, tuple)) else _numpy(inputs)
            one = all(np.ndim(each) == 0 for each in rows)
            size, hidden = self.vocabulary_size(), {index for side in self._around for index in side}
            rows = [[int(index) for index in row] for row in ([rows] if one else rows)]
            rows = [[index for index in row if 0 <= index < size and index not in hidden] for row in rows]
            texts = self._fast.decode_batch(rows, skip_special_tokens=False)
            return texts[0] if one else texts

        def chat_prompt(self, messages, add_generation_prompt=True):
            """Returns the prompt that the folder's template makes of a chat, for `generate` with this tokenizer.

            What `tokenize` puts before a text is left out of it, so that the ids are those of `transformers`'
            `apply_chat_template`.

            Args:
                messages: list of dicts with the strings "role" and "content"; one role is "user".
                add_generation_prompt: bool, whether the assistant's answer is begun.

            Raises:
                ImportError: if `jinja2` is not installed.
                ValueError: if the folder has no chat template, `messages` is not a list of such dicts, or the template raises.
            """
            template = self.folder_files["chat_template"]
            if template is None:
                raise ValueError("A chat needs a folder with a `chat_template`. Received: a tokenizer without one.")
            tokens = {f"{name}_token": text for name, text in self.folder_files["tokens"].items()}
            text = chat_templates.rendered(template, messages, tokens, add_generation_prompt)
            first = "".join(self._fast.id_to_token(index) for index in self._around[0])
            if self._around[1] or not text.startswith(first):
                raise ValueError(
                    "The template must begin with what `tokenize` puts before a text, and nothing may be put behind one. "
                    "Load the tokenizer with add_special_tokens=False. Received: "
                    f"{[self._fast.id_to_token(index) for side in self._around for index in side]} around a text."
                )
            return text[len(first) :]

        def get_vocabulary(self):
            """Returns the tokens in the order of their ids."""
            return [self._fast.id_to_token(index) for index in range(self.vocabulary_size())]

        def vocabulary_size(self):
            """Returns the number of tokens, those that were added included."""
            return self._size

        def id_to_token(self, id):
            """Returns the token of an id."""
            token = self._fast.id_to_token(id) if 0 <= id < self.vocabulary_size() else None
            if token is None:
                raise ValueError(f"`id` must be below {self.vocabulary_size()}. Received: id={id!r}.")
            return token

        def token_to_id(self, token):
            """Returns the id of a token."""
            index = self._fast.token_to_id(token)
            if index is None:
                raise ValueError(f"`token` must be in the vocabulary. Received: token={token!r}.")
            return index

        @property
        def special_tokens(self):
            """The texts of the special tokens that the folder names."""
            return list(dict.fromkeys(self.folder_files["tokens"].values()))

        def call(self, inputs):
            return self.tokenize(inputs)

        def get_config(self):
            return {
                **super().get_config(),
                "folder_files": dict(self.folder_files),
                "add_special_tokens": self.add_special_tokens,
            }

    return FolderTokenizer


def _in_graph():
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and not tensorflow.executing_eagerly()


def _numpy(value):
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def _strings(inputs):
    """Returns strings as a list, and whether they were one string."""
    if hasattr(inputs, "numpy") or isinstance(inputs, np.ndarray):
        inputs = _numpy(inputs)
        inputs = inputs.tolist() if isinstance(inputs, np.ndarray) else inputs
    one = isinstance(inputs, (str, bytes))
    texts = [
        text.decode(errors="replace") if isinstance(text, bytes) else text for text in ([inputs] if one else inputs)
    ]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"`inputs` must be a string or strings (B,). Received: {inputs!r}.")
    return texts, one


def _check_ids(fast):
    ids = sorted(fast.get_vocab(with_added_tokens=True).values())
    if ids != list(range(len(ids))):
        wrong = next(index for index, (one, other) in enumerate(zip(ids, range(len(ids)), strict=True)) if one != other)
        raise ValueError(
            f"The ids of the tokens must be 0, 1, 2, ..., each once. Received: {len(ids)} tokens, where {ids[wrong]} "
            f"comes in the place of {wrong}."
        )


def _around(fast):
    """Returns the ids that are put before and behind a text."""
    for text in ("a", *fast.get_vocab()):
        places = fast.encode(text).sequence_ids
        inside = [index for index, place in enumerate(places) if place is not None]
        if inside:
            ids = fast.encode(text).ids
            return tuple(ids[: inside[0]]), tuple(ids[inside[-1] + 1 :])
    return tuple(fast.encode("").ids), ()
