"""ViT: counts, sizes of images, padding, pixels, outputs without a head, saving, walks, learning, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_tx
from keras_tx import graph
from keras_tx.applications import VIT_SIZES, ViT

from ..layers.contract_rows import stir
from ..layers.execution import array, run
from .counts import extrapolated

SMALL = {"patch_size": 4, "num_layers": 3, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12, "image_size": 8}
PARAMETERS = {
    "tiny_16": 5_717_416,
    "small_16": 22_050_664,
    "base_16": 86_567_656,
    "base_16_384": 86_859_496,
    "base_32": 88_224_232,
    "large_16": 304_326_632,
    "large_32": 306_535_400,
    "huge_14": 632_045_800,
}
DISTILLED = {"tiny_16": 5_910_800, "small_16": 22_436_432, "base_16": 87_338_192}
PIXELS = np.random.RandomState(0).randint(0, 256, size=(2, 8, 8, 3))


def made(**options):
    """A small model whose weights matter."""
    keras.utils.set_random_seed(1)
    model = ViT(**{**SMALL, "num_classes": 5, **options})
    stir(model)
    return model


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.mark.once
def test_parameters_are_those_of_the_published_models():
    assert VIT_SIZES.keys() == PARAMETERS.keys()
    with graph.without_values():
        assert ViT(**VIT_SIZES["tiny_16"]).count_params() == PARAMETERS["tiny_16"]
    for size, count in PARAMETERS.items():
        assert extrapolated(ViT, VIT_SIZES[size]) == count, size
    for size, count in DISTILLED.items():
        assert extrapolated(ViT, VIT_SIZES[size], distillation_token=True) == count, size


@pytest.mark.once
def test_a_model_made_at_224_takes_384_by_512():
    with graph.without_values():
        model = ViT(**VIT_SIZES["tiny_16"], include_top=False, input_shape=(384, 512, 3))
    assert model.output.shape == (None, 1 + 24 * 32, 192)
    assert model.get_layer("positions").grid_size == (14, 14)


@pytest.mark.once
def test_an_image_of_another_size_is_read_with_its_positions_resampled(model):
    images = np.random.RandomState(0).uniform(0, 255, (1, 12, 20, 3)).astype("float32")
    logits = run(model, images)
    assert logits.shape == (1, 5)
    table = model.get_layer("positions").position_table
    native = ViT(**{**SMALL, "num_classes": 5, "image_size": (12, 20)})
    native.set_weights([np.zeros(weight.shape) for weight in native.weights])
    resampled = keras_tx.ops.resampling.resample(ops.convert_to_tensor(table), 3, 5)
    for weight, source in zip(native.weights, model.weights, strict=True):
        weight.assign(resampled if source is table else source)
    np.testing.assert_allclose(run(native, images), logits, atol=1e-5)


@pytest.mark.once
def test_pixels_are_scaled_inside_or_come_as_they_are(model):
    plain = ViT(**{**SMALL, "num_classes": 5}, include_rescaling=False)
    plain.set_weights([array(weight) for weight in model.weights])
    bytes_in, floats_in = (run(model, PIXELS.astype(dtype)) for dtype in ("uint8", "float32"))
    np.testing.assert_array_equal(bytes_in, floats_in)
    np.testing.assert_allclose(run(plain, PIXELS / 127.5 - 1.0), floats_in, atol=1e-5)


@pytest.mark.once
def test_filled_up_patches_are_masked_out():
    masked, refusing = made(padding="mask"), made()
    images = np.zeros((2, 9, 10, 3), "float32")
    images[:, :8, :8] = PIXELS
    part, whole = run(masked, images), run(refusing, PIXELS)
    images[:, 8:] = images[:, :, 8:] = 255.0
    np.testing.assert_allclose(run(masked, images), part, atol=1e-6)
    # The table is resampled to 3 x 3 patches, so the image is not read as an 8 x 8 one is.
    assert np.abs(part - whole).max() > 1e-4


@pytest.mark.once
@pytest.mark.parametrize("distilled", [False, True])
def test_without_a_head_there_are_tokens_or_their_pool(distilled):
    tokens = made(include_top=False, distillation_token=distilled)
    weights = [array(weight) for weight in tokens.weights]
    expected, extra = run(tokens, PIXELS), 1 + distilled
    assert expected.shape == (2, extra + 4, 8)
    for pooling, pooled in (("token", expected[:, 0]), ("avg", expected[:, extra:].mean(axis=1))):
        model = ViT(**SMALL, include_top=False, pooling=pooling, distillation_token=distilled)
        model.set_weights(weights)
        np.testing.assert_allclose(run(model, PIXELS), pooled, atol=1e-5)


@pytest.mark.once
def test_the_mean_over_patches_leaves_masked_ones_out():
    tokens = made(include_top=False, padding="mask")
    model = ViT(**SMALL, include_top=False, padding="mask", pooling="avg")
    model.set_weights([array(weight) for weight in tokens.weights])
    images = np.random.RandomState(0).uniform(0, 255, (2, 9, 8, 3)).astype("float32")
    expected = run(tokens, images)[:, 1:].reshape(2, 3, 2, 8)[:, :2].mean(axis=(1, 2))
    np.testing.assert_allclose(run(model, images), expected, atol=1e-5)


@pytest.mark.once
def test_two_heads_give_their_mean():
    model = made(distillation_token=True)
    tokens = keras.Model(model.input, model.get_layer("norm").output)(PIXELS)
    first = model.get_layer("logits")(tokens[:, 0])
    second = model.get_layer("distillation_logits")(tokens[:, 1])
    np.testing.assert_allclose(run(model, PIXELS), (array(first) + array(second)) / 2, atol=1e-5)


@pytest.mark.once
def test_depth_is_dropped_more_the_deeper_a_block_lies():
    model = ViT(**SMALL, drop_path=0.2)
    assert [model.get_layer(f"encoder_{index}").drop_path for index in range(3)] == [0.0, 0.1, 0.2]


def test_files_reload_with_equal_outputs(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(run(again, PIXELS), run(model, PIXELS))


@pytest.mark.once
def test_attention_maps_are_read(model):
    maps = keras_tx.analysis.attention_maps(model, PIXELS)
    assert list(maps) == ["encoder_0", "encoder_1", "encoder_2"]
    assert maps["encoder_0"].shape == (2, 2, 5, 5)
    np.testing.assert_allclose(np.asarray(maps["encoder_0"]).sum(-1), 1.0, atol=1e-6)


def test_training_learns_and_trains_every_weight():
    keras.utils.set_random_seed(0)
    model = ViT(**{**SMALL, "num_layers": 2}, num_classes=2, distillation_token=True, drop_path=0.1)
    starts = [array(weight).copy() for weight in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss=loss, jit_compile="auto")
    losses = model.fit(PIXELS, np.array([0, 1]), batch_size=2, epochs=25, verbose=0).history["loss"]
    assert min(losses[-5:]) < 0.5 * losses[0]
    for weight, start in zip(model.trainable_weights, starts, strict=True):
        if not weight.path.endswith("key/bias"):  # which the softmax takes out
            assert np.abs(array(weight) - start).max() > 0, weight.path


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 0}, r"`patch_size` must be a positive integer.*Received: patch_size=0"),
        ({"patch_size": 3}, r"`image_size` must be a multiple of `patch_size`. Received: image_size=8, patch_size=3"),
        ({"image_size": (8, 10)}, r"must be a multiple of `patch_size`. Received: image_size=\(8, 10\), patch_size=4"),
        ({"image_size": None}, "`image_size` must be a positive integer.*image_size=None"),
        ({"num_layers": 0}, "`num_layers` must be a positive integer. Received: num_layers=0"),
        ({"num_heads": 3}, "`num_heads` must divide"),
        ({"num_classes": 0}, "`num_classes` must be a positive integer. Received: num_classes=0"),
        ({"include_top": 1}, "`include_top` must be True or False. Received: include_top=1"),
        ({"pooling": "avg"}, "`pooling` must be None where `include_top` is True.*Received: pooling='avg'"),
        ({"pooling": "max", "include_top": False}, "`pooling` must be None or one of 'token', 'avg'. Received: pooling='max'"),
        ({"distillation_head": True}, "`distillation_head` must have its token"),
        ({"distillation_head": True, "distillation_token": True, "include_top": False}, "`distillation_head` must have its"),
        ({"distillation_token": 1}, "`distillation_token` must be True or False"),
        ({"include_rescaling": None}, "`include_rescaling` must be True or False"),
        ({"padding": "crop"}, "`padding` must be one of 'refuse', 'keep', 'mask'. Received: padding='crop'"),
        ({"input_shape": (8, 8)}, r"`input_shape` must be \(rows, columns, channels\).*Received: input_shape=\(8, 8\)"),
        ({"input_shape": (None, None, None)}, "`input_shape` must be"),
        ({"input_shape": (8, 0, 3)}, "`input_shape` must be"),
        ({"input_shape": 224}, "`input_shape` must be"),
        ({"input_shape": (9, 8, 3)}, "`patch_size` must divide the image, unless"),
        ({"drop_path": 1.0}, r"`drop_path` must be a number in \[0, 1\)"),
        ({"dropout": -0.1}, r"`dropout` must be a number in \[0, 1\)"),
        ({"activation": "no"}, "`activation` must be"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(options, message):
    with graph.without_values(), pytest.raises(ValueError, match=message):
        ViT(**{**SMALL, **options})


@pytest.mark.once
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 9, 8, 3), "float32"), "`patch_size` must divide the image"),
        (np.zeros((1, 3, 8, 3), "float32"), r"must have at least 4 rows of pixels \(1 patches of 4\)"),
        (np.zeros((1, 8, 8, 1), "float32"), "(?s)incompatible|expected shape|last of size 3"),
        (np.zeros((8, 8, 3), "float32"), "(?s)incompatible|expected shape|4 axes"),
    ],
)
def test_bad_images_are_named(images, message, model):
    with pytest.raises(ValueError, match=message):
        model(images)
