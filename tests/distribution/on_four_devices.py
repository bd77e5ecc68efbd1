"""Runs on JAX with four devices, in a process of its own that `test_distribution.py` starts: one device and four are equal."""

import re

import jax
import keras
import numpy as np
import pytest

import keras_tx
from keras_tx import decoding, distribution, graph
from keras_tx.applications import (
    BERT,
    DETR,
    GPT,
    Swin,
    TextClassifier,
    Translator,
    ViLBERT,
    ViT,
    convolutional_stem,
    load_huggingface,
    save_huggingface,
)
from keras_tx.layers import FeedForward, MultiHeadSelfAttention, TransformerDecoder

from .detectors import assert_alike, trained_detector
from .meshes import mesh, parallel

SIZE = {"num_layers": 1, "num_heads": 4, "hidden_dim": 16, "intermediate_dim": 32}
IDS = np.random.default_rng(0).integers(1, 12, (8, 6)).astype("int32")
IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype("float32")
STREAMS = {"region_dim": 6, "num_region_layers": 1, "num_region_heads": 4, "region_hidden_dim": 16}
STREAMS |= {"region_intermediate_dim": 16, "num_co_attention_heads": 4, "co_attention_dim": 16}
STREAMS |= {"text_blocks_before": (0,), "region_blocks_before": (1,)}
REGIONS = {"token_ids": IDS, "segment_ids": IDS % 2, "region_features": np.ones((8, 3, 6), "float32")}
REGIONS |= {"boxes": np.full((8, 3, 4), 0.5, "float32"), "num_regions": IDS[:, 0] % 4}
APPLICATIONS = {
    "text_classifier": (lambda: TextClassifier(12, 8, **SIZE), IDS),
    "gpt": (lambda: GPT(12, 8, **SIZE), IDS),
    "bert": (lambda: BERT(12, 8, **SIZE), {"token_ids": IDS, "segment_ids": IDS % 2}),
    "translator": (lambda: Translator(12, **SIZE), {"source_ids": IDS, "target_ids": IDS[:, :4]}),
    "vit": (lambda: ViT(4, **SIZE, image_size=8, num_classes=3), IMAGES),
    "swin": (
        lambda: Swin(num_layers=(1, 1), num_heads=(4, 4), hidden_dim=16, window_size=2, patch_size=2, num_classes=3),
        IMAGES,
    ),
    "detr": (lambda: DETR(3, convolutional_stem((4, 8)), 5, **SIZE, include_rescaling=False), IMAGES / 255),
    "vilbert": (lambda: ViLBERT(12, 8, **SIZE, **STREAMS), REGIONS),
}
# The axis of a weight that is split, by the end of its path.
SPLIT = {
    r"(query|key|value)/kernel": 1,
    r"(query|key|value)/bias": 0,
    r"attention_output/kernel": 0,
    r"position_bias/bias_table": 1,
    r"feed_forward/intermediate/(kernel|bias)": -1,
    r"feed_forward/output_dense/kernel": 0,
}
every_application = pytest.mark.parametrize("name", APPLICATIONS)


def built(build):
    """A model whose weights are those of every other one that is built so, biases and norms included."""
    keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.2))
    return model


