"""Texts as the ids that BERT reads: WordPiece inside the graph, between [CLS] and [SEP].

The text is cleaned as BERT's own tokenizer for uncased models cleans it, and keras-hub's `WordPieceTokenizer` splits
it. Against `transformers` these differences remain:

- a word of more than 100 bytes is [UNK]; there it is one of more than 100 characters, which matters where letters take
  two or three bytes and words are long, as in Thai;
- a special token that is spelled out in a text, such as "[SEP]", is text like any other;
- ideographs from U+2B820 to U+2B91F are split from one another;
- which characters are letters, marks or punctuation is looked up in another edition of Unicode.
"""

SPECIAL = {"pad_id": "[PAD]", "unknown_id": "[UNK]", "start_id": "[CLS]", "end_id": "[SEP]", "mask_id": "[MASK]"}

# What is replaced by what, in this order. RE2's \s knows the spaces of ASCII alone, and its \p{C} takes line ends too.
CLEANING = (
    (r"[\t\n\r]", " "),
    (r"[\p{C}\x{FFFD}]", ""),
    (r"\p{Z}", " "),
)


class BertTokenizer:
    """Maps a batch of strings to ids, as `make_tokenizer` says."""

    def __init__(self, vocabulary, sequence_length, lowercase):
        import keras_hub
        import tensorflow as tf

        self.vocabulary = list(vocabulary)
        places = {token: place for place, token in enumerate(self.vocabulary)}
        if len(places) != len(self.vocabulary):
            raise ValueError("`vocabulary` must hold each token once. Received: one that holds some twice.")
        missing = [token for token in SPECIAL.values() if token not in places]
        if missing:
            raise ValueError(f"`vocabulary` must hold {', '.join(SPECIAL.values())}. Received: one without {missing}.")
        if sequence_length is not None and (type(sequence_length) is not int or sequence_length < 2):
            raise ValueError(
                f"`sequence_length` must be an integer of 2 or more, or None. Received: sequence_length={sequence_length!r}."
            )
        self.sequence_length = sequence_length
        self.lowercase = lowercase
        for name, token in SPECIAL.items():
            setattr(self, name, places[token])
        word_pieces = keras_hub.tokenizers.WordPieceTokenizer(self.vocabulary, dtype="int32")
        texts = tf.TensorSpec((None,), tf.string)
        # In graphs, because outside of one keras-hub's tokenizers are slow and give lists.
        self.tokenize = tf.function(lambda texts: word_pieces.tokenize(self._clean(texts)), input_signature=[texts])
        self._packed = tf.function(self._pack, input_signature=[texts])
        self.word_pieces = word_pieces
        self.tables = list(vars(word_pieces).values())  # what a SavedModel has to track

    def vocabulary_size(self):
        """Returns how many tokens there are."""
        return len(self.vocabulary)

    def id_to_token(self, token_id):
        """Returns the token of an id."""
        return self.vocabulary[token_id]

    def __call__(self, texts):
        import tensorflow as tf

        return self._packed(tf.convert_to_tensor(texts, tf.string))

    def _pack(self, texts):
        import tensorflow as tf

        length = self.sequence_length
        ids = self.tokenize(texts)
        ids = ids if length is None else ids[:, : length - 2]
        edge = tf.ones_like(texts, tf.int32)[:, None]
        ids = tf.concat([self.start_id * edge, ids, self.end_id * edge], axis=1)
        return ids.to_tensor(self.pad_id, shape=(None, length))

    def _clean(self, texts):
        import tensorflow as tf
        import tensorflow_text as tf_text

        for pattern, replacement in CLEANING:
            texts = tf.strings.regex_replace(texts, pattern, replacement)
        if not self.lowercase:
            return texts
        texts = tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFD"), r"\p{Mn}", "")
        # A capital sigma is this one wherever it stands; `lower` would make another of the last in a word.
        return tf.strings.lower(tf.strings.regex_replace(texts, "Σ", "σ"), encoding="utf-8")


def make_tokenizer(vocabulary, sequence_length=None, lowercase=True):
    """Returns a tokenizer that maps strings (B,) to int32 ids (B, T): [CLS], the text, [SEP], and [PAD] to the end.

    It runs eagerly, inside `tf.data` and, given to `keras_tx.export.export_saved_model`, inside a SavedModel.

    Args:
        vocabulary: list of str, the tokens in the order of their ids, among them those of `SPECIAL`.
        sequence_length: int, T, to which texts are cut and padded; `None` for that of the longest text in the batch.
        lowercase: bool, whether capitals and accents are taken off, as for the uncased models.

    Returns:
        A callable. `tokenize(texts)` gives the ids alone, ragged and without special tokens; `vocabulary`,
        `vocabulary_size()`, `sequence_length`, and the ids of the special tokens, `pad_id`, `unknown_id`, `start_id`,
        `end_id` and `mask_id`, are its attributes.

    Raises:
        ValueError: if the vocabulary lacks a special token or holds a token twice, or no text fits the length.
        ImportError: if keras-hub is not installed.
    """
    return BertTokenizer(vocabulary, sequence_length, lowercase)
