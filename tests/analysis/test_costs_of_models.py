"""Costs of models with several inputs, of quantized ones and of packed rows: closed forms, or a refusal by name."""

import keras
import numpy as np
import pytest

from keras_tx import analysis, applications, decoding, layers
from keras_tx.analysis import count_costs

pytestmark = pytest.mark.once  # symbolic shapes alone


@pytest.mark.parametrize("masked", [False, True])
def test_detr_is_convolutions_positions_and_queries(masked):
    batch, width, hidden, classes, queries, encoders, decoders = 2, 16, 24, 5, 3, 2, 3
    stem = applications.convolutional_stem((4, 8))
    model = applications.DETR(classes, stem, queries, encoders, 2, width, hidden, decoders, pixel_mask=masked)
    images = (batch, 20, 28, 3)
    costs = count_costs(model, {"images": images, "pixel_mask": images[:3]} if masked else images)
    places = 5 * 7
    assert costs.sum.macs["convolution"] == batch * (
        10 * 14 * 4 * 3 * 9 + places * 8 * 4 * 9 + places * 8 * width  # 2 with a stride of 2, and one of 1 x 1
    )
    own = encoders * places * 4 * width**2 + decoders * queries * 4 * width**2
    cross = decoders * (2 * queries + 2 * places) * width**2
    assert costs.sum.macs["projections"] == batch * (own + cross)
    pairs = encoders * places**2 + decoders * (queries**2 + queries * places)
    assert costs.sum.macs["attention"] == batch * 2 * width * pairs
    assert costs.sum.macs["feed_forward"] == batch * 2 * width * hidden * (encoders * places + decoders * queries)
    assert costs.sum.macs["dense"] == batch * decoders * queries * (width * (classes + 1) + 2 * width**2 + 4 * width)
    assert costs.macs == sum(costs.sum.macs.values())
    assert costs.parameters["total"] == model.count_params()
    if masked:  # the mask is optional
        assert count_costs(model, {"images": images}).macs == costs.macs
    with pytest.raises(ValueError, match="must have one input .* to be counted in decoding. Received: detr"):
        count_costs(model, images, mode="decode")


VILBERT = {
    "num_layers": 3,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 20,
    "region_dim": 6,
    "num_region_layers": 2,
    "num_region_heads": 3,
    "region_hidden_dim": 12,
    "region_intermediate_dim": 14,
    "num_co_attention_heads": 2,
    "co_attention_dim": 10,
    "text_blocks_before": (1, 2),
    "region_blocks_before": (0, 1),
}


def test_vilbert_is_two_streams_and_two_attentions_between_them():
    batch, tokens, regions, masked, vocabulary, classes = 2, 7, 5, 3, 50, 4
    encoder = applications.ViLBERT(vocabulary, 16, **VILBERT)
    model = applications.vilbert_pretrainer(encoder, num_region_classes=classes)
    shapes = {"token_ids": (batch, tokens), "segment_ids": (batch, tokens), "region_features": (batch, regions, 6)}
    shapes |= {"boxes": (batch, regions, 4), "num_regions": (batch,)}
    costs = count_costs(model, {**shapes, "mask_positions": (batch, masked), "region_mask_positions": (batch, 1)})
    text, image, middle = 8, 12, 10
    own = 3 * tokens * 4 * text**2 + 2 * regions * 4 * image**2
    queries = 2 * (tokens * text + regions * image) * middle  # and what projects the heads back
    keys = 2 * (regions * image + tokens * text) * middle
    assert costs.sum.macs["projections"] == batch * (own + 2 * (queries + keys))
    pairs = 3 * tokens**2 * text + 2 * regions**2 * image + 2 * 2 * tokens * regions * middle
    assert costs.sum.macs["attention"] == batch * 2 * pairs
    # The block in which words attend to regions has the network of words, and the other that of regions.
    networks = (3 + 2) * tokens * text * 20 + (2 + 2) * regions * image * 14
    assert costs.sum.macs["feed_forward"] == batch * 2 * networks
    embedded, pooled = regions * image * (6 + 5), (text + image) * middle
    heads = masked * text * text + 1 * image * image + 1 * image * classes + 2 * middle
    assert costs.sum.macs["dense"] == batch * (embedded + pooled + heads)
    assert costs.sum.macs["logits"] == batch * masked * text * vocabulary
    assert costs.parameters["total"] == model.count_params()
    assert costs.tokens is None  # of words and regions there are several numbers
    with pytest.raises(ValueError, match="to be counted in decoding. Received: vilbert"):
        count_costs(encoder, shapes, mode="decode")


