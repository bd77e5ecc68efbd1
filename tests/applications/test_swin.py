"""Swin: counts, maps that windows do not divide, padding, pixels, outputs without a head, saving, walks, learning, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_tx
from keras_tx import graph
from keras_tx.applications import SWIN_SIZES, Swin

from ..layers.contract_rows import stir
from ..layers.execution import array, gradients, run

SMALL = {"num_layers": (1, 2), "num_heads": (1, 2), "hidden_dim": 8, "window_size": 3, "mlp_ratio": 2}
PARAMETERS = {
    "tiny": 28_288_354,
    "small": 49_606_258,
    "base": 87_768_224,
    "base_384": 87_903_584,
    "large": 196_532_476,
}
PIXELS = np.random.RandomState(0).randint(0, 256, size=(2, 28, 20, 3))  # maps of 7 x 5 and 4 x 3


def made(**options):
    """A small model whose weights matter."""
    keras.utils.set_random_seed(1)
    model = Swin(**{**SMALL, "num_classes": 5, **options})
    stir(model)
    return model


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.mark.once
def test_parameters_are_those_of_the_published_models():
    assert SWIN_SIZES.keys() == PARAMETERS.keys()
    for size, count in PARAMETERS.items():
        with graph.without_values():
            model = Swin(**SWIN_SIZES[size])
        assert model.count_params() == count, size


@pytest.mark.once
def test_each_stage_halves_the_map_and_doubles_its_width():
    with graph.without_values():
        model = Swin(**SWIN_SIZES["tiny"], include_top=False, input_shape=(384, 520, 3))
    assert model.get_layer("stage_0_block_0").output.shape == (None, 96, 130, 96)
    assert model.output.shape == (None, 12, 17, 768)


@pytest.mark.once
def test_every_second_window_is_shifted_and_depth_is_dropped_more_the_deeper_a_block_lies():
    model = Swin(**{**SMALL, "num_layers": (1, 4), "window_size": (3, 2)}, drop_path=0.4)
    blocks = [layer for layer in model.layers if isinstance(layer, keras_tx.layers.TransformerEncoder)]
    assert [block.attention.shift_size for block in blocks] == [(0, 0), (0, 0), (1, 1), (0, 0), (1, 1)]
    np.testing.assert_allclose([block.drop_path for block in blocks], [0.0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.once
def test_pixels_are_scaled_inside_or_come_as_they_are(model):
    plain = Swin(**SMALL, num_classes=5, include_rescaling=False)
    plain.set_weights([array(weight) for weight in model.weights])
    bytes_in, floats_in = (run(model, PIXELS.astype(dtype)) for dtype in ("uint8", "float32"))
    np.testing.assert_array_equal(bytes_in, floats_in)
    normal = (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(run(plain, normal), floats_in, atol=1e-5)


@pytest.mark.once
def test_padding_is_masked_out_unless_the_published_behaviour_is_asked_for(model):
    published = Swin(**SMALL, num_classes=5, mask_padding=False)
    published.set_weights([array(weight) for weight in model.weights])
    assert np.abs(run(published, PIXELS) - run(model, PIXELS)).max() > 1e-4
    divided = np.concatenate([PIXELS, PIXELS], axis=1)[:, :24, [*range(20), 0, 1, 2, 3]]  # maps of 6 x 6 and 3 x 3
    np.testing.assert_allclose(run(published, divided), run(model, divided), atol=1e-5)


@pytest.mark.once
def test_without_a_head_there_is_a_map_or_its_mean():
    last = made(include_top=False)
    expected = run(last, PIXELS)
    assert expected.shape == (2, 4, 3, 16)
    pooled = Swin(**SMALL, include_top=False, pooling="avg")
    pooled.set_weights([array(weight) for weight in last.weights])
    np.testing.assert_allclose(run(pooled, PIXELS), expected.mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.once
def test_files_reload_with_equal_outputs(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(run(again, PIXELS), run(model, PIXELS))


@pytest.mark.once
def test_attention_maps_are_read(model):
    maps = keras_tx.analysis.attention_maps(model, PIXELS)
    shapes = {name: tuple(weights.shape) for name, weights in maps.items()}
    assert shapes == {
        "stage_0_block_0": (2, 1, 35, 35),
        "stage_1_block_0": (2, 2, 12, 12),
        "stage_1_block_1": (2, 2, 12, 12),
    }
    np.testing.assert_allclose(np.asarray(maps["stage_1_block_1"]).sum(-1), 1.0, atol=1e-6)


@pytest.mark.once
def test_every_weight_gets_a_gradient(model):
    def loss(images):
        return ops.mean(ops.square(model(images, training=True)))

    weights = model.trainable_weights
    for weight, gradient in zip(weights, gradients(loss, weights)(ops.convert_to_tensor(PIXELS)), strict=True):
        if not weight.path.endswith("key/bias"):  # which the softmax takes out
            assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": (1,)}, r"must be of one length.*Received: num_layers=\(1, 2\), num_heads=\(1,\)"),
        ({"num_layers": 2}, "`num_layers` must be a tuple with an integer for each stage. Received: num_layers=2"),
        ({"num_layers": ()}, "`num_layers` must be a tuple"),
        ({"num_layers": (1, 0)}, "`num_layers` must be a positive integer. Received: num_layers=0"),
        ({"num_heads": (1, 3)}, "`num_heads` must divide"),
        ({"hidden_dim": 0}, "`hidden_dim` must be a positive integer. Received: hidden_dim=0"),
        ({"window_size": 0}, "`window_size` must be a positive integer.*Received: window_size=0"),
        ({"mlp_ratio": 0}, "`mlp_ratio` must be a positive number. Received: mlp_ratio=0"),
        ({"mlp_ratio": 0.01}, "`intermediate_dim` must be a positive integer"),
        ({"patch_size": "4"}, "`patch_size` must be a positive integer"),
        ({"pooling": "avg"}, "`pooling` must be None where `include_top` is True"),
        (
            {"pooling": "token", "include_top": False},
            "`pooling` must be None or one of 'avg'. Received: pooling='token'",
        ),
        ({"mask_padding": 1}, "`mask_padding` must be True or False"),
        ({"input_shape": (None, None, 1)}, "`input_shape` must have 3 channels where `include_rescaling` is True"),
        ({"input_shape": (None, 3)}, r"`input_shape` must be \(rows, columns, channels\)"),
        ({"input_shape": (8, 28, 3)}, r"must have at least 12 rows of pixels \(3 patches of 4\)"),
        ({"drop_path": 1}, r"`drop_path` must be a number in \[0, 1\)"),
        ({"num_classes": -1}, "`num_classes` must be a positive integer"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with graph.without_values(), pytest.raises(ValueError, match=message):
        Swin(**{**SMALL, **options})


@pytest.mark.once
def test_an_image_smaller_than_a_window_is_named(model):
    with pytest.raises(ValueError, match=r"must have at least 12 columns of pixels \(3 patches of 4\)"):
        model(np.zeros((1, 28, 11, 3), "float32"))


@pytest.mark.once
def test_images_of_one_channel_are_refused_by_name(model):
    with pytest.raises(ValueError, match="layer 'rescaling' is incompatible .* axis -1 of input shape to have value 3"):
        model(np.zeros((1, 28, 20, 1), "float32"))
