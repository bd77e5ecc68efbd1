"""A small encoder learns to tell packages from few labels, with new weights or pretrained ones."""

import keras
import numpy as np
import pretraining_objectives as objectives
from length_batches import LengthBatches
from pretraining_texts import PACKAGES

from keras_tx.layers import MaskedMeanPooling

BATCH = 25
DROPOUT = 0.1
LENGTHS = (24, 40, 56)  # and the encoder's; a batch is padded to the first that holds its longest text
EPOCHS = {100: 30, 300: 20, 1000: 8, 10000: 2}
RATES = {"new": 1e-3, "pretrained": 1e-3}


def make_classifier(encoder, dropout=DROPOUT):
    """Returns a classifier of ids (B, T) on the mean of an encoder's vectors: logits of the packages."""
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    states = encoder({"token_ids": ids, "segment_ids": keras.ops.zeros_like(ids)})["sequence_output"]  # (B, T, D)
    x = MaskedMeanPooling(name="pooling")(states, mask=keras.ops.not_equal(ids, 0))  # (B, D)
    # The means of all texts are nearly one vector, and from what differs alone a head learns in few steps (He et al. 2022, MAE).
    x = keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False, name="pooled_norm")(x)
    x = keras.layers.Dropout(dropout, name="pooled_dropout")(x)
    return keras.Model(ids, keras.layers.Dense(len(PACKAGES), name="logits")(x), name="package_of_docstring")


def epochs_for(count):
    """Returns how often a number of labels is gone through: that of the nearest number in `EPOCHS`, by its logarithm."""
    return EPOCHS[min(EPOCHS, key=lambda known: abs(np.log(known / count)))]


class Rate(keras.callbacks.Callback):
    """Sets the learning rate of each step: up to the peak in a tenth of the steps, then down to nothing, both in a line."""

    def __init__(self, peak, steps):
        super().__init__()
        self.peak, self.steps, self.step = peak, steps, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.step += 1
        share = min(self.step / max(1, self.steps // 10), 1.0, (self.steps - self.step + 1) / self.steps / 0.9)
        self.model.optimizer.learning_rate.assign(self.peak * share)


class Tuner:
    """Fine-tunes one classifier again and again, each time from its start: TensorFlow traces its steps once.

    Args:
        vocabulary_size: int.
        settings: as `pretraining_objectives.SETTINGS`.
    """

    def __init__(self, vocabulary_size, settings):
        self.vocabulary_size, self.settings = vocabulary_size, {**settings, "dropout": DROPOUT}
        self.model = self._new()
        self.model.compile(
            keras.optimizers.AdamW(RATES["new"], weight_decay=0.01, clipnorm=1.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,  # to compile takes longer than most of these trainings
        )
        self.model.optimizer.build(self.model.trainable_variables)

    def _new(self, weights=None):
        encoder = objectives.make_encoder(self.vocabulary_size, self.settings)
        if weights is not None:
            encoder.set_weights(weights)
        return make_classifier(encoder)

    def __call__(self, weights, ids, labels, seed, epochs=None):
        """Returns the classifier, fine-tuned from an encoder's weights, or trained from new ones.

        Args:
            weights: list of arrays, of an encoder as `make_encoder` makes it, or `None` for new ones.
            ids: int32 (N, T).
            labels: int32 (N,).
            seed: int, of new weights, of the order and of dropout.
            epochs: int, or `None` for those of `EPOCHS`.
        """
        keras.utils.set_random_seed(seed)
        for variable, start in zip(self.model.variables, self._new(weights).variables, strict=True):
            variable.assign(start)
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        lengths = (*(length for length in LENGTHS if length < self.settings["length"]), self.settings["length"])
        batches = LengthBatches(ids, labels, lengths, min(BATCH, len(ids)), training=True, seed=seed)
        epochs = epochs or epochs_for(len(ids))
        rate = Rate(RATES["new" if weights is None else "pretrained"], epochs * batches.num_batches)
        self.model.fit(batches, epochs=epochs, shuffle=False, callbacks=[rate], verbose=0)
        return self.model


def accuracy(model, ids, labels):
    """Returns the share of texts whose package is found."""
    return float(np.mean(model.predict(ids, batch_size=100, verbose=0).argmax(axis=-1) == labels))
