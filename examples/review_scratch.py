"""Reviews told apart by a small Transformer that is trained from nothing."""

import collections
import re
import unicodedata

import keras
import numpy as np
from length_batches import LengthBatches

from keras_tx.applications import TextClassifier
from keras_tx.weight_decay import decay_matrices_only

BATCH, PEAK_RATE, INTERMEDIATE = 64, 1e-3, 128
LENGTHS = {"movies": (24, 48), "imdb": (256,)}  # a batch is padded to the first that holds its longest text
# Chosen on the validation films. A small model and much dropout: 9,000 sentences teach a larger one by heart, not by sense.
SETTINGS = {
    "movies": {"epochs": 8, "decay": 0.05, "dropout": 0.3, "hidden": 0.3, "hidden_as": 0, "width": 64},
    "imdb": {"epochs": 4, "decay": 0.5, "dropout": 0.3, "hidden": 0.1, "hidden_as": 1, "width": 128},
}


class HiddenWords(LengthBatches):
    """Batches for training, in which a share of the words is hidden, others in each epoch.

    Args:
        share: float in [0, 1), of the words.
        hidden_as: int, the id that stands there: 0, padding, takes the word out of the text; 1 says that a word is unknown.
        *args, **kwargs: of `LengthBatches`.
    """

    def __init__(self, share, hidden_as, *args, **kwargs):
        self.share, self.hidden_as = share, hidden_as
        super().__init__(*args, training=True, **kwargs)

    def on_epoch_end(self):
        super().on_epoch_end()
        random = np.random.default_rng((self.seed, self.epoch, 1))
        self.hidden = (random.random(self.ids.shape) < self.share) & (self.ids != 0)

    def __getitem__(self, index):
        ids, labels = super().__getitem__(index)
        return np.where(self.hidden[self.batches[index], : ids.shape[1]], self.hidden_as, ids).astype("int32"), labels


def make_tokenizer(texts, dataset):
    """Returns a WordPiece tokenizer: of movie snippets a word of two texts or more is a token, of IMDB 20,000 pieces are."""
    import keras_hub

    spelling = {"lowercase": True, "strip_accents": True}
    special = ["[PAD]", "[UNK]"]
    if dataset == "movies":
        counts = collections.Counter(word for text in texts for word in set(words(text)))
        vocabulary = special + [word for word, count in counts.most_common() if count > 1]
    else:
        import tensorflow as tf

        batches = tf.data.Dataset.from_tensor_slices(list(texts)).batch(512)
        vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
            batches, vocabulary_size=20_000, reserved_tokens=special, **spelling
        )
    return keras_hub.tokenizers.WordPieceTokenizer(
        vocabulary, sequence_length=LENGTHS[dataset][-1], dtype="int32", **spelling
    )


def words(text):
    """Returns the words and the marks of a text as WordPiece splits it, without capitals and accents."""
    plain = "".join(
        letter for letter in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(letter) != "Mn"
    )
    return re.findall(r"[^\W_]+|[^\w\s]|_", plain)


def train(tokenizer, training, validation, dataset, seed, epochs=None):
    """Returns a classifier of ids, trained on texts and labels.

    Args:
        tokenizer: of `make_tokenizer`.
        training: tuple of texts and labels.
        validation: the like, to be looked at after each epoch.
        dataset: "movies" or "imdb".
        seed: int, of the weights, of the order and of the words left out.
        epochs: int, or `None` for those of `SETTINGS`.
    """
    keras.utils.set_random_seed(seed)
    settings, lengths = SETTINGS[dataset], LENGTHS[dataset]
    model = TextClassifier(
        tokenizer.vocabulary_size(),
        lengths[-1],
        hidden_dim=settings["width"],
        num_layers=1,
        num_heads=4,
        intermediate_dim=INTERMEDIATE,
        dropout=settings["dropout"],
    )
    ids = [np.array(tokenizer(list(texts))) for texts, _ in (training, validation)]
    fit = HiddenWords(settings["hidden"], settings["hidden_as"], ids[0], training[1], lengths, BATCH, seed=seed)
    epochs = epochs or settings["epochs"]
    steps = epochs * fit.num_batches
    warm_up = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=PEAK_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings["decay"])
    model.compile(
        decay_matrices_only(optimizer, model),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # to compile takes longer than so small a model trains
    )
    model.fit(fit, validation_data=(ids[1], validation[1]), epochs=epochs, shuffle=False)
    return model
