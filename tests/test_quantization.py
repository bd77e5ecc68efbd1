"""GPTQ and AWQ: applications tell Keras of their blocks, calibration reads the data, and files hold what came of it."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.quantizers import AWQConfig, GPTQConfig

from keras_tx import graph, layers, quantization
from keras_tx.applications import BERT, GPT, Swin, TextClassifier, Translator, ViT, bert_classifier, bert_pretrainer
from keras_tx.layers.dense import Dense, EinsumDense

from .layers.contract_rows import reloaded, stir
from .layers.execution import array, arrays

VOCABULARY, LENGTH, WIDTH = 20, 6, 8
IDS = np.random.default_rng(0).integers(1, VOCABULARY, (8, LENGTH)).astype("int32")
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": WIDTH, "intermediate_dim": WIDTH}
CONFIGS = {
    "gptq": lambda **kwargs: GPTQConfig(hessian_damping=0.1, **kwargs),
    "awq": lambda **kwargs: AWQConfig(num_grid_points=3, **kwargs),
}
pytestmark = [
    pytest.mark.usefixtures("few_objects_to_collect"),
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:Invalid quantization mode:UserWarning"
    ),  # of embeddings, which have none of these
]
every_mode = pytest.mark.parametrize("mode", CONFIGS)


def config_of(mode, **kwargs):
    data = {"dataset": IDS, "tokenizer": lambda text: text, "sequence_length": LENGTH, "num_samples": 4}
    return CONFIGS[mode](**{**data, "group_size": 4, **kwargs})


def encoder():
    return BERT(VOCABULARY, LENGTH, **SIZES, dropout=0.0)


def segments(model, **others):
    return {"token_ids": IDS, "segment_ids": np.zeros_like(IDS), **others}


MODELS = {
    "gpt": (lambda: GPT(VOCABULARY, LENGTH, **SIZES), lambda: IDS),
    "rotary gpt": (lambda: GPT(VOCABULARY, LENGTH, **{**SIZES, "num_layers": 2}, positions="rotary"), lambda: IDS),
    "bert": (encoder, lambda: segments(IDS)),
    "bert_classifier": (lambda: bert_classifier(encoder(), 3), lambda: IDS),
    "bert_pretrainer": (lambda: bert_pretrainer(encoder()), lambda: segments(IDS, mask_positions=IDS[:, :2] % LENGTH)),
    "text_classifier": (lambda: TextClassifier(VOCABULARY, LENGTH, **SIZES), lambda: IDS),
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=[pytest.mark.once] * ((name, mode) != ("gpt", "awq")))
        # JAX takes a minute to compile the operations of GPTQ one by one.
        for name, mode in [(name, "gptq") for name in MODELS] + [("gpt", "awq"), ("bert_classifier", "awq")]
    ],
)
def test_an_application_is_calibrated_with_nothing_by_hand_and_reloads_with_equal_outputs(name, mode, tmp_path):
    make, inputs = MODELS[name]
    keras.utils.set_random_seed(0)
    model = make()
    stir(model)
    before = arrays(model(inputs()))
    model.quantize(mode, config=config_of(mode))
    outputs = arrays(model(inputs()))
    calibrated = {path for path, part in graph.parts(model) if getattr(part, f"is_{mode}_calibrated", False)}
    assert len(calibrated) == (12 if name == "rotary gpt" else 6)
    assert all("coder_" in path for path in calibrated)
    copy = reloaded(model, tmp_path)
    again = reloaded(copy, tmp_path)
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    for each in (copy, again):
        assert {path for path, part in graph.parts(each) if part.quantization_mode == mode} == calibrated
        for ours, theirs in zip(keras.tree.flatten(outputs), keras.tree.flatten(each(inputs())), strict=True):
            np.testing.assert_array_equal(array(theirs), ours)
    for ours, theirs in zip(keras.tree.flatten(outputs), keras.tree.flatten(before), strict=True):
        assert 0 < np.linalg.norm(ours - theirs) < 0.25 * np.linalg.norm(theirs)


@pytest.mark.once
def test_the_structure_is_the_models_own_and_the_model_stays_as_it_is():
    model = GPT(VOCABULARY, LENGTH, **{**SIZES, "num_layers": 2}, positions="sinusoidal")
    structure = model.get_quantization_layer_structure("gptq")
    assert structure["sequential_blocks"] == [model.get_layer("decoder_0"), model.get_layer("decoder_1")]
    (before,) = structure["pre_block_layers"]
    reader = keras.Model(model.input, model.get_layer("decoder_0").input)
    np.testing.assert_array_equal(array(before(IDS)), array(reader(IDS)))
    assert [len(graph.layer_calls(each)) for each in (model, keras.models.clone_model(model))] == [7, 7]


@pytest.mark.once
def test_layers_between_two_blocks_and_before_the_first_belong_to_the_structure():
    ids = keras.Input((LENGTH,))  # floats, as most write it
    x = layers.TokenAndPositionEmbedding(VOCABULARY, LENGTH, WIDTH, mask_zero=True)(ids)
    x = layers.TransformerEncoder(WIDTH, 2, name="first")(x)
    x = keras.layers.Dropout(0.1, name="between")(keras.layers.LayerNormalization(name="norm")(x))
    x = layers.TransformerEncoder(WIDTH, 2, name="second")(x)
    model = keras.Sequential([keras.Model(ids, x, name="inner"), keras.layers.Dense(3)])
    structure = quantization.layer_structure(model)
    assert [each.name for each in structure["sequential_blocks"]] == ["first", "norm", "between", "second"]
    assert structure["pre_block_layers"][0](IDS).shape == (8, LENGTH, WIDTH)


def translator():
    return Translator(VOCABULARY, 1, 2, WIDTH, WIDTH)


def connected(connect):
    ids = keras.Input((None,), dtype="int32", name="ids")
    other = keras.Input((None, WIDTH), name="other")
    x = layers.TokenAndPositionEmbedding(VOCABULARY, LENGTH, WIDTH)(ids)
    first, second = (layers.TransformerEncoder(WIDTH, 2, name=name) for name in ("first", "second"))
    return keras.Model([ids, other], connect(x, other, first, second), name="mine")


def with_context(x, other, first, second):
    return layers.TransformerDecoder(WIDTH, 2, name="decoder")(x, other)


REFUSED = {
    "decoder.*encoder": translator,
    r"\['images'\]": lambda: ViT(8, 1, 2, WIDTH, WIDTH, image_size=16, num_classes=3),
    r"swin.*\['images'\]": lambda: Swin(
        num_layers=(1,), num_heads=(2,), hidden_dim=8, window_size=2, num_classes=3, patch_size=4
    ),
    r"no TransformerEncoder": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="head")]),
    "decoder, which reads `context`": lambda: connected(with_context),
    r"first several times": lambda: connected(lambda x, other, first, second: first(first(x))),
    "second, which does not follow first": lambda: connected(lambda x, other, first, second: first(x) + second(x)),
    "second, which does not follow first by": lambda: connected(lambda x, o, first, second: second(first(x) + o)),
    r"reads \['ids', 'other'\]": lambda: connected(lambda x, other, first, second: first(x + other)),
}


@pytest.mark.once
@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_chain_of_blocks_is_refused_by_name(message):
    with pytest.raises(ValueError, match=f"(?s)must be one chain of blocks.*{message}"):
        quantization.layer_structure(REFUSED[message]())


@pytest.mark.once
def test_what_was_refused_stays_a_float_model(tmp_path):
    model = ViT(8, 1, 2, WIDTH, WIDTH, image_size=16, num_classes=3)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    stir(model)
    before = array(model(images))
    with pytest.raises(ValueError, match="vit"):
        model.quantize("gptq", config=config_of("gptq"))
    np.testing.assert_allclose(array(model(images)), before, rtol=1e-5, atol=1e-6)
    weights = tmp_path / "model.weights.h5"
    model.save_weights(weights)
    copy = reloaded(model, tmp_path)
    assert not [part for _, part in graph.parts(copy) if part.quantization_mode]
    np.testing.assert_allclose(array(copy(images)), before, rtol=1e-5, atol=1e-6)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.load_weights(weights)
    np.testing.assert_allclose(array(model(images)), before, rtol=1e-5, atol=1e-6)


def block_model():
    inputs = keras.Input((None, WIDTH))
    return keras.Model(inputs, layers.TransformerEncoder(WIDTH, 2, normalize_first=True, name="block")(inputs))


def error_of(mode, kernel, inputs, rows, **kwargs):
    """Returns how far the outputs of a layer calibrated with rows are from the float ones, over the norm of these."""
    layer = Dense(kernel.shape[1], use_bias=False)
    model = keras.Sequential([keras.Input((None, kernel.shape[0])), layer])
    layer.kernel.assign(kernel)
    structure = {"pre_block_layers": [lambda ids: ops.convert_to_tensor(rows)], "sequential_blocks": [layer]}
    model.quantize(mode, config=config_of(mode, quantization_layer_structure=structure, num_samples=1, **kwargs))
    return np.linalg.norm(array(model(inputs)) - inputs @ kernel) / np.linalg.norm(inputs @ kernel)


@pytest.mark.once
@pytest.mark.parametrize(("mode", "kwargs"), [("gptq", {"weight_bits": 8}), ("gptq", {}), ("awq", {})])
def test_calibration_reads_the_data(mode, kwargs):
    """Where one number of a row is far larger than the others the outputs come nearer than by rounding alone."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(1, 64, 16)).astype("float32") @ random.normal(size=(16, 16)).astype("float32")
    inputs[..., 3] *= 10
    kernel = random.normal(size=(16, 8)).astype("float32")
    found, blind = (error_of(mode, kernel, inputs, rows, group_size=16, **kwargs) for rows in (inputs, 0 * inputs))
    assert found < 0.9 * blind < 0.1