def trained(model):
    """The losses of two epochs, the weights after them, and what the model then predicts."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    losses = model.fit(IDS, np.roll(IDS, -1, 1), batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    return losses, weights, model.predict(IDS, batch_size=4, verbose=0)


def devices_bytes(variable):
    return [shard.data.nbytes for shard in variable.value.addressable_shards]


@pytest.fixture(scope="module")
def alone():
    return trained(built(APPLICATIONS["gpt"][0]))


def test_there_are_four_devices():
    assert len(jax.devices()) == 4


@every_application
def test_attention_and_feed_forward_weights_of_every_application_are_split(name):
    build, inputs = APPLICATIONS[name]
    wanted = built(build).predict(inputs, verbose=0)
    shared = parallel(1, 4)
    with shared.scope():
        model = built(build)
        outputs = model.predict(inputs, verbose=0)
    found = dict.fromkeys(SPLIT, 0)
    for weight in model.weights:
        whole = int(np.prod(weight.shape)) * 4
        pattern = next((each for each in SPLIT if re.search(f"(^|/){each}$", weight.path)), None)
        if pattern is None:
            assert devices_bytes(weight) == [whole] * 4, weight.path
            continue
        found[pattern] += 1
        part = list(weight.shape)
        part[SPLIT[pattern]] //= 4
        assert [shard.data.shape for shard in weight.value.addressable_shards] == [tuple(part)] * 4, weight.path
        assert sum(devices_bytes(weight)) == whole, weight.path
    assert all(found[pattern] for pattern in SPLIT if pattern != "position_bias/bias_table" or name == "swin"), found
    keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), outputs, wanted)


def test_each_rule_is_for_weights_and_no_weight_has_two():
    layouts = distribution.layout_map(mesh(1, 4), shard_vocabulary=True)
    used = set()
    with graph.without_values():
        models = [build() for build, _ in APPLICATIONS.values()]
        inputs = keras.Input((4, 16))
        models.append(keras.Model(inputs, FeedForward(32, gated=True)(inputs)))
    for weight in (weight for model in models for weight in model.weights):
        layout = layouts[weight.path]  # of two rules Keras makes an error
        assert layout is None or len(layout.axes) == len(weight.shape), weight.path
        used |= {rule for rule in layouts if re.fullmatch(rule, weight.path)}
    assert used == set(layouts)


def same(result, alone):
    np.testing.assert_allclose(result[0], alone[0], rtol=1e-5)
    for ours, theirs in zip(result[1], alone[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    np.testing.assert_allclose(result[2], alone[2], atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 4), (2, 2)])
def test_training_on_a_mesh_equals_one_device(shape, alone):
    with parallel(*shape, shard_vocabulary=True).scope():
        model = built(APPLICATIONS["gpt"][0])
        result = trained(model)
    same(result, alone)
    query = next(weight for weight in model.weights if weight.path.endswith("query/kernel"))
    table = next(weight for weight in model.weights if weight.path.endswith("token_embedding/embeddings"))
    momentum = next(each for each in model.optimizer.variables if each.path.endswith("query_kernel_momentum"))
    for variable in (query, table, momentum):
        assert max(devices_bytes(variable)) == int(np.prod(variable.shape)) * 4 // shape[1], variable.path


def test_data_parallel_equals_one_device(alone):
    with keras.distribution.DataParallel().scope():
        model = built(APPLICATIONS["gpt"][0])
        same(trained(model), alone)
    assert all(weight.value.sharding.is_fully_replicated for weight in model.weights)


def test_a_set_loss_divides_by_the_objects_of_all_devices():
    assert_alike(trained_detector(keras.distribution.DataParallel().scope()), trained_detector())


def test_a_mesh_of_one_device_is_one_device(alone):
    with parallel(1, 1).scope():
        same(trained(built(APPLICATIONS["gpt"][0])), alone)


@pytest.mark.parametrize("sampler", [decoding.Greedy(), decoding.Beam(2)])
def test_a_split_model_generates_the_same_ids(sampler):
    prompts = [[1, 2, 3], [4]]
    wanted = decoding.generate(built(APPLICATIONS["gpt"][0]), prompts, 4, sampler)
    with parallel(1, 4).scope():
        model = built(APPLICATIONS["gpt"][0])
        assert decoding.generate(model, prompts, 4, sampler).tolist() == wanted.tolist()
    assert decoding.generate(model, prompts, 4, sampler).tolist() == wanted.tolist()  # nor need the scope be there


def grouped():
    ids = keras.Input((None,), dtype="int32")
    x = keras_tx.layers.TokenAndPositionEmbedding(12, 8, 16)(ids)
    attention = MultiHeadSelfAttention(4, num_key_value_heads=2, causal=True, name="attention")
    x = TransformerDecoder(32, 4, attention=attention, name="decoder")(x)
    return keras.Model(ids, keras.layers.Dense(12)(x))


def test_grouped_key_heads_that_the_axis_does_not_divide_are_replicated():
    wanted = built(grouped).predict(IDS, verbose=0)
    with parallel(1, 4).scope():
        model = built(grouped)
        np.testing.assert_allclose(model.predict(IDS, verbose=0), wanted, atol=2e-5)
    weights = {weight.path: weight.value.sharding.is_fully_replicated for weight in model.weights}
    assert not weights["decoder/attention/query/kernel"]
    assert all(
        weights[f"decoder/attention/{name}"] for name in ("key/kernel", "value/kernel", "key/bias", "value/bias")
    )


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
@pytest.mark.parametrize("mode", ["int4", "int8"])
def test_quantized_weights_are_split_unless_their_axes_are_packed(mode):
    model = built(APPLICATIONS["gpt"][0])
    model.quantize(mode)
    wanted = model.predict(IDS, verbose=0)
    with parallel(2, 2).scope():
        model = built(APPLICATIONS["gpt"][0])
        model.quantize(mode)
        np.testing.assert_allclose(model.predict(IDS, verbose=0), wanted, atol=2e-5)
    split = [weight.path for weight in model.weights if not weight.value.sharding.is_fully_replicated]
    assert len([path for path in split if path.endswith("attention_output/kernel")]) == (mode == "int8")
    assert len([path for path in split if path.endswith("kernel")]) == (2 if mode == "int4" else 6)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_folder_is_loaded_with_each_device_given_its_part(dtype, tmp_path, monkeypatch):
    save_huggingface(built(lambda: GPT(64, 32, **{**SIZE, "hidden_dim": 64, "intermediate_dim": 256})), tmp_path)
    wanted = load_huggingface(tmp_path, dtype).predict(IDS, verbose=0)
    whole = []
    asarray = jax.numpy.asarray

    def watched(value, *args, **kwargs):
        if isinstance(value, np.ndarray) and value.size >= 64 * 64:
            whole.append(value.shape)
        return asarray(value, *args, **kwargs)

    monkeypatch.setattr(jax.numpy, "asarray", watched)
    with parallel(1, 4, shard_vocabulary=True).scope():
        model = load_huggingface(tmp_path, dtype)
        assert whole == []  # no array went to one device as a whole
        np.testing.assert_allclose(model.predict(IDS, verbose=0), wanted, atol=2e-2 if dtype else 2e-5)
    kernel = next(weight for weight in model.weights if weight.path.endswith("intermediate/kernel"))
    assert devices_bytes(kernel) == [64 * 256 * (2 if dtype else 4) // 4] * 4


def test_weights_that_are_there_are_given_their_parts_too(tmp_path, monkeypatch):
    rules = [keras_tx.checkpoints.Rule("query.weight", "query/kernel")]
    with parallel(1, 4).scope():
        kernel = keras.Variable(np.ones((8, 4, 4)), dtype="float32", name="kernel")
        variable = keras.layers.EinsumDense("btd,dhk->bthk", (None, 4, 4), name="query")
        variable.build((None, None, 8))
        keras_tx.checkpoints.save_weights({"query/kernel": kernel}, tmp_path, rules)
        keras_tx.checkpoints.load_weights({"query/kernel": variable.kernel}, tmp_path, rules)
    assert devices_bytes(variable.kernel) == [8 * 4 * 4] * 4
    assert float(keras.ops.sum(variable.kernel)) == 8 * 4 * 4
