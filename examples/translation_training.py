"""How the translator of `translation.py` is trained, and how it translates many sentences."""

import keras
import numpy as np
import text_tokens

import keras_tx
from keras_tx import decoding
from keras_tx.decoding.text import text_of

PADDING, START, END = 0, 1, 2  # the first tokens of the vocabulary, see `text_tokens.SPECIAL`
TOKENS = 1024  # of a batch's targets
PEAK_RATE = 2e-3  # of Adam, higher than published, for a shorter training
MUON_RATE = 2e-2


class Batches(keras.utils.PyDataset):
    """Batches of rows of about one length, in an order of their own each epoch: little is spent on padding.

    Args:
        sources: list of lists of ids.
        labels: list of lists of ids, each ended by `END`.
        lengths: tuple, ascending, of what rows are padded to: ints, or pairs of ints where source and target differ. Rows that
            fit in none are left out.
        tokens: int, of the longer side of a batch, padding included.
        seed: int.
    """

    def __init__(self, sources, labels, lengths, tokens, seed=0):
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.buckets = []
        needed = np.array([[len(row), len(label)] for row, label in zip(sources, labels, strict=True)]).reshape(-1, 2)
        left = np.full(len(needed), True)
        for length in lengths:
            both = (length, length) if isinstance(length, int) else length
            rows = np.flatnonzero(left & (needed <= both).all(axis=1))
            left[rows] = False
            arrays = [
                padded([texts[index] for index in rows], each)
                for texts, each in zip((sources, labels), both, strict=True)
            ]
            self.buckets.append((*arrays, min(tokens // max(both), max(len(rows), 1))))
        self.on_epoch_end()

    def on_epoch_end(self):
        """Deals the rows out anew."""
        self.batches = []
        for number, (rows, _, size) in enumerate(self.buckets):
            order = self.random.permutation(len(rows))
            # What is left over waits for another epoch: a batch of another size would be compiled anew.
            self.batches += [(number, order[first : first + size]) for first in range(0, len(rows) - size + 1, size)]
        self.random.shuffle(self.batches)
        # Keras takes from the first two batches which sizes vary: they are of the shortest and of the longest rows.
        numbers = [number for number, _ in self.batches]
        for place, number in enumerate((min(numbers), max(numbers)) if len(set(numbers)) > 1 else ()):
            other = place + [each for each, _ in self.batches[place:]].index(number)
            self.batches[place], self.batches[other] = self.batches[other], self.batches[place]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        number, rows = self.batches[index]
        sources, labels, _ = self.buckets[number]
        targets = np.pad(labels[rows, :-1], ((0, 0), (1, 0)), constant_values=START)  # shifted right: teacher forcing
        return {"source_ids": sources[rows], "target_ids": targets}, labels[rows]


def padded(rows, length):
    """Returns lists of ids as an int32 array (B, length)."""
    array = np.full((len(rows), length), PADDING, "int32")
    for place, row in zip(array, rows, strict=True):
        place[: len(row)] = row
    return array


def train(model, batches, epochs, optimizer="adam", average=None):
    """Fits the model by `model.fit` under XLA, with smoothed labels and no padding in the loss.

    Args:
        model: `keras.Model`.
        batches: `Batches`.
        epochs: int.
        optimizer: "adam", with a warm-up and a root, as Vaswani et al. 2017 did, for blocks that normalize sums; or "muon", for
            the matrices of blocks that normalize their inputs, with Adam for the rest, and a cosine.
        average: float, the momentum of the weights' moving average, which they become at the end; `None` for none. For "muon".
    """
    optimizer = make_optimizer(optimizer, epochs * len(batches), model, average)
    loss = keras_tx.losses.TokenCrossentropy(label_smoothing=0.1, padding_id=PADDING)
    model.compile(optimizer, loss, jit_compile=True)
    model.optimizer.build(model.trainable_variables)  # before `fit`: else TensorFlow traces the first step twice
    return model.fit(batches, epochs=epochs, shuffle=False, verbose=2).history["loss"]


def make_optimizer(name, steps, model, average=None):
    """Returns the optimizer of a name for so many steps; see `train`."""
    if name == "muon":
        warm_up = max(1, steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm_up), warmup_target=MUON_RATE, warmup_steps=warm_up
        )
        averaged = {} if average is None else {"use_ema": True, "ema_momentum": average}
        return keras.optimizers.Muon(rate, weight_decay=0.1, adam_lr_ratio=0.15, clipnorm=1.0, **averaged)
    warm_up, width = max(1, steps // 10), model.get_layer("embedding").embedding_dim
    rate = keras_tx.schedules.Noam(width, warm_up, factor=PEAK_RATE * (width * warm_up) ** 0.5)
    return keras.optimizers.Adam(rate, beta_2=0.98, epsilon=1e-9)


def translate(model, tokenizer, sentences, sampler, longest, batch=64):
    """Returns the translation of each sentence in at most so many tokens, those of about one length together."""
    return answers(model, tokenizer, text_tokens.encode(tokenizer, sentences), sampler, longest, batch)


def answers(model, tokenizer, rows, sampler, longest, batch=64):
    """Returns what the model writes to each list of ids, as `translate` does to sentences."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    found = [""] * len(rows)
    for first in range(0, len(order), batch):
        group = order[first : first + batch]
        prompts, context = [[START]] * len(group), {"source_ids": [rows[index] for index in group]}
        tokens = decoding.generate(model, prompts, longest - 1, sampler, stop_ids=END, context=context)
        for index, ids in zip(group, tokens, strict=True):
            found[index] = text_of(ids[ids > END], tokenizer)
    return found