@pytest.mark.once
@pytest.mark.parametrize(("mode", "kwargs"), [("gptq", {"weight_bits": 8}), ("gptq", {}), ("awq", {})])
@pytest.mark.parametrize("low", [0.5, 5.0, -1.0, -60.0])
def test_weights_of_one_sign_in_a_group_keep_their_values(mode, kwargs, low):
    random = np.random.default_rng(0)
    inputs, kernel = random.normal(size=(1, 64, 8)).astype("float32"), random.normal(size=(8, 5)).astype("float32")
    kernel[:4, :3] = random.uniform(low, low + 0.5, (4, 3))
    assert error_of(mode, kernel, inputs, inputs, **kwargs) < (0.01 if kwargs else 0.1)


@pytest.mark.once
@every_mode
def test_a_file_without_zero_points_is_refused(mode):
    layer, config = Dense(4, name="dense"), config_of(mode)
    layer.build((None, 8))
    layer.quantize(mode, config=config)
    setattr(layer, f"is_{mode}_calibrated", True)
    del layer._kernel
    whole, of_keras = {}, {}
    layer.save_own_variables(whole)
    keras.layers.Dense.save_own_variables(layer, of_keras)
    assert len(whole) == len(of_keras) + 1
    layer.load_own_variables(whole)
    with pytest.raises(ValueError, match="zero points of dense"):
        layer.load_own_variables(of_keras)


