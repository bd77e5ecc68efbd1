"""Constructor arguments out of range: each is refused by the constructor, with its name and with what came."""

import re

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.applications.images import image_input
from keras_tx.layers import (
    Dropout,
    DropPath,
    FeedForward,
    GridPositionEncoding,
    LearnedPositionEncoding,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    PatchEmbedding,
    RotaryEmbedding,
    SegmentEmbedding,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
    WindowAttention,
    WindowPositionBias,
)

# Arguments with which each layer can be made.
BARE = (
    "ClassToken CopyLogits FourierMixing FrozenBatchNormalization LayerScale MapToSequence MaskedMeanPooling "
    "PatchMerging PixelMask RMSNormalization RotaryEmbedding SinusoidalGridPositions SinusoidalPositionEncoding SpanBoundary"
)
GOOD = {
    **{getattr(layers, name): {} for name in BARE.split()},
    **dict.fromkeys((layers.AlibiBias, layers.RelativePositionBias), {"num_heads": 4}),
    layers.ConvolutionalStem: {"filters": (4,)},
    DropPath: {"rate": 0.1},
    Dropout: {"rate": 0.1},
    FeedForward: {"intermediate_dim": 8},
    layers.TokenMixing: {"intermediate_dim": 8},
    GridPositionEncoding: {"grid_size": 3},
    layers.LearnedQueries: {"num_queries": 3},
    LearnedPositionEncoding: {"sequence_length": 8},
    MultiHeadCrossAttention: {"num_heads": 4},
    MultiHeadSelfAttention: {"num_heads": 4},
    PatchEmbedding: {"patch_size": 2, "hidden_dim": 4},
    layers.RegionEmbedding: {"hidden_dim": 4},
    SegmentEmbedding: {"num_segments": 2, "embedding_dim": 4},
    TokenAndPositionEmbedding: {"vocabulary_size": 9, "sequence_length": 8, "embedding_dim": 4},
    TransformerDecoder: {"intermediate_dim": 8, "num_heads": 4},
    TransformerEncoder: {"intermediate_dim": 8, "num_heads": 4},
    WindowAttention: {"num_heads": 4, "window_size": 3},
    WindowPositionBias: {"num_heads": 4, "window_size": 3},
}
# What each argument of each layer is.
KINDS = {
    "size": "window num_heads key_dim num_key_value_heads intermediate_dim vocabulary_size sequence_length embedding_dim "
    "num_segments max_span_length hidden_dim output_dim num_tokens rotary_dim num_buckets max_distance num_queries",
    "extent": "patch_size window_size grid_size",
    "count": "offset shift_size skip",
    "rate": "rate dropout drop_path attention_dropout",
    "number": "max_wavelength layer_norm_epsilon epsilon scale",
    "flag": "causal use_bias use_output_bias gated normalize_first normalize_branch parallel recompute mask_zero interleaved "
    "use_positions mask_padding zero_centered bidirectional resample",
    "activation": "activation",
    "initializer": "kernel_initializer embeddings_initializer bias_initializer initializer query_initializer",
    "finite": "initial_value layer_scale",
    "slot": "attention cross_attention feed_forward rotary position_bias query_norm key_norm norm stem",
}
BAD = {
    "size": ("a positive integer", [0, -1, 2.0, 2.5, "4", True, np.float32(4), [4], float("nan")]),
    "extent": ("a positive integer, or a pair", [0, -1, 2.0, "4", True, None, [4], (2, 0), (1, 2, 3), np.float32(4)]),
    "count": ("an integer of at least 0", [-1, 2.0, "4", True, None]),
    "rate": ("a number in [0, 1)", [1, 1.0, 1.5, -0.1, float("nan"), float("inf"), "0.1", None, True, [0.1]]),
    "number": ("a positive number", [0, 0.0, -1.0, float("nan"), float("inf"), "1", None, True]),
    "finite": ("a finite number", [float("nan"), float("inf"), "1", None, True]),
    "flag": ("True or False", [0, 1, None, "True", 1.0]),
    "activation": ("the name of one in keras.activations", ["no_such_activation", 3, ["relu"]]),
    "initializer": ("the name of one in keras.initializers", ["no_such_initializer", 3, ["zeros"], None]),
    "slot": ("a keras.Layer or None", ["attention", 4, keras.layers.Dense, lambda x: x]),
}
OPTIONAL = {
    "window",
    "rotary_dim",
    "scale",
    "use_output_bias",
    "output_dim",
    "key_dim",
    "num_key_value_heads",
    "sequence_length",
    "attention_dropout",
    "layer_scale",
    "query_initializer",
}


