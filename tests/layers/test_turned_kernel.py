"""Kernels in eight bits that lie outputs by inputs give what those of Keras' own layers give, and files hold them as Keras'."""

import threading

import keras
import numpy as np
import pytest
from keras.quantizers import Int8QuantizationConfig

from keras_tx.layers.dense import Dense, EinsumDense

from .execution import COMPILES, array, compiled, input_gradient, quick, tensor, weighted_sum

INTO, OUT = "btd,dhk->bthk", "bthk,hkd->btd"
CONFIGS = {"rounded": Int8QuantizationConfig(), "weights": Int8QuantizationConfig(activation_quantizer=None)}
CLASSES = {True: (Dense, EinsumDense), False: (keras.layers.Dense, keras.layers.EinsumDense)}


def new(kind, own, **kwargs):
    dense, einsum_dense = CLASSES[own]
    if kind == "dense":
        return dense(6, "relu", name="layer", **kwargs), (8,)
    if kind == "into heads":
        return einsum_dense(INTO, (None, 3, 4), bias_axes="hk", name="layer", **kwargs), (8,)
    return einsum_dense(OUT, (None, 6), bias_axes="d", name="layer", **kwargs), (2, 4)


KINDS = ("dense", "into heads", "out of heads")
every_kind, every_config = pytest.mark.parametrize("kind", KINDS), pytest.mark.parametrize("config", CONFIGS)
pytestmark = [
    pytest.mark.usefixtures("few_objects_to_collect"),
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning"),
    pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning"),
]


def made(kind, config, own=True, dtype="float32"):
    """A quantized layer in a model, whose weights are those of every other call, and rows for it."""
    layer, shape = new(kind, own, dtype=dtype)
    random = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((None, *shape)), layer])
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape))
    model.quantize("int8", config=CONFIGS[config])
    return model, layer, lambda *leading: tensor(random.normal(size=(*leading, *shape)).astype("float32"))


def pair(kind, config, **kwargs):
    (ours, own, rows), (theirs, other, _) = (made(kind, config, each, **kwargs) for each in (True, False))
    return ours, own, theirs, other, rows


@every_kind
@every_config
@pytest.mark.parametrize("leading", [(1, 1), (3, 5), (0, 2)])
def test_outputs_and_gradients_are_those_of_keras(kind, config, leading):
    ours, layer, theirs, other, rows = pair(kind, config)
    if config == "rounded" and not np.prod(leading):
        pytest.skip("Keras rounds no empty inputs")
    count = 2 if kind == "out of heads" else 1
    assert layer._kernel.shape == other._kernel.shape[count:] + other._kernel.shape[:count]
    np.testing.assert_array_equal(array(layer.kernel), array(other.kernel))
    inputs = rows(*leading)
    for run in (quick, compiled) if COMPILES else (quick,):
        found, expected = array(run(ours)(inputs)), array(quick(theirs)(inputs))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    if np.prod(leading):
        slopes = [
            input_gradient(quick(lambda x, model=model: weighted_sum(model(x))), inputs) for model in (ours, theirs)
        ]
        np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-5)


@every_config
@pytest.mark.parametrize("leading", [(1, 1), (2, 3)])
def test_half_floats_are_as_near_as_those_of_keras(config, leading):
    ours, _, theirs, _, rows = pair("into heads", config, dtype="mixed_bfloat16")  # Keras refuses float16
    inputs = rows(*leading)
    found, expected = ours(inputs), theirs(inputs)
    assert keras.backend.standardize_dtype(found.dtype) == keras.backend.standardize_dtype(expected.dtype)
    np.testing.assert_allclose(array(found), array(expected), rtol=0.03, atol=0.06)


@every_config
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_in_a_row_stays_in_that_row(config, value):
    ours, _, theirs, _, rows = pair("into heads", config)
    for leading in ((1, 1), (1, 3)):
        inputs = array(rows(*leading)).copy()
        inputs[0, 0, 2] = value
        all_of_it = inputs.copy()
        all_of_it[0, 0] = value
        for each in (inputs, all_of_it):
            found, expected = (array(compiled(model)(tensor(each))) for model in (ours, theirs))
            np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
            np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=1e-6, atol=1e-6)


