"""MiniLM learns to tell good reviews from bad ones: its lower blocks stay and run once a text, its upper ones are trained.

MiniLM is a BERT of six blocks with real weights (see `minilm.py`). What its lower blocks give is kept, so that an epoch costs
the upper ones alone.
"""

import keras
import minilm
import numpy as np
from bert_text import make_tokenizer
from length_batches import LengthBatches

from keras_tx import graph
from keras_tx.applications import load_huggingface
from keras_tx.layers import MaskedMeanPooling
from keras_tx.schedules import LinearWarmUpDecay

LENGTHS = (24, 48)  # a batch is padded to the first that holds its longest text
BATCH = 32
TRAINED_BLOCKS = 2
SETTINGS = {"epochs": 2, "rate": 2e-4, "dropout": 0.1}  # chosen on the validation films


def load():
    """Returns MiniLM's encoder, and its tokenizer, which pads to the last of `LENGTHS`."""
    folder = minilm.unpack()
    return load_huggingface(folder), make_tokenizer(minilm.vocabulary(folder), LENGTHS[-1])


def make_model(encoder, num_classes=2):
    """Returns the classifier: from ids (B, T) through the encoder and the mean over the real tokens to logits."""
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    states = encoder({"token_ids": ids, "segment_ids": keras.ops.zeros_like(ids)})["sequence_output"]  # (B, T, D)
    pooled = MaskedMeanPooling(name="pooling")(states, mask=keras.ops.not_equal(ids, 0))  # (B, D)
    pooled = keras.layers.Dropout(SETTINGS["dropout"], name="pooled_dropout")(pooled)
    return keras.Model(ids, keras.layers.Dense(num_classes, name="logits")(pooled), name="minilm_reviews")


def cut(model):
    """Returns the part of a classifier that stays, frozen, and the part that is trained."""
    encoder = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    blocks = [layer.name for layer in encoder.layers if layer.name.startswith("encoder_")]
    front, back = graph.split(model, f"{encoder.name}/{blocks[-1 - TRAINED_BLOCKS]}")
    front.trainable = False
    return front, back


def keep(front, tokenizer, texts, labels, training=False):
    """Returns what the frozen part gives for texts, computed once, as batches with the labels."""
    batches = LengthBatches(np.array(tokenizer(list(texts))), labels, LENGTHS, BATCH)
    return graph.CachedOutputs(front, batches, BATCH, shuffle=training)


def fit(back, training, validation, epochs=None):
    """Trains the upper blocks and the head, for the epochs of `SETTINGS` unless others are given."""
    epochs = epochs or SETTINGS["epochs"]
    steps = epochs * training.num_batches
    back.compile(
        keras.optimizers.AdamW(
            LinearWarmUpDecay(SETTINGS["rate"], steps, steps // 10), weight_decay=0.01, clipnorm=1.0
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    back.fit(training, validation_data=validation, epochs=epochs, shuffle=False)
