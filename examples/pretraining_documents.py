"""Texts of one file are to have vectors that are near: an objective for the mean of an encoder's vectors, beside masked words."""

import keras
import numpy as np
from keras import ops

from keras_tx import graph
from keras_tx.layers import MaskedMeanPooling

TEMPERATURE = 0.1


class SameDocument(keras.losses.Loss):
    """The cross-entropy of finding, for each text of a batch, the other texts of its document among all of the batch.

    With z the vectors, made as long as 1, and d the documents, the loss of text i is

        -log(sum_{j != i, d_j = d_i} exp(z_i z_j / t) / sum_{j != i} exp(z_i z_j / t)),

    and 0 for a text that has no other of its document beside it (Khosla et al. 2020, "Supervised Contrastive Learning", L_in).

    Args:
        temperature: float, t.
    """

    def __init__(self, temperature=TEMPERATURE, name="same_document"):
        super().__init__(name=name)
        self.temperature = temperature

    def call(self, y_true, y_pred):
        """Returns the losses (B,) of documents' numbers (B,) or (B, 1) and vectors (B, D)."""
        documents = ops.reshape(y_true, (-1,))
        vectors = ops.normalize(ops.cast(y_pred, "float32"), axis=-1)
        near = vectors @ ops.transpose(vectors) / self.temperature  # (B, B)
        itself = ops.eye(ops.shape(near)[0], dtype="bool")
        others = ops.where(itself, -1e9, near)
        same = ops.logical_and(ops.equal(documents[:, None], documents[None]), ops.logical_not(itself))
        found = ops.logsumexp(ops.where(same, near, -1e9), axis=-1)
        return ops.where(ops.any(same, axis=-1), ops.logsumexp(others, axis=-1) - found, 0.0)


def with_documents(pretrainer, encoder):
    """Returns a pretrainer that has one output more, "document": a vector (B, D) of each text, from the mean of the encoder's."""
    last = f"{encoder.name}/{encoder.layers[-1].name}"
    front, back = graph.split(pretrainer, last)
    handed = dict(front.output)
    states, ids = handed[last.replace("/", ".")], front.input["token_ids"]
    x = MaskedMeanPooling(name="document_mean")(states, mask=ops.not_equal(ids, 0))  # (B, D)
    x = keras.layers.Dense(states.shape[-1], name="document")(x)
    return keras.Model(front.input, {**back(handed), "document": x}, name=pretrainer.name)


def pairs(documents, random):
    """Returns places (N, 2) of texts of one document, each text in one pair at most; others in each call."""
    order = np.lexsort((random.random(len(documents)), documents))
    first = np.flatnonzero(np.append(True, np.diff(documents[order]) != 0))
    turn = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    starts = np.flatnonzero((turn[:-1] % 2 == 0) & (turn[1:] % 2 == 1))
    return np.stack([order[starts], order[starts + 1]], axis=1)