@pytest.mark.once
@every_mode
def test_a_layer_that_awaits_its_calibration_takes_that_of_a_file(mode):
    kernel = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    layers_made = [Dense(4, name="dense") for _ in range(2)]
    for layer in layers_made:
        layer.build((None, 8))
        layer.kernel.assign(kernel)
    calibrated, awaiting = layers_made
    structure = {"pre_block_layers": [lambda ids: ops.one_hot(ids % 8, 8)], "sequential_blocks": [calibrated]}
    model = keras.Sequential([keras.Input((None, 8)), calibrated])
    model.quantize(mode, config=config_of(mode, quantization_layer_structure=structure))
    awaiting.quantize(mode, config=config_of(mode))
    stored = {}
    calibrated.save_own_variables(stored)
    awaiting.load_own_variables({key: array(value) for key, value in stored.items()})
    inputs = np.eye(8, dtype="float32")
    np.testing.assert_array_equal(array(awaiting(inputs)), array(calibrated(inputs)))


@pytest.mark.once
@every_mode
def test_float_weights_of_another_shape_are_refused_where_calibration_is_awaited(mode):
    layer = Dense(4, name="dense")
    layer.build((None, 8))
    layer.quantize(mode, config=config_of(mode))
    with pytest.raises(ValueError, match=r"float weights of dense.*\(8, 3\)"):
        layer.load_own_variables({"0": np.zeros((8, 3)), "1": np.zeros(3)})


@pytest.mark.once
@every_mode
def test_heads_wider_than_the_model_are_refused(mode):
    layer = EinsumDense("btd,dhk->bthk", output_shape=(None, 2, 16), name="query")
    layer.build((None, 5, 8))
    with pytest.raises(ValueError, match=r"query.*\(8, 2, 16\).*filters"):
        layer.quantize(mode, config=config_of(mode))


@pytest.mark.once
@every_mode
def test_adapters_and_calibrated_modes_exclude_each_other(mode):
    calibrated, adapted = (Dense(4, name="dense") for _ in range(2))
    for layer in (calibrated, adapted):
        layer.build((None, 8))
    calibrated.quantize(mode, config=config_of(mode))
    with pytest.raises(NotImplementedError, match=f"dense, in mode '{mode}'"):
        calibrated.enable_lora(2)
    adapted.enable_lora(2)
    with pytest.raises(ValueError, match="merged.*dense, with an adapter of rank 2"):
        adapted.quantize(mode, config=config_of(mode))


@pytest.mark.once
def test_layers_do_not_keep_the_data_alive():
    model, config = block_model(), config_of("awq")
    structure = {
        "pre_block_layers": [lambda ids: ops.one_hot(ids % WIDTH, WIDTH)],
        "sequential_blocks": model.layers[1:],
    }
    config.quantization_layer_structure = structure
    model.quantize("awq", config=config)
    found = [part.quantization_config for _, part in graph.parts(model) if part.quantization_mode]
    assert len(found) == 6
    assert not any(each.dataset is not None or each.quantization_layer_structure for each in found)
    assert config.dataset is IDS