def arguments_of(layer):
    return [name for name in layer(**GOOD[layer]).get_config() if name not in ("name", "dtype", "trainable")]


def kind_of(name):
    return next((kind for kind, names in KINDS.items() if name in names.split()), None)


CASES = [(layer, name) for layer in GOOD for name in arguments_of(layer) if kind_of(name)]


@pytest.mark.once
@pytest.mark.parametrize(("layer", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_an_argument_out_of_range_is_refused_by_name(layer, name):
    rule, values = BAD[kind_of(name)]
    rule = "True, False or None" if name in OPTIONAL and rule == "True or False" else rule
    if kind_of(name) == "size":
        values = [*values, None]
    if name in OPTIONAL:
        values = [value for value in values if value is not None]
    for value in values:
        with pytest.raises(ValueError, match=rf"`{name}` must be.* {re.escape(rule)}.* Received: {name}=") as raised:
            layer(**(GOOD[layer] | {name: value}))
        assert str(raised.value).endswith(f"Received: {name}={value!r}.")


@pytest.mark.once
def test_every_argument_of_every_layer_has_a_kind_or_a_test_of_its_own():
    own = {
        "axis",
        "scaling",
        "seed",
        "noise_shape",
        "embedding",
        "padding",
        "min_grid_size",
        "filters",
        "strides",
        "padding_id",
    }
    covered = {layer.__name__ for layer in GOOD} | {"TiedLogits", "GatherPositions"}
    assert covered == set(layers.__all__)
    assert {name for layer in GOOD for name in arguments_of(layer) if not kind_of(name)} <= own


@pytest.mark.parametrize("value", [np.int64(8), np.int32(8)])
def test_sizes_may_be_numpy_integers_and_are_kept_as_python_ones(value):
    assert type(FeedForward(value).intermediate_dim) is int


@pytest.mark.parametrize("value", [np.float32(0.25), np.float64(0.25)])
def test_rates_may_be_numpy_floats_and_are_kept_as_python_ones(value):
    assert type(Dropout(value).rate) is float
    assert Dropout(value).rate == 0.25


@pytest.mark.parametrize("noise_shape", [3, "3", (0,), (-1, 2), (1.5,), ("a",), (True,)])
def test_a_noise_shape_that_is_no_row_of_sizes_is_refused(noise_shape):
    with pytest.raises(ValueError, match=r"`noise_shape` must be .* Received: noise_shape="):
        Dropout(0.5, noise_shape)


@pytest.mark.parametrize("layer", [MultiHeadSelfAttention, MultiHeadCrossAttention])
def test_key_heads_that_do_not_divide_the_heads_are_refused(layer):
    with pytest.raises(ValueError, match=r"`num_key_value_heads` must divide.* num_key_value_heads=3, num_heads=4"):
        layer(4, num_key_value_heads=3)


@pytest.mark.once
def test_a_part_of_a_head_that_cannot_be_rotated_is_refused():
    with pytest.raises(ValueError, match="`rotary_dim` must be even. Received: rotary_dim=3"):
        RotaryEmbedding(rotary_dim=3)
    with pytest.raises(ValueError, match=r"the last of at least rotary_dim=6. Received: inputs of shape \(1, 2, 4\)"):
        RotaryEmbedding(rotary_dim=6)(np.zeros((1, 2, 4), "float32"))
    factors = {"short_factor": [1.0], "long_factor": [1.0], "factor": 2, "original_max_position_embeddings": 8}
    with pytest.raises(
        ValueError, match="a factor for each of 2 pairs. Received: 1 of them in `short_factor` for a size of 4"
    ):
        RotaryEmbedding(scaling={"type": "longrope", **factors})(np.zeros((1, 2, 4), "float32"))
    factors |= {"short_factor": [1.0, 1.0], "long_factor": [1.0] * 3}
    with pytest.raises(ValueError, match="Received: 3 of them in `long_factor`"):
        RotaryEmbedding(scaling={"type": "longrope", **factors})(np.zeros((1, 2, 4), "float32"))
    yarn = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8}
    with pytest.raises(ValueError, match="`max_wavelength` must be above 1 beside a scaling of type 'yarn'"):
        RotaryEmbedding(1.0, scaling=yarn)(np.zeros((1, 2, 4), "float32"))


@pytest.mark.parametrize(
    "embedding",
    [
        None,
        "embedding",
        7,
        keras.layers.Embedding(5, 4),
        keras.layers.Dense(4),
        keras.layers.ReversibleEmbedding(5, 4, tie_weights=False),
        TokenAndPositionEmbedding,
    ],
    ids=repr,
)
def test_tied_logits_refuse_what_has_no_table_to_tie(embedding):
    with pytest.raises(ValueError, match="`embedding` must be a TokenAndPositionEmbedding.* Received: embedding="):
        TiedLogits(embedding)


def test_tied_logits_refuse_a_flag_that_is_none():
    with pytest.raises(ValueError, match="`use_bias` must be True or False. Received: use_bias=1"):
        TiedLogits(TokenAndPositionEmbedding(9, 8, 4), use_bias=1)


@pytest.mark.once
@pytest.mark.parametrize("layer", list(GOOD), ids=lambda layer: layer.__name__)
def test_an_argument_that_the_layer_does_not_have_is_refused(layer):
    with pytest.raises((TypeError, ValueError), match="no_such_argument"):
        layer(**GOOD.get(layer, {}), no_such_argument=1)


@pytest.mark.once
def test_integers_of_numpy_are_integers_and_are_kept_as_those_of_python():
    found = [
        layers.MaskedMeanPooling(skip=np.int64(1)).skip,
        layers.WindowAttention(2, np.int32(3), shift_size=(np.int64(1), 0)).shift_size[0],
        layers.Dropout(0.1, seed=np.uint8(5)).seed,
        image_input((np.int64(8), None, np.int32(3))).shape[1],
    ]
    assert found == [1, 1, 5, 8]
    assert {type(number) for number in found} == {int}
    for truth in (True, np.bool_(True)):
        with pytest.raises(ValueError, match="`skip` must be an integer of at least 0. Received: skip="):
            layers.MaskedMeanPooling(skip=truth)
        with pytest.raises(ValueError, match=r"`input_shape` must be \(rows, columns, channels\)"):
            image_input((truth, 8, 3))


def test_a_layer_in_a_slot_whose_class_keras_does_not_find_is_named():
    class Unregistered(keras.layers.Dense):
        pass

    inputs = keras.Input((3, 8))
    model = keras.Model(inputs, TransformerEncoder(None, 2, feed_forward=Unregistered(8))(inputs))
    said = (
        r"(?s)`feed_forward` must hold a layer that .*register_keras_serializable.* Received: .* class 'Unregistered'"
    )
    with pytest.raises((TypeError, ValueError), match=said):
        keras.models.clone_model(model)
    with keras.saving.custom_object_scope({"Unregistered": Unregistered}):
        assert keras.models.clone_model(model).count_params() == model.count_params()
