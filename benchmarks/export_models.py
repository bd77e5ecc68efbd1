"""Small models of every application, and of Keras' own layers beside them, with inputs of several sizes."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_tx import applications

TEXTS = ((1, 1), (3, 7), (2, 5))  # batch and length
IMAGES = ((1, 16, 16), (3, 12, 20), (2, 24, 8))  # batch, rows and columns
VOCABULARY = 11
_SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


class Case(NamedTuple):
    """A model to export.

    Attributes:
        make: function of no arguments that returns the model.
        sizes: the sizes that it is run at.
        axes: dict name of an input -> the names of its axes.
    """

    make: Any
    sizes: tuple = TEXTS
    axes: dict | None = None

    def model(self):
        """Returns the model with every weight away from its start."""
        keras.utils.set_random_seed(0)
        model = self.make()
        random = np.random.default_rng(3)
        for weight in model.trainable_weights:
            weight.assign(weight + random.normal(0, 0.1, weight.shape).astype("float32"))
        return model

    def values(self, model, size, seed=0):
        """Returns a dict of arrays by the names of the inputs."""
        random = np.random.default_rng(seed)
        return {tensor.name: _draw(random, tensor, size) for tensor in model.inputs}


def _draw(random, tensor, size):
    if len(tensor.shape) == 4:
        return random.uniform(0, 255, (*size, tensor.shape[-1])).astype("float32")
    if "int" in tensor.dtype:
        high = {"segment_ids": 2, "mask_positions": size[1], "span_left": size[1], "span_right": size[1]}
        ids = random.integers(0, high.get(tensor.name, VOCABULARY), size).astype("int32")
        if tensor.name in ("token_ids", "source_ids"):
            ids[:, 1:] *= np.arange(1, size[1]) < size[1] - np.arange(size[0])[:, None]  # padding to the right
            ids[:, 0] = 1
        return ids % 5 if tensor.name == "span_offsets" else ids
    return random.normal(size=(*size, tensor.shape[-1])).astype("float32")


def _text_classifier():
    return applications.TextClassifier(VOCABULARY, 8, **_SIZES)


def _gpt(**settings):
    return applications.GPT(VOCABULARY, 8, **_SIZES, **settings)


def _bert():
    return applications.BERT(VOCABULARY, 8, **_SIZES)


def _bert_pretrainer():
    return applications.bert_pretrainer(_bert(), span_boundary=True, max_span_length=5)


def _translator(**settings):
    return applications.Translator(VOCABULARY, **_SIZES, **settings)


def _t5():
    return applications.T5(VOCABULARY, **_SIZES, gated=True, tied=False)


def _vit(**settings):
    return applications.ViT(4, **_SIZES, image_size=16, num_classes=3, **settings)


def _swin(**settings):
    return applications.Swin(2, (2, 2), (2, 2), 8, 2, 2, num_classes=3, **settings)


def _keras_text():
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(VOCABULARY, 8, mask_zero=True)(ids)
    x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 4)(x, x)])
    x = keras.layers.Dense(16, activation="gelu")(keras.layers.LayerNormalization()(x))
    return keras.Model(ids, keras.layers.Dense(3)(x))


def _keras_image(padding):
    images = keras.Input((None, None, 3), name="images")
    x = keras.layers.Conv2D(8, 4, strides=4, padding=padding)(keras.layers.Rescaling(1 / 127.5, -1.0)(images))
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


_PAIR = dict.fromkeys(("token_ids", "segment_ids"), ("batch", "length"))
_MASKED = {
    **_PAIR,
    **dict.fromkeys(("mask_positions", "span_left", "span_right", "span_offsets"), ("batch", "masked")),
}
KERAS = {
    "keras: Embedding, MultiHeadAttention": Case(_keras_text),
    "keras: Conv2D, padding='valid'": Case(lambda: _keras_image("valid"), IMAGES),
    "keras: Conv2D, padding='same'": Case(lambda: _keras_image("same"), IMAGES),
}
APPLICATIONS = {
    "TextClassifier": Case(_text_classifier),
    "GPT": Case(_gpt),
    "GPT, sinusoidal": Case(lambda: _gpt(positions="sinusoidal")),
    "GPT, rotary": Case(lambda: _gpt(positions="rotary")),
    "BERT": Case(_bert, axes=_PAIR),
    "bert_classifier": Case(lambda: applications.bert_classifier(_bert(), 3)),
    "bert_pretrainer": Case(_bert_pretrainer, axes=_MASKED),
    "Translator": Case(_translator),
    "Translator, learned": Case(lambda: _translator(positions="learned", sequence_length=8)),
    "T5": Case(_t5),
    "ViT": Case(_vit, IMAGES),
    "ViT, padding='mask', pooling='avg'": Case(
        lambda: _vit(padding="mask", include_top=False, pooling="avg"), ((1, 16, 16), (3, 11, 21), (2, 25, 6))
    ),
    "Swin": Case(_swin, ((1, 16, 16), (3, 11, 21), (2, 25, 6))),
    "Swin, mask_padding=False": Case(lambda: _swin(mask_padding=False), ((1, 16, 16), (3, 11, 21), (2, 25, 6))),
}
