"""Batches of texts of like length, so that little is padding and few shapes are compiled."""

import keras
import numpy as np


class LengthBatches(keras.utils.PyDataset):
    """Batches of ids and labels, each padded to the first of some lengths that holds its longest text.

    Args:
        ids: int32 (N, T), padded with 0, T the last of `lengths`.
        labels: int32 (N,).
        lengths: ascending ints.
        batch: int, texts of a batch.
        training: bool, whether to draw the batches anew, and in another order, in each epoch; then all are full.
        seed: int, of that order.
    """

    def __init__(self, ids, labels, lengths, batch, training=False, seed=0):
        super().__init__()
        self.ids, self.labels, self.lengths, self.batch, self.training = ids, labels, lengths, batch, training
        self.seed, self.epoch = seed, 0
        self.on_epoch_end()

    def on_epoch_end(self):
        random = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        lengths = (self.ids != 0).sum(1)
        order = np.lexsort((random.random(len(lengths)), np.searchsorted(self.lengths, lengths)))
        batches = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        if self.training:
            batches = [
                batches[place] for place in random.permutation(len(batches)) if len(batches[place]) == self.batch
            ]
        # Keras takes the shapes of the first two batches for those of all: they must differ where any do.
        widths = [self._width(rows) for rows in batches]
        other = next((place for place, width in enumerate(widths) if width != widths[0]), 0)
        self.batches = [batches[other], *batches[:other], *batches[other + 1 :]]

    def _width(self, rows):
        longest = (self.ids[rows] != 0).sum(1).max()
        return next(length for length in self.lengths if length >= longest)

    @property
    def num_batches(self):
        return len(self.batches)

    def __getitem__(self, index):
        rows = self.batches[index]
        return self.ids[rows, : self._width(rows)], self.labels[rows]