def gpt(**settings):
    return applications.GPT(30, 8, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=33, **settings)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized_models_have_the_products_and_numbers_of_plain_ones_in_fewer_bytes(mode):
    plain, small = gpt(), gpt()
    small.quantize(mode)
    for how in ("forward", "train", "decode"):
        whole, found = (count_costs(model, (2, 8), mode=how) for model in (plain, small))
        assert found.sum.macs == whole.sum.macs
        assert found.cache_bytes_per_token == whole.cache_bytes_per_token == 2 * 2 * 16 * 4
        assert found.conventions() == whole.conventions()
    for kind in ("total", "embedding"):
        assert found.parameters[kind] == whole.parameters[kind]
    assert [row.parameters for row in found.layers] == [row.parameters for row in whole.layers]
    stored = sum(keras.ops.convert_to_numpy(weight).nbytes for weight in small.weights)
    assert found.weight_bytes == stored
    if mode == "int8":  # a byte for each number of a matrix, and four for the scale of each of its outputs
        matrices = 2 * (4 * 16 * 16 + 2 * 16 * 33) + (30 + 8) * 16
        scales = 2 * (4 * 16 + 33 + 16) + 30 + 8
        assert stored == matrices + 4 * scales + 4 * (whole.parameters["total"] - matrices)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_products_by_an_equation_are_counted_however_their_kernel_is_stored(mode):
    inputs = keras.Input((3, 5))
    layer = keras.layers.EinsumDense("abc,cde->abde", (None, 2, 7))
    model = keras.Model(inputs, layer(inputs))
    macs = count_costs(model, (4, 3, 5)).macs
    layer.quantize(mode)
    costs = count_costs(model, (4, 3, 5))
    assert costs.macs == macs == 4 * 3 * 5 * 14
    assert costs.parameters["total"] == 5 * 14


@pytest.mark.parametrize("mode", ["forward", "train", "decode"])
@pytest.mark.parametrize("segments", [True, False])
def test_packed_rows_cost_what_rows_do(mode, segments):
    """A mask that says where documents end is data, and all pairs of its order are computed."""
    shapes = {"token_ids": (2, 8), "segment_ids": (2, 8) if segments else None}
    llama = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12, "window": 3}
    for packed, plain in (
        (gpt(packed=True), gpt()),
        (applications.Llama(30, packed=True, **llama), applications.Llama(30, **llama)),
    ):
        found, whole = count_costs(packed, shapes, mode=mode), count_costs(plain, (2, 8), mode=mode)
        assert (found.sum, found.tokens, found.parameters) == (whole.sum, whole.tokens, whole.parameters)
        assert found.conventions() == whole.conventions()
        assert found.macs > 0


def test_long_packed_rows_are_counted_in_blocks():
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8, "sequence_length": 4096}
    shapes = {"token_ids": (1, 4096), "segment_ids": (1, 4096)}
    found = count_costs(applications.GPT(9, packed=True, **sizes), shapes)
    assert found.sum.macs == count_costs(applications.GPT(9, **sizes), (1, 4096)).sum.macs
    assert found.sum.macs["attention"] < 0.6 * found.sum.all_pairs


def test_the_table_of_a_quantized_model_has_its_numbers():
    model = gpt()
    lines = count_costs(model, (2, 8)).table().splitlines()
    model.get_layer("decoder_0").feed_forward.intermediate.quantize("int4")
    assert analysis.count_costs(model, (2, 8)).table().splitlines() == lines
    assert np.sum(["TransformerDecoder" in line for line in lines]) == 2


@pytest.mark.parametrize("norm", [keras.layers.RMSNormalization, keras.layers.LayerNormalization])
def test_norms_of_keras_count_whatever_their_call_names_its_inputs(norm):
    inputs = keras.Input((7, 16))
    model = keras.Model(inputs, layers.TransformerEncoder(8, 2, norm=norm())(inputs))
    assert count_costs(model, (3, 7, 16)).sum.normalized == 2 * 3 * 7 * 16


@pytest.mark.once
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("cache_dtype", [None, "int8"])
def test_caches_take_the_bytes_that_were_counted(policy, cache_dtype):
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 8}
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, batch, length = applications.Translator(30, **sizes), 3, 8
    finally:
        keras.config.set_dtype_policy(kept)
    ids = np.ones((batch, 5), "int32")
    costs = count_costs(model, {"source_ids": ids, "target_ids": (batch, length)}, "decode", cache_dtype)
    caches = decoding.init_caches(model, batch, length, {"source_ids": ids}, cache_dtype=cache_dtype)
    arrays = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(caches) if each is not None]
    found = sum(each.nbytes for each in arrays if each.ndim == 3)  # keys and values, and no masks and lengths
    assert found == batch * length * costs.cache_bytes_per_token + costs.context_cache_bytes
    number = 4 if policy == "float32" else 2
    assert costs.cache_bytes_per_token == 2 * 2 * 2 * (8 * number if cache_dtype is None else 8 + number)


@pytest.mark.once
def test_a_dtype_of_caches_is_for_decoding():
    with pytest.raises(
        ValueError, match="`cache_dtype` is for `mode='decode'`. Received: mode='train', cache_dtype='int8'"
    ):
        count_costs(gpt(), (2, 8), "train", "int8")
    with pytest.raises(ValueError, match="`cache_dtype` must be 'int8', or None .* Received: cache_dtype='int4'"):
        count_costs(gpt(), (2, 8), "decode", "int4")
