"""Which positions a position reads, by the three that the slot of a block may carry: attention, Fourier transform, token mixing.

    python examples/mixing_patterns.py [--epochs N] [--output FOLDER]

Trains a small ViT and a small Mixer on scikit-learn's digits (8 x 8 pixels, a position for each), and draws for the first block
of each how much position j reads of position k: the attention of one image, averaged over heads; the real part of the Fourier
transform, of which nothing is learned; and the two kernels of token mixing multiplied, which are the same for every image.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib
import numpy as np
from sklearn.datasets import load_digits

from keras_tx import analysis
from keras_tx.applications import Mixer, ViT
from keras_tx.layers import FourierMixing

matplotlib.use("Agg")
from matplotlib import pyplot

SIDE = 8
COMMON = {"patch_size": 1, "num_layers": 2, "hidden_dim": 32, "image_size": SIDE, "num_classes": 10, "dropout": 0.1}


def models():
    """Returns the models to train, by name; the mean over positions stands in the place of a class token."""
    vit = ViT(num_heads=4, intermediate_dim=64, input_shape=(SIDE, SIDE, 1), name="vit", **COMMON)
    mixer = Mixer(tokens_dim=64, channels_dim=64, channels=1, name="mixer", **COMMON)
    return {"vit": vit, "mixer": mixer}


def train(model, images, labels, epochs):
    """Trains on the first 1,400 images, and returns the accuracy on the others."""
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() != "torch",
    )
    model.fit(images[:1400], labels[:1400], batch_size=100, epochs=epochs, verbose=0)
    return model.evaluate(images[1400:], labels[1400:], batch_size=100, verbose=0)[1]


def attention(model, images):
    """Returns the mean over heads of the first block's attention between pixels (64, 64)."""
    maps = keras.ops.convert_to_numpy(analysis.attention_maps(model, images)["encoder_0"])
    return maps[0].mean(axis=0)[1:, 1:]  # without the class token


def fourier(length):
    """Returns what each position of a transform reads of each (T, T): the layer's own answer to ones at one position."""
    ones = np.eye(length, dtype="float32")[:, :, None]  # a batch of one position each, of one channel
    return keras.ops.convert_to_numpy(FourierMixing()(ones))[:, :, 0].T


def token_mixing(model):
    """Returns the product of the two kernels of the first block's token mixing (64, 64)."""
    mixing = model.get_layer("encoder_0").attention.feed_forward
    kernels = mixing.intermediate.kernel, mixing.output_dense.kernel
    return np.matmul(*map(keras.ops.convert_to_numpy, kernels)).T


def draw(panels, path):
    """Writes matrices (positions, positions read), by their titles, as a PNG."""
    figure, axes = pyplot.subplots(1, len(panels), figsize=(11, 3.4), layout="constrained")
    for axis, (title, (matrix, colors)) in zip(axes, panels.items(), strict=True):
        bound = np.abs(matrix).max()
        low = 0 if colors == "viridis" else -bound
        picture = axis.imshow(matrix, cmap=colors, vmin=low, vmax=bound, interpolation="nearest")
        axis.set(title=title, xlabel="position that is read", xticks=range(0, 64, 16), yticks=range(0, 64, 16))
        figure.colorbar(picture, ax=axis, shrink=0.75)
    axes[0].set_ylabel("position that reads")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main():
    """Trains both and draws the three."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("outputs/mixing_patterns"))
    options = parser.parse_args()
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    data = load_digits()
    images, labels = (255 / 16 * data.images[..., None]).astype("float32"), data.target
    trained = models()
    for name, model in trained.items():
        accuracy = train(model, images, labels, options.epochs)
        print(f"{name}: {accuracy:.4f} of 397 test images, {model.count_params():,} parameters", flush=True)
    panels = {
        "Attention (ViT, one image)": (attention(trained["vit"], images[1400:1401]), "viridis"),
        "FourierMixing (no weights)": (fourier(SIDE * SIDE), "RdBu"),
        "TokenMixing (every image)": (token_mixing(trained["mixer"]), "RdBu"),
    }
    draw(panels, options.output / "mixing.png")
    print(f"{options.output / 'mixing.png'}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
