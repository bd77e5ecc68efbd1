"""Batches of packed rows for `fit`, which a training that goes on after a kill sees as one that was not killed."""

import threading

import keras
import numpy as np

from .. import arguments
from .packing import next_tokens, pack


class PackedBatches(keras.utils.PyDataset):
    """Batches of documents in a seeded order, packed into rows, with the next token of each as its label.

    The model that they train must take `segment_ids` beside `token_ids`, as those of `packed=True` do: Keras lets any other
    train without them, and documents of a row see each other.

    A batch depends on the seed, the epoch and its number alone. Epoch e begins with document e D of the endless order, where D
    documents hold as many tokens as the batches of an epoch; as little of them is padding, some of the last D are left to later
    epochs, whose order is another.

    Args:
        documents: what has `shuffled(seed, start)`, a length and `num_tokens`: `TokenShards`, from `read_shards`.
        length: int, T.
        batch_size: int, B.
        steps: int, batches an epoch, or `None` for as many as hold all documents once.
        seed: int.
        **packing: other arguments of `pack`.

    Returns (as a dataset):
        For each batch the triple of `next_tokens`: `{"token_ids", "segment_ids"}`, labels and weights, each (B, T).

    Raises:
        ValueError: for arguments out of range, and documents that do not fill one batch where `steps` is `None`.

    Example:

    ```python
    documents = [np.arange(3, 9), np.arange(2, 7), np.arange(5, 8)] * 8
    shards = keras_tx.pretraining.read_shards(
        keras_tx.pretraining.write_shards(documents, f"{folder}/text", vocabulary_size=10)
    )
    batches = keras_tx.pretraining.PackedBatches(shards, length=16, batch_size=2)
    model = keras_tx.applications.GPT(
        10, 16, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, packed=True
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callbacks = [batches.follow(), keras_tx.backup.Backup(f"{folder}/backup")]
    model.fit(batches, epochs=2, shuffle=False, callbacks=callbacks, verbose=0)
    ```
    """

    def __init__(self, documents, length, batch_size, steps=None, seed=0, **packing):
        super().__init__()
        if not all(hasattr(documents, name) for name in ("shuffled", "num_tokens", "__len__")):
            raise ValueError(
                "`documents` must be what `read_shards` returns, or have its `shuffled`, `num_tokens` and length; a list becomes "
                f"it by `write_shards`. Received: documents of class {type(documents).__name__}."
            )
        self.documents, self.seed, self.packing = documents, arguments.seed("seed", seed), packing
        self.length = arguments.integer("length", length, least=2)
        self.batch_size = arguments.positive_int("batch_size", batch_size)
        pack((), self.length, **packing)  # refuses what it must
        tokens = self.batch_size * self.length
        held = documents.num_tokens // tokens
        if steps is None and not held:
            raise ValueError(
                f"`documents` must fill a batch of {tokens} tokens, or `steps` be given. Received: {documents.num_tokens} tokens."
            )
        self.steps = arguments.positive_int("steps", held if steps is None else steps)
        share = 1.0 if steps is None else self.steps * tokens / documents.num_tokens
        self._documents_an_epoch = max(1, round(share * len(documents)))
        self.epoch, self._lock, self._rows, self._next = 0, threading.Lock(), None, None

    def follow(self):
        """Returns the callback that tells the batches the epoch, also after a restart. Without it all epochs are the first."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.start_epoch(epoch))

    def start_epoch(self, epoch):
        """Lets the batches be those of an epoch, from 0."""
        with self._lock:
            self.epoch, self._rows = arguments.integer("epoch", epoch, least=0), None

    def rows(self, start):
        """Returns an endless iterator of rows, as `pack` gives them, from a document of the order on."""
        return pack(self.documents.shuffled(self.seed, start), self.length, **self.packing)

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        if not 0 <= index < self.steps:
            raise IndexError(f"There are {self.steps} batches an epoch. Received: number {index}.")
        with self._lock:
            if self._rows is None or index < self._next:
                self._rows, self._next = self.rows(self.epoch * self._documents_an_epoch), 0
            while self._next <= index:  # batches are asked for in their order, but for the first, which Keras looks at
                rows = [next(self._rows) for _ in range(self.batch_size)]
                self._next += 1
        return next_tokens({name: np.stack([row[name] for row in rows]) for name in ("token_ids", "segment_ids")})
