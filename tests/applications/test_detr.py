"""DETR: counts, padding, auxiliary outputs, detections, backbones, saving, walks, compilation, learning, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_tx
from keras_tx import graph
from keras_tx.applications import (
    DETR,
    DETR_SIZES,
    RESNET_SIZES,
    convolutional_stem,
    detections,
    resnet_backbone,
)

from ..layers.contract_rows import stir
from ..layers.execution import array, gradients, run

SMALL = {"num_classes": 4, "num_queries": 5, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
IMAGES = np.random.RandomState(0).randint(0, 256, size=(2, 21, 30, 3)).astype("float32")  # maps of 6 x 8
MASK = np.ones((2, 21, 30), dtype="int32")
MASK[1, 12:], MASK[1, :, 20:] = 0, 0
TINY = {"depths": (1, 1), "hidden_sizes": (4, 8), "embedding_size": 4}


def made(seed=1, **options):
    """A small model whose weights matter."""
    keras.utils.set_random_seed(seed)
    backbone = options.pop("backbone", None) or convolutional_stem((4, 6))
    model = DETR(backbone=backbone, **{**SMALL, **options})
    stir(model)
    return model


@pytest.fixture(scope="module")
def model():
    return made(pixel_mask=True)


def found(model, images=IMAGES, mask=MASK):
    return array(model({"images": images, "pixel_mask": mask}))


@pytest.mark.once
def test_parameters_are_those_of_the_published_models():
    for size, count in (("resnet50", 41_524_768), ("resnet101", 60_464_672)):
        with graph.without_values():
            model = DETR(91, **DETR_SIZES[size])
        backbone = model.get_layer("backbone")
        # Statistics, scales and offsets, which published counts leave out.
        frozen = sum(np.prod(weight.shape) for weight in backbone.non_trainable_weights)
        assert (model.count_params() - frozen, frozen % 4) == (count, 0), size
    assert model.get_layer("backbone").output.shape == (None, None, None, 2048)


@pytest.mark.once
@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_residual_network_rounds_up(bottleneck):
    network = resnet_backbone(**TINY, bottleneck=bottleneck)
    for size, rows in ((64, 8), (65, 9), (1, 1)):
        assert network(np.zeros((1, size, size, 3))).shape == (1, rows, rows, 8)
    assert {"resnet18", "resnet50"} <= RESNET_SIZES.keys()


def test_outputs_are_logits_and_boxes_of_each_decoder_block(model):
    outputs = found(model)
    assert outputs.shape == (2, 2, 5, 4 + 1 + 4)
    assert np.all((outputs[..., -4:] > 0) & (outputs[..., -4:] < 1))


def test_padding_may_hold_anything_and_no_mask_is_one_of_ones(model):
    expected, images = found(model), IMAGES.copy()
    images[1, 12:], images[1, :, 20:] = np.nan, np.inf
    np.testing.assert_array_equal(found(model, images), expected)
    whole = found(model, mask=None)
    np.testing.assert_allclose(found(model, mask=np.ones_like(MASK)), whole, atol=1e-5)
    np.testing.assert_allclose(whole[0], expected[0], atol=1e-5)
    assert np.abs(whole[1] - expected[1]).max() > 1e-3
    assert np.isfinite(found(model, mask=np.zeros_like(MASK))).all()


@pytest.mark.once
def test_auxiliary_outputs_are_what_fewer_blocks_give(model):
    weights = {weight.path: array(weight) for weight in model.weights}
    for options, layers in (({"auxiliary_outputs": False}, [1]), ({"num_decoder_layers": 1}, [0])):
        other = made(**options, include_rescaling=True)
        for weight in other.weights:
            weight.assign(weights[weight.path])
        np.testing.assert_allclose(run(other, IMAGES), found(model, mask=None)[:, layers], atol=1e-5)


@pytest.mark.once
def test_pixels_are_scaled_inside_or_come_as_they_are(model):
    plain = made(include_rescaling=False)
    plain.set_weights([array(weight) for weight in model.weights])
    normal = (IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(run(plain, normal.astype("float32")), found(model, mask=None), atol=1e-5)


@pytest.mark.once
def test_files_reload_with_equal_outputs(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(found(again), found(model))


@pytest.mark.once
def test_attention_maps_tell_where_each_query_looks(model):
    maps = keras_tx.analysis.attention_maps(model, {"images": IMAGES, "pixel_mask": MASK})
    shapes = {name: tuple(weights.shape) for name, weights in maps.items()}
    own = {f"encoder_{index}": (2, 2, 48, 48) for index in range(2)} | {
        f"decoder_{index}": (2, 2, 5, 5) for index in range(2)
    }
    assert shapes == own | {f"decoder_{index}/cross_attention": (2, 2, 5, 48) for index in range(2)}
    looks = maps["decoder_1/cross_attention"].reshape(2, 2, 5, 6, 8)
    np.testing.assert_allclose(looks.sum((3, 4)), 1.0, atol=1e-5)
    assert looks[1, :, :, 4:].max() == looks[1, :, :, :, 6:].max() == 0.0
    with pytest.raises(ValueError, match="decoder_0, which attends to another one as well"):
        keras_tx.analysis.attention_rollout(model, {"images": IMAGES, "pixel_mask": MASK})


def test_a_step_of_training_is_compiled_and_every_weight_gets_a_gradient():
    model = made(pixel_mask=True, backbone=resnet_backbone(**TINY, bottleneck=False), dropout=0.0)

    def loss(images, mask):
        return ops.mean(ops.square(model({"images": images, "pixel_mask": mask})))

    weights = model.trainable_weights
    found = gradients(loss, weights)
    for weight, gradient in zip(weights, found(*map(ops.convert_to_tensor, (IMAGES, MASK))), strict=True):
        # The softmax takes out biases of keys; the first self-attention of a decoder reads zeros.
        if not weight.path.endswith("key/bias") and "decoder_0/attention/" not in weight.path:
            assert np.abs(gradient).max() > 0, weight.path
    padding = found(*map(ops.convert_to_tensor, (np.full_like(IMAGES, np.nan), 0 * MASK)))
    assert all(np.isfinite(gradient).all() for gradient in padding if gradient is not None)
    before = [array(weight) for weight in model.get_layer("backbone").non_trainable_weights]
    model.trainable = True
    model.compile("sgd", keras_tx.losses.SetPredictionLoss(), jit_compile=keras.backend.backend() != "torch")
    targets = keras_tx.losses.pack_targets(
        [[1], [0, 3]], [[[0, 0, 9, 9]], [[1, 1, 5, 7], [8, 2, 20, 12]]], 3, 4, (21, 30)
    )
    losses = model.fit({"images": IMAGES, "pixel_mask": MASK}, targets, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    after = [array(weight) for weight in model.get_layer("backbone").non_trainable_weights]
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


OUTPUTS = np.array(
    [[[[9.0] * 7, [9.0] * 7], [[1.0, 3.0, 0.0, 0.5, 0.25, 0.2, 0.5], [4.0, 0.0, 0.0, 0.5, 0.5, 1.0, 0.1]]]], "float32"
)


@pytest.mark.parametrize("size", [(20, 40), [[20, 40]]])
def test_detections_are_the_likeliest_classes_and_their_boxes_in_pixels(size):
    found = {name: array(value) for name, value in detections(OUTPUTS, 0.9, size).items()}
    shares = np.exp([[4.0, 0, 0], [1, 3, 0]]) / np.exp([[4.0, 0, 0], [1, 3, 0]]).sum(-1, keepdims=True)
    np.testing.assert_allclose(found["boxes"], [[[0, 9, 40, 11], [16, 0, 24, 10]]], atol=1e-5)
    np.testing.assert_allclose(found["scores"], [[shares[0, 0], shares[1, 1]]], atol=1e-6)
    np.testing.assert_array_equal(found["labels"], [[0, 1]])
    np.testing.assert_array_equal(found["valid"], [[True, False]])


@pytest.mark.parametrize("place", [0, -1])
def test_a_query_whose_numbers_are_not_finite_is_no_detection(place):
    outputs = OUTPUTS.copy()
    outputs[..., 0, place] = np.nan
    found = {name: array(value) for name, value in detections(outputs, 0.1).items()}
    other = {name: array(value) for name, value in detections(OUTPUTS[..., 1:, :], 0.1).items()}
    np.testing.assert_array_equal(found["valid"], [[True, False]])
    assert found["scores"][0, 1] == 0
    for name, value in other.items():
        np.testing.assert_allclose(found[name][:, :1], value, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (OUTPUTS[0],),
            r"`outputs` must have shape \(B, layers, queries, classes \+ 1 \+ 4\).* Received: .*\(2, 2, 7\)",
        ),
        ((OUTPUTS[..., :5],), r"`outputs` must have shape .* for at least one class"),
        ((OUTPUTS, 1.0), r"`threshold` must be a number in \[0, 1\). Received: threshold=1.0"),
        (
            (OUTPUTS, 0.5, (20, 0)),
            r"`image_sizes` must be .* two positive, finite numbers.* Received: image_sizes=\(20, 0\) for 1",
        ),
        ((OUTPUTS, 0.5, 20), "`image_sizes` must be .* Received: image_sizes=20 for 1 images"),
        ((OUTPUTS, 0.5, np.ones((3, 2))), "`image_sizes` must be "),
        ((OUTPUTS, 0.5, (20, np.nan)), "`image_sizes` must be "),
        ((OUTPUTS, 0.5, (np.inf, 20)), "`image_sizes` must be "),
        ((OUTPUTS, 0.5, np.array([[20, -1]])), "`image_sizes` must be "),
        ((OUTPUTS, 0.5, np.array([[20, np.nan]])), "`image_sizes` must be "),
    ],
)
def test_detections_refuse_what_they_cannot_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        detections(*arguments)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is written by TensorFlow")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_saved_model_goes_from_images_to_detections(tmp_path, jit_compile):
    import tensorflow as tf

    model = made(auxiliary_outputs=False, input_shape=(21, 30, 3))
    detector = keras.Model(model.input, detections(model.output, 0.1, (21, 30)))
    expected = {name: array(value) for name, value in detector(IMAGES).items()}
    keras_tx.export.export_saved_model(detector, str(tmp_path / "saved"), jit_compile=jit_compile)
    saved = tf.saved_model.load(str(tmp_path / "saved"))
    served = saved.serve(IMAGES)
    assert served.keys() == expected.keys()
    np.testing.assert_allclose(served["boxes"], expected["boxes"], atol=1e-3)
    np.testing.assert_array_equal(served["labels"], expected["labels"])


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be a positive integer"),
        ({"num_queries": 0}, "`num_queries` must be a positive integer"),
        ({"hidden_dim": 6}, "`hidden_dim` must be a multiple of 4.* Received: hidden_dim=6"),
        ({"activation_dropout": 1.0}, "`activation_dropout` must be a number in"),
        ({"backbone": "resnet"}, "`backbone` must be one of 'resnet18', .* Received: backbone='resnet'"),
        ({"backbone": 3}, "`backbone` must be a name, or a keras.Model from images.* Received: backbone=3"),
        ({"backbone": keras.Sequential()}, "`backbone` must be a name, or a keras.Model"),
        (
            {"backbone": keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])},
            "`backbone` must be .* shapes",
        ),
        (
            {"input_shape": (None, None, 1), "include_rescaling": False},
            r"`backbone` must take images .* shape \(None, None, 3\), and input_shape=\(None, None, 1\)",
        ),
        (
            {"backbone": convolutional_stem((4,), (8, 8, 3)), "input_shape": (8, 6, 3)},
            r"`backbone` must take images .* shape \(8, 8, 3\), and input_shape=\(8, 6, 3\)",
        ),
        ({"input_shape": (None, None, 1)}, "`input_shape` must have 3 channels where `include_rescaling` is True"),
        ({"pixel_mask": 1}, "`pixel_mask` must be True or False"),
        ({"auxiliary_outputs": None}, "`auxiliary_outputs` must be True or False"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with graph.without_values(), pytest.raises(ValueError, match=message):
        DETR(**{"backbone": convolutional_stem((4,)), **SMALL, **options})


@pytest.mark.once
def test_backbones_refuse_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="`hidden_sizes` must be multiples of 4 in a bottleneck"):
        resnet_backbone((1,), (6,))
    with pytest.raises(ValueError, match="`depths` and `hidden_sizes` must be of one length, that of the stages"):
        resnet_backbone((1, 1), (4,))
    with pytest.raises(ValueError, match="`filters` must be a tuple with an integer for each stage"):
        convolutional_stem(8)


@pytest.mark.once
def test_a_mask_of_another_shape_or_of_other_numbers_is_refused(model):
    with pytest.raises(ValueError, match=r"`pixel_mask` must have shape \(2, 21, 30\). Received: .*\(2, 20, 30\)"):
        found(model, mask=MASK[:, 1:])
    with pytest.raises(ValueError, match="`pixel_mask` must be boolean.* that holds 2.0"):
        found(model, mask=2 * MASK)