@every_kind
@every_config
def test_files_go_from_keras_to_ours_and_back(kind, config, tmp_path):
    ours, _, theirs, _, rows = pair(kind, config)
    inputs = rows(2, 3)
    expected = array(theirs(inputs))
    paths = [tmp_path / f"{name}.weights.h5" for name in ("theirs", "ours")]
    theirs.save_weights(paths[0])
    for weight in ours.weights:
        weight.assign(np.zeros(weight.shape))
    ours.load_weights(paths[0])
    np.testing.assert_allclose(array(ours(inputs)), expected, rtol=1e-6, atol=1e-6)
    ours.save_weights(paths[1])
    for weight in theirs.weights:
        weight.assign(np.zeros(weight.shape))
    theirs.load_weights(paths[1])
    np.testing.assert_array_equal(array(theirs(inputs)), expected)
    ours.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    np.testing.assert_array_equal(array(again(inputs)), array(ours(inputs)))


@pytest.mark.once
def test_a_file_of_another_shape_is_refused_by_keras():
    stores = [{}, {}]
    for store, (_, layer, _) in zip(stores, (made("dense", "rounded"), made("into heads", "rounded")), strict=True):
        layer.save_own_variables(store)
    _, layer, _ = made("dense", "rounded")
    with pytest.raises(ValueError, match="shape"):
        layer.load_own_variables({**stores[0], "0": stores[1]["0"]})
    with pytest.raises(ValueError, match="already quantized|one of"):
        layer.quantize("int8")


@every_kind
@every_config
def test_adapters_count_and_are_merged_as_those_of_keras(kind, config):
    ours, layer, theirs, other, rows = pair(kind, config)
    random, stores = np.random.default_rng(1), [{}, {}]
    layer.enable_lora(2)
    other.enable_lora(2)
    for name in ("lora_kernel_a", "lora_kernel_b"):
        values = random.normal(size=getattr(other, name).shape)
        for each in (layer, other):
            getattr(each, name).assign(values)
    for leading in ((1, 1), (2, 3)):
        inputs = rows(*leading)
        np.testing.assert_allclose(array(ours(inputs)), array(theirs(inputs)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(array(layer.kernel), array(other.kernel), rtol=1e-6)
    assert not layer._kernel.trainable
    for store, each in zip(stores, (layer, other), strict=True):
        each.save_own_variables(store)
    assert stores[0].keys() == stores[1].keys()
    for key in stores[0]:
        np.testing.assert_array_equal(array(stores[0][key]), array(stores[1][key]))


@pytest.mark.once
def test_a_layer_made_with_adapters_in_eight_bits_has_them():
    layer = Dense(6, dtype="int8_from_float32", lora_rank=2)
    layer.build((None, 8))
    assert layer.lora_enabled
    assert layer._kernel.shape == (6, 8)
    assert layer.lora_kernel_a.shape == (8, 2)
    assert layer.get_config()["lora_rank"] == 2


@pytest.mark.parametrize("leading", [(1, 1), (2, 3)])
def test_sums_of_many_rounded_numbers_are_those_of_integers(leading):
    """Up to 2**24 the sums are exact; those beyond are as near as floats are."""
    width = 4096
    for largest, tolerance in ((False, 0), (True, 1e-6)):
        ours, theirs = (kind(3, use_bias=False) for kind in (Dense, keras.layers.Dense))
        values = np.random.default_rng(0).normal(size=(width, 3)).astype("float32")
        inputs = np.ones((*leading, width), "float32") if largest else linear_numbers(leading, width)
        for layer in (ours, theirs):
            layer.build((None, width))
            layer.kernel.assign(np.abs(values) * 0 + 1 if largest else values)
            keras.Sequential([keras.Input((None, width)), layer]).quantize("int8")
        found, expected = (array(compiled(layer)(tensor(inputs))) for layer in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=tolerance + 3e-7)


def linear_numbers(leading, width):
    return np.random.default_rng(1).normal(size=(*leading, width)).astype("float32")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="it has no doubles unless it is told to")
def test_a_row_of_doubles_is_as_exact_as_with_keras():
    ours, _, theirs, _, _ = pair("dense", "weights", dtype="float64")
    row = np.random.default_rng(1).normal(size=(1, 1, 8))
    np.testing.assert_allclose(array(ours(row)), array(theirs(row)), rtol=1e-12, atol=1e-14)


def test_threads_that_ask_for_the_kernel_and_save_change_no_prediction():
    model, layer, rows = made("into heads", "weights")
    layer.enable_lora(2)
    x, stored = rows(1, 1), layer._kernel
    expected, failed, ended = array(model(x)), [], threading.Event()

    def read():
        try:
            while not ended.is_set():
                array(layer.kernel)
                layer.save_own_variables({})
        except Exception as error:  # shown by the test, which a thread's error does not end
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    found = [array(model(x)) for _ in range(30)]
    ended.set()
    for thread in threads:
        thread.join()
    assert failed == []
    for each in found:
        np.testing.assert_allclose(each, expected, rtol=1e-6, atol=1e-6)
    assert layer._kernel is stored
