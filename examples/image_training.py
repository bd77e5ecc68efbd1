"""The models of the example of images, and how they are trained: on the same changed images, by the same schedule."""

import time

import image_augmentation
import image_baselines
import image_data
import keras

from keras_tx.applications import Mixer, Swin, ViT
from keras_tx.layers import ConvolutionalStem

_VIT = {"patch_size": 4, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 128}
_SWIN = {"patch_size": 4, "window_size": 4, "num_layers": (2, 1), "num_heads": (3, 6), "hidden_dim": 48, "mlp_ratio": 2}
_MIXER = {"patch_size": 4, "num_layers": 4, "hidden_dim": 64, "tokens_dim": 64, "channels_dim": 128}
_STEM = {"filters": (32, 64, 64), "strides": (2, 2, 1)}  # what it gives are the patches of 4 x 4 pixels
_SMALL = {"vit": {**_VIT, "stem": _STEM}, "swin": {**_SWIN, "stem": _STEM}, "mixer": _MIXER}
SETTINGS = {
    "mnist": _SMALL,
    "animals": _SMALL,
    "digits": {  # of 8 x 8, with no pixel to lose
        "vit": {**_VIT, "patch_size": 2, "num_layers": 4},
        "swin": {**_SWIN, "patch_size": 1},
        "mixer": {**_MIXER, "patch_size": 2},
    },
    "cifar10": {
        "vit": {**_VIT, "num_layers": 4, "stem": _STEM},
        "swin": {**_SWIN, "num_layers": (2, 2), "stem": _STEM},
        "mixer": _MIXER,
    },
}
EPOCHS = {  # so that each takes as long on a processor
    "mnist": {"vit": 60, "swin": 45, "mixer": 60, "network": 60},
    "animals": {"vit": 60, "swin": 45, "mixer": 60, "network": 60},
    "digits": {"vit": 60, "swin": 100, "mixer": 60, "network": 60},
    "cifar10": {"vit": 20, "swin": 10, "mixer": 20, "network": 20},
}
KINDS = ("vit", "swin", "mixer", "network")
BATCH = 100
PEAK_RATE = {"vit": 1e-2, "swin": 1e-2, "mixer": 1e-2, "network": 2e-3}
SMOOTHING = 0.1  # of the labels
AVERAGE = 0.99  # of the moving average of the weights, a step
VALIDATION = 0.2  # of the training images, on which all settings were chosen


def make_model(kind, settings, shape, num_classes):
    """Returns a model from pixels 0 to 255 to logits."""
    if kind == "network":
        return image_baselines.small_convnet(shape, num_classes)
    options = dict(settings[kind])
    if "stem" in options:
        options["stem"] = ConvolutionalStem(**options["stem"], name="stem")
    if kind == "vit":
        return ViT(**options, image_size=shape[:2], input_shape=shape, num_classes=num_classes)
    if kind == "mixer":
        return Mixer(**options, image_size=shape[:2], channels=shape[2], num_classes=num_classes)
    images = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images)  # Swin's own is for colours
    x = Swin(**options, input_shape=shape, num_classes=num_classes, include_rescaling=False)(x)
    return keras.Model(images, x, name="swin_of_pixels")


def chosen_part(data, part):
    """Returns a data set whose test images are its own, or for "validation" a fifth of its training images."""
    if part == "test":
        return data
    rest, held_out = image_data.split_by_class(data.train_labels, VALIDATION, seed=2)
    return data._replace(
        train=data.train[rest],
        train_labels=data.train_labels[rest],
        test=data.train[held_out],
        test_labels=data.train_labels[held_out],
    )


def batches(images, labels, num_classes, warp, seed=0):
    """Returns a tf.data.Dataset of changed images and their labels, one-hot, in another order each epoch."""
    import tensorflow as tf

    def change(batch, seed):
        return image_augmentation.warped(batch[0], seed, **warp), tf.one_hot(batch[1], num_classes)

    dataset = tf.data.Dataset.from_tensor_slices((images.astype("float32"), labels)).shuffle(len(images), seed=seed)
    # Where `keras.utils.set_random_seed` was called, operations that keep a state begin anew each epoch with the same numbers.
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    batched = dataset.batch(BATCH, drop_remainder=True)
    return tf.data.Dataset.zip(batched, seeds).map(change).prefetch(2)


def make_optimizer(kind, rate):
    """Returns the optimizer of a model: for Transformers and Mixers Muon for the matrices and Adam for the rest, else Adam.

    At the end of `fit` the weights become their moving averages.
    """
    average = {"use_ema": True, "ema_momentum": AVERAGE}
    if kind == "network":
        return keras.optimizers.Adam(rate, **average)
    kept_from_muon = ["bias_table", "class_token"]
    return keras.optimizers.Muon(
        rate, weight_decay=0.1, adam_lr_ratio=0.15, clipnorm=1.0, exclude_layers=kept_from_muon, **average
    )


def train(model, changed, epochs, kind):
    """Fits a model, the learning rate rising for a tenth of the steps, then falling as a cosine; returns seconds."""
    steps = epochs * len(changed)
    warm_up = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=PEAK_RATE[kind], warmup_steps=warm_up
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING)
    # On a processor TensorFlow's graphs of convolutions are faster than XLA's, and need no compilation.
    compiled = keras.backend.backend() == "jax"
    model.compile(make_optimizer(kind, rate), loss, metrics=["accuracy"], jit_compile=compiled)
    start = time.perf_counter()
    model.fit(changed, epochs=epochs, shuffle=False, verbose=2)
    if (
        keras.backend.backend() == "jax"
    ):  # where weights and averages are now the same arrays, which `predict` gives away
        model.set_weights(model.get_weights())
    return time.perf_counter() - start


def predict(model, images):
    """Returns the class of each image."""
    return model.predict(images.astype("float32"), batch_size=BATCH, verbose=0).argmax(axis=-1)
