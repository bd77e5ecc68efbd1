"""What cannot be decoded is refused by name; arguments out of range are named."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.decoding import Beam, Sample, Session, generate, stream


def model_of(*between, vocabulary_size=9):
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(vocabulary_size, 16, 8)(ids)
    for layer in between:
        x = layer(x)
    x = layers.TransformerDecoder(16, 2)(x)
    return keras.Model(ids, keras.layers.Dense(vocabulary_size)(x))


def nested(layer):
    inputs = keras.Input((None, 8))
    return keras.Model(inputs, layer(inputs), name="nested")


class Attention(keras.layers.Layer):
    """Attention of another library, as far as decoding can tell."""

    def build(self, input_shape):
        self.attention = keras.layers.MultiHeadAttention(2, 4)
        self.attention.build(input_shape, input_shape)

    def call(self, x):
        return self.attention(x, x, use_causal_mask=True)

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "inside"),
    [
        (lambda: keras.layers.Conv1D(8, 3, padding="causal", name="mixer"), False),
        (lambda: keras.layers.Conv1D(8, 3, padding="causal", name="mixer"), True),
        (lambda: keras.layers.LSTM(8, return_sequences=True, name="mixer"), False),
        (lambda: keras.layers.AveragePooling1D(3, strides=1, padding="same", name="mixer"), True),
        (lambda: Attention(name="mixer"), False),
        (lambda: layers.TransformerEncoder(16, 2, name="mixer"), False),
    ],
)
def test_a_layer_that_mixes_positions_without_a_cache_is_refused_by_name(make, inside):
    layer = nested(make()) if inside else make()
    name = "nested/mixer" if inside else "mixer"
    with pytest.raises(ValueError, match=f"must have a cache in every layer that mixes positions.*'{name}'"):
        generate(model_of(layer), [[1, 2]], 2)


@pytest.mark.once
def test_a_bidirectional_model_is_refused_by_name():
    layer = layers.MultiHeadSelfAttention(2, name="both_ways")
    with pytest.raises(ValueError, match="must not look ahead.*'both_ways'"):
        generate(model_of(layer), [[1, 2]], 2)


def test_an_operation_that_mixes_positions_is_found_by_comparing():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(9, 16, 8)(ids))
    x = x + 3 * ops.cumsum(x, axis=1)
    model = keras.Model(ids, keras.layers.Dense(9)(x))
    with pytest.raises(ValueError, match="same outputs step by step as at once"):
        generate(model, [[1, 2]], 2)


@pytest.mark.once
def test_a_model_without_cached_layers_is_told_which_layers_would_give_it_one():
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(4)(keras.layers.Embedding(4, 4)(ids)))
    with pytest.raises(ValueError, match="must have layers with a cache.*TransformerDecoder"):
        generate(model, [[1]], 1)


@pytest.mark.once
def test_a_model_that_gives_no_logits_per_token_is_refused():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(9, 16, 8)(ids))
    with pytest.raises(ValueError, match="pool"):
        generate(keras.Model(ids, layers.MaskedMeanPooling(name="pool")(x)), [[1, 2]], 1)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": [[]]}, r"`prompts` must be rows of at least one token id.*row 0"),
        (
            {"prompts": [[1], [99]]},
            r"`prompts` must hold token ids in \[0, vocabulary_size\).*row 1.*vocabulary_size=9",
        ),
        ({"prompts": [[-1]]}, r"`prompts` must hold token ids"),
        ({"prompts": [[1.5]]}, r"`prompts` must hold integer token ids.*float64"),
        ({"prompts": ["text"]}, r"`prompts` must be rows .*strings beside a `tokenizer`.*'text' in row 0"),
        ({"max_new_tokens": -1}, r"`max_new_tokens` must be an integer of at least 0.*-1"),
        ({"max_new_tokens": 2.0}, r"`max_new_tokens` must be an integer"),
        ({"max_new_tokens": 15}, r"position table.*max_new_tokens=15, a prompt of 2 tokens, sequence_length=16"),
        ({"prompts": [[1] * 17]}, r"position table.*a prompt of 17 tokens"),
        ({"stop_ids": [[]]}, r"`stop_ids` must hold token ids"),
        ({"stop_ids": "end"}, r"`stop_ids` must hold token ids"),
        ({"seed": 1.0}, r"`seed` must be an integer.*1.0"),
        ({"sampler": "greedy"}, r"`sampler` must be Greedy, Sample, Beam or another Sampler.*'greedy'"),
        ({"return_scores": True}, r"`return_scores` must be False unless the sampler is Beam"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    given = {"prompts": [[1, 2]], "max_new_tokens": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        generate(model_of(), **given)


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sample(temperature=-1), "`temperature`.*-1"),
        (lambda: Sample(temperature=float("nan")), "`temperature`.*nan"),
        (lambda: Sample(top_k=0), "`top_k`.*0"),
        (lambda: Sample(top_k=1.5), "`top_k`.*1.5"),
        (lambda: Sample(top_p=0.0), "`top_p`.*0.0"),
        (lambda: Sample(top_p=1.1), "`top_p`.*1.1"),
        (lambda: Sample(min_p=-0.1), "`min_p`.*-0.1"),
        (lambda: Sample(repetition_penalty=0), "`repetition_penalty`.*0"),
        (lambda: Beam(width=0), "`width`.*0"),
        (lambda: Beam(width=2, num_return=3), "`num_return` must not exceed `width`"),
        (lambda: Beam(length_penalty=-1), "`length_penalty`.*-1"),
        (lambda: Beam(length_offset=-1), "`length_offset`.*-1"),
    ],
)
def test_sampler_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("sampler", [None, Sample(), Beam(2)])
def test_logits_that_are_nan_are_an_error_and_no_hang(sampler):
    model = model_of()
    generate(model, [[1, 2]], 2, sampler=sampler)
    model.layers[-1].bias.assign(np.full(9, np.nan, "float32"))
    with pytest.raises(ValueError, match="must give logits that are numbers. Received: NaN"):
        generate(model, [[1, 2]], 2, sampler=sampler)


@pytest.mark.once
def test_a_turn_that_does_not_fit_the_session_says_what_is_left():
    session = Session(model_of(), max_length=10)
    list(stream(session, [1, 2, 3], 4))
    with pytest.raises(ValueError, match=r"a prompt of 2 tokens, max_new_tokens=4, 7 of 10 tokens"):
        stream(session, [4, 5], 4)


@pytest.mark.once
def test_what_is_no_functional_model_is_refused():
    for value in (None, keras.layers.Dense(3)):
        with pytest.raises(
            ValueError, match="`model` must be a functional keras.Model to be decoded. Received: model="
        ):
            generate(value, [[1, 2]], 3)


@pytest.mark.once
@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Conv1D(8, 2, padding="causal", dilation_rate=20, name="far"),
        lambda: keras.layers.Conv1D(8, 3, padding="same", dilation_rate=20, name="far"),
    ],
    ids=["causal", "both sides"],
)
def test_a_layer_that_reaches_far_back_or_ahead_is_refused_by_name(layer):
    ids = keras.Input((None,), dtype="int32")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(9, 100, 8)(ids))
    model = keras.Model(ids, keras.layers.Dense(9)(x + layer()(x)))
    with pytest.raises(ValueError, match=r"layer 'far' \(Conv1D\), which mixes positions and has none"):
        generate(model, [[1, 2]], 3)


@pytest.mark.once
def test_more_outputs_than_rows_of_the_embedding_are_refused():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(9, 16, 8)(ids))
    with pytest.raises(
        ValueError, match="no more outputs than its embedding has rows .* with 12 outputs and an embedding of 9"
    ):
        generate(keras.Model(ids, keras.layers.Dense(12)(x)), [[1, 2]], 3)


@pytest.mark.once
def test_ids_are_checked_against_a_keras_embedding_too():
    ids = keras.Input((None,), dtype="int32")
    x = layers.SinusoidalPositionEncoding()(keras.layers.Embedding(5, 8)(ids))
    model = keras.Model(ids, keras.layers.Dense(5)(layers.TransformerDecoder(16, 2)(x)))
    assert generate(model, [[1, 4]], 2).shape == (1, 4)
    with pytest.raises(ValueError, match="ids from 1 to 7 in row 0, with vocabulary_size=5"):
        generate(model, [[1, 7]], 2)


@pytest.mark.once
def test_padding_in_a_prompt_is_refused_where_the_model_has_a_padding_id():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(9, 16, 8, mask_zero=True)(ids))
    with pytest.raises(
        ValueError, match="`prompts` must hold no padding, id 0 in a model with mask_zero=True.* 0 in row 1"
    ):
        generate(keras.Model(ids, keras.layers.Dense(9)(x)), [[1, 2], [3, 0]], 3)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompts": "hello"}, "`prompts` must be a list of prompts, not one. Received: 'hello'"),
        ({"stop_ids": 2.0}, r"`stop_ids` must hold token ids, or non-empty lists of them. Received: stop_ids=2.0"),
        ({"stop_ids": [None]}, "`stop_ids` must hold token ids"),
        ({"stop_ids": [2.5]}, "`stop_ids` must hold token ids"),
        ({"stop_ids": 2**31}, "`stop_ids` must hold token ids"),
        (
            {"pad_id": 2**40},
            "`pad_id` must be an integer from -2147483648 to 2147483647. Received: pad_id=1099511627776",
        ),
        ({"pad_id": 2.5}, "`pad_id` must be an integer from -2147483648 to 2147483647. Received: pad_id=2.5"),
    ],
)
def test_arguments_of_a_wrong_kind_are_named(own, arguments, said):
    with pytest.raises(ValueError, match=said):
        generate(own, **{"prompts": [[1, 2]], "max_new_tokens": 2, **arguments})


def test_numpy_numbers_are_numbers(own):
    sampler = Sample(temperature=np.float32(0.5), top_k=np.int64(3))
    tokens = generate(own, [[1, 2]], 3, sampler, stop_ids=np.array(2))
    assert tokens.shape == (1, 5)
    tokens = generate(own, [[1] * 20], np.int8(30), seed=np.int8(3), pad_id=np.int8(2), stop_ids=[np.int8(100)])
    assert tokens.shape == (1, 50)
    with pytest.raises(ValueError, match="max_new_tokens=120, a prompt of 20 tokens, sequence_length=64"):
        generate(own, [[1] * 20], np.int8(120))
    with pytest.raises(ValueError, match="`max_new_tokens` must be an integer of at least 0"):
        generate(own, [[1]], np.bool_(True))


@pytest.mark.once
def test_a_session_longer_than_the_table_is_refused(own):
    with pytest.raises(
        ValueError, match="`max_length` must not exceed the model's position table. Received: max_length=99, seq"
    ):
        Session(own, max_length=99)
