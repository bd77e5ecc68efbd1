"""FNet and MLP-Mixer: published sizes, what padding does, and images of other sizes."""

import keras
import numpy as np
import pytest

from keras_tx import graph
from keras_tx.applications import FNET_SIZES, MIXER_SIZES, FNet, Mixer, bert_pretrainer

from ..layers.execution import array, quick

# Google's own checkpoints, by the configs of transformers; timm's models.
PUBLISHED = {
    (FNet, "base"): 82_861_056,
    (FNet, "large"): 236_945_408,
    (Mixer, "small_16"): 18_528_264,
    (Mixer, "base_16"): 59_880_472,
    (Mixer, "large_16"): 208_196_168,
    (Mixer, "small_32"): 19_104_624,
    (Mixer, "base_32"): 60_293_428,
}


@pytest.mark.once
@pytest.mark.parametrize(("build", "size"), PUBLISHED, ids=lambda value: getattr(value, "__name__", value))
def test_sizes_are_the_published_ones(build, size):
    with graph.without_values():
        model = build(**{FNet: FNET_SIZES, Mixer: MIXER_SIZES}[build][size])
        assert model.count_params() == PUBLISHED[build, size]
        if size == "base":
            assert bert_pretrainer(model).count_params() == 83_486_722


def test_padding_changes_what_is_published_and_not_what_is_masked():
    sizes = {"num_layers": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.0}
    ids = np.array([[5, 6, 7, 3, 3], [5, 6, 3, 3, 3]])
    for padding_id in (None, 3):
        model = FNet(9, 5, **sizes, padding_id=padding_id)
        run = quick(lambda ids, model=model: model({"token_ids": ids, "segment_ids": 0 * ids})["pooled_output"])
        before = array(run(keras.ops.convert_to_tensor(ids)))
        table = model.get_layer("embedding").token_embedding.embeddings
        table.assign(array(table) + np.outer(np.arange(9) == 3, np.arange(8)).astype("float32"))
        run = quick(lambda ids, model=model: model({"token_ids": ids, "segment_ids": 0 * ids})["pooled_output"])
        after = array(run(keras.ops.convert_to_tensor(ids)))
        assert np.allclose(before, after, atol=1e-6) == (padding_id == 3)


def test_a_mixer_learns_and_takes_images_of_one_size(tmp_path):
    sizes = {
        "patch_size": 4,
        "num_layers": 2,
        "hidden_dim": 16,
        "tokens_dim": 8,
        "channels_dim": 16,
        "image_size": (8, 12),
    }
    model = Mixer(**sizes, num_classes=2, channels=1)
    random = np.random.default_rng(0)
    labels = np.arange(16) % 2
    images = (random.uniform(0, 60, (16, 8, 12, 1)) + 120 * labels[:, None, None, None]).astype("float32")
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    model.fit(images, labels, epochs=8, verbose=0)
    assert model.evaluate(images, labels, verbose=0)[1] == 1.0
    path = tmp_path / "mixer.keras"
    model.save(path)
    np.testing.assert_allclose(array(keras.models.load_model(path)(images)), array(model(images)), atol=1e-5)
    with pytest.raises(ValueError, match="12|8"):
        model(np.zeros((1, 12, 12, 1), "float32"))
    assert Mixer(**sizes, include_top=False).output_shape == (None, 6, 16)
    assert Mixer(**sizes, include_top=False, pooling="avg").output_shape == (None, 16)


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 9}, "`image_size` must be a multiple of `patch_size`.*9.*4"),
        ({"pooling": "avg"}, "`pooling` must be None where `include_top` is True"),
        ({"tokens_dim": 0}, "`intermediate_dim`.*0"),
        ({"channels": None}, "`channels`"),
    ],
)
def test_bad_sizes_are_named(change, message):
    sizes = {"patch_size": 4, "num_layers": 1, "hidden_dim": 8, "tokens_dim": 8, "channels_dim": 16, "image_size": 8}
    with pytest.raises(ValueError, match=message):
        Mixer(**{**sizes, **change})
