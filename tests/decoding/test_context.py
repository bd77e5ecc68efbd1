"""Decoding with a context: what depends on it alone runs once, and each row is what it would be alone and without a cache."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.applications import Translator
from keras_tx.decoding import Beam, Sample, generate, init_caches, step, trace_report

SOURCES = [[3, 4, 5], [6], [7, 8, 9, 10, 3] * 5, [5, 4]]
PROMPTS = [[1], [1, 4], [1], [1, 2, 3]]


class Counting(keras.layers.Layer):
    """Doubles its inputs, and counts how often it was called."""

    def build(self, input_shape):
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return 2 * inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def own_model():
    """What a user writes: one table for both sides, attention to the source, and a summary of it added to every token."""
    source, ids = keras.Input((None,), dtype="int32", name="source"), keras.Input((None,), dtype="int32", name="ids")
    embedding = layers.TokenAndPositionEmbedding(11, 40, 8, name="embedding")
    mask = ops.not_equal(source, 0)
    context = Counting(name="counting")(embedding(source))
    summary = layers.MaskedMeanPooling(name="summary")(context, mask=mask)
    x = embedding(ids) + ops.expand_dims(summary, 1)
    x = layers.MultiHeadSelfAttention(2, causal=True, name="attention")(x)
    x = layers.MultiHeadCrossAttention(2, name="cross")(x, context, context_mask=mask)
    return keras.Model([source, ids], keras.layers.Dense(11, name="head")(x), name="own")


@pytest.fixture(scope="module")
def translator(shake):
    keras.utils.set_random_seed(0)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    return shake(Translator(11, **size, positions="learned", sequence_length=40))


@pytest.fixture(scope="module", params=["translator", "own"])
def case(request, shake):
    """A model, and the name of the input that it is given."""
    if request.param == "own":
        keras.utils.set_random_seed(0)
        return shake(own_model()), "source"
    return request.getfixturevalue("translator"), "source_ids"


def full_pass(model, name, sources, prompts):
    """Log probabilities of what follows each row, by the whole model; padded to one shape, which nothing notices."""
    padded, rows = np.zeros((4, 32), "int32"), np.zeros((4, 32), "int32")
    for place, values in [*zip(padded, sources, strict=False), *zip(rows, prompts, strict=False)]:
        place[: len(values)] = values
    inputs = {"source_ids": padded, "target_ids": rows} if name == "source_ids" else [padded, rows]
    last = [len(ids) - 1 for ids in prompts]
    return ops.convert_to_numpy(ops.log_softmax(model.predict_on_batch(inputs)))[np.arange(len(last)), last]


def naive_beam(model, name, source, prompt, sampler, limit, stop):
    """Beam search in the open: the best finished sequences as (score, tokens)."""
    alive, finished = [(0.0, [])], []

    def penalized(log_p, length):
        return log_p / ((5 + length) / 6) ** sampler.length_penalty

    for length in range(1, limit + 1):
        longer = []
        rows = full_pass(model, name, [source] * len(alive), [prompt + tokens for _, tokens in alive])
        for (log_p, tokens), after in zip(alive, rows, strict=True):
            longer += [(log_p + float(value), [*tokens, token]) for token, value in enumerate(after)]
        longer.sort(reverse=True)
        ended = [each for each in longer[: sampler.width] if each[1][-1] == stop or length == limit]
        finished += [(penalized(log_p, length), tokens) for log_p, tokens in ended]
        finished = sorted(finished, reverse=True)[: sampler.width]
        alive = [each for each in longer if each[1][-1] != stop][: sampler.width]
        if len(finished) == sampler.width and finished[-1][0] >= penalized(alive[0][0], limit):
            break
    return finished[: sampler.num_return]


def test_greedy_gives_each_row_what_the_full_pass_gives_it_alone(case):
    model, name = case
    rows = generate(model, PROMPTS, 5, context={name: SOURCES})
    expected = [list(prompt) for prompt in PROMPTS]
    for _ in range(5):
        for ids, after in zip(expected, full_pass(model, name, SOURCES, expected), strict=True):
            ids.append(int(after.argmax()))
    for row, ids in zip(rows, expected, strict=True):
        assert row[: len(ids)].tolist() == ids


def test_beams_of_each_row_are_those_of_a_search_for_it_alone_without_a_cache(translator):
    sampler = Beam(3, 0.8, num_return=2)
    rows, scores = generate(
        translator, [[1]] * 4, 6, sampler, stop_ids=2, return_scores=True, context={"source_ids": SOURCES}
    )
    for row, values, source in zip(rows, scores, SOURCES, strict=True):
        best = naive_beam(translator, "source_ids", source, [1], sampler, 6, stop=2)
        np.testing.assert_allclose(values, [value for value, _ in best], atol=1e-4)
        for found, (_, tokens) in zip(row, best, strict=True):
            assert found.tolist() == [1, *tokens] + [0] * (6 - len(tokens))


def test_what_depends_on_the_context_alone_runs_once(case):
    model, name = case
    if name == "source_ids":
        counted = model.get_layer("encoder").get_layer("encoder_0")
        assert not [path for path in init_caches(model, 1, 4, {name: np.array([[3]])}) if path.startswith("encoder/")]
        assert counted.built
        return
    counted = model.get_layer("counting")
    before = counted.calls
    caches = init_caches(model, 1, 4, {name: np.array([[3, 4]])})
    for token in (1, 5, 6):
        _, caches = step(model, np.array([[token]]), caches)
    assert counted.calls == before + 1


def test_an_array_that_is_padded_already_is_taken_as_it_is(translator):
    padded = np.array([[3, 4, 5, 0, 0], [6, 0, 0, 0, 0]])
    rows = generate(translator, [[1, 4]] * 2, 4, context={"source_ids": padded})
    assert rows.tolist() == generate(translator, [[1, 4]] * 2, 4, context={"source_ids": SOURCES[:2]}).tolist()


def test_a_source_of_padding_alone_is_one_with_nothing_to_attend_to(translator):
    rows = generate(translator, [[1, 4]] * 2, 4, context={"source_ids": np.array([[0, 0], [3, 4]])})
    assert rows[1].tolist() == generate(translator, [[1, 4]] * 2, 4, context={"source_ids": [[3, 4]] * 2})[0].tolist()
    assert rows.shape == (2, 6)


def test_sampling_with_a_seed_repeats(translator):
    draws = [
        generate(translator, [[1]], 6, Sample(1.0), seed=seed, context={"source_ids": [[3, 4]]})
        for seed in (1, 1, 2, 3)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert any(not np.array_equal(draws[0], draw) for draw in draws[2:])


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch compiles nothing")
def test_calls_of_a_bucket_share_a_program(translator):
    rng = np.random.default_rng(0)
    before = sum(trace_report().values())
    for call in range(6):
        sources = [rng.integers(3, 11, rng.integers(1, 32)).tolist() for _ in range(1 + call % 3 + 1)]
        generate(translator, [[1, 4]] * len(sources), 4 + call, stop_ids=[2], context={"source_ids": sources})
    assert sum(trace_report().values()) - before <= 1


def test_rows_of_unequal_length_need_padding_that_the_model_ignores(translator):
    said = "`context` must have rows of one length, or `pad_id` be padding that the model ignores.*1 to 25 tokens.*pad_id=4"
    with pytest.raises(ValueError, match=said):
        generate(translator, [[1]] * 4, 2, pad_id=4, context={"source_ids": SOURCES})


@pytest.mark.once
@pytest.mark.parametrize(
    ("context", "said"),
    [
        (
            None,
            r"`context` must hold every input of the model but one.*\['source_ids', 'target_ids'\], context of \[\]",
        ),
        ({"source": [[3]]}, r"`context` must hold every input .*context of \['source'\]"),
        ({"source_ids": [[3]], "target_ids": [[1]]}, r"`context` must hold every input of the model but one"),
        (
            {"source_ids": [[3], [4]]},
            "`context` must have a row for each prompt. Received: 2 rows of 'source_ids', 1 pro",
        ),
        ({"source_ids": [[]]}, "`context` must be an array, or rows of at least one token id.* Received: .* in row 0"),
        ({"source_ids": [[3.5]]}, r"`context` must be an array, or rows of at least one token id.* Received: \[3.5\]"),
        ({"source_ids": np.zeros((1, 2))}, r"`context` must hold what the model takes, int32 of shape \(None, None\)"),
        ({"source_ids": [[3, 11]]}, r"`context` must hold token ids in \[0, vocabulary_size\).*from 3 to 11 in 'sou"),
        (
            {"source_ids": [[3] * 41]},
            "`context` must not be longer than the model's position table. Received: 41 tokens",
        ),
    ],
)
def test_a_context_that_does_not_fit_is_named(translator, context, said):
    with pytest.raises(ValueError, match=said):
        generate(translator, [[1]], 2, context=context)


@pytest.mark.parametrize("length", [2, 12])
def test_a_source_may_be_as_long_as_a_short_table(length, shake):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    model = shake(Translator(11, **size, positions="learned", sequence_length=length))
    sources = [[5] * length, [6] * (length - 1)]
    together = generate(model, [[1], [1]], 1, context={"source_ids": sources})
    padded = np.array([sources[0], [*sources[1], 0]])
    logits = model.predict_on_batch({"source_ids": padded, "target_ids": np.array([[1], [1]])})
    assert together[:, 1].tolist() == logits[:, 0].argmax(axis=-1).tolist()


def test_a_target_longer_than_its_table_is_refused(translator):
    with pytest.raises(ValueError, match="max_new_tokens=40, a prompt of 1 tokens, sequence_length=40"):
        generate(translator, [[1]], 40, context={"source_ids": [[3]]})


def test_a_missing_start_is_refused(translator):
    with pytest.raises(ValueError, match="`prompts` must be rows of at least one token id"):
        generate(translator, [[]], 2, context={"source_ids": [[3]]})


def test_attention_to_what_depends_on_the_ids_is_refused_by_name():
    source, ids = keras.Input((None, 8), name="source"), keras.Input((None,), dtype="int32", name="ids")
    x = layers.TokenAndPositionEmbedding(11, 8, 8)(ids)
    x = layers.MultiHeadCrossAttention(2, name="mixed")(x, x) + ops.mean(source, axis=1, keepdims=True)
    model = keras.Model([source, ids], keras.layers.Dense(11)(x))
    with pytest.raises(ValueError, match=r"from its context alone to be decoded. Received: layer 'mixed' .*`context`"):
        init_caches(model, 1, 4, {"source": np.zeros((1, 3, 8), "float32")})


def test_numbers_may_be_the_context():
    source, ids = keras.Input((None, 6), name="source"), keras.Input((None,), dtype="int32", name="ids")
    real = keras.Input((None,), dtype="bool", name="real")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(11, 8, 8)(ids), source, context_mask=real)
    model = keras.Model([source, real, ids], x)
    values = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    mask, tokens = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool), np.array([[1, 2, 3], [4, 5, 6]])
    caches = init_caches(model, 2, 4, {"source": values, "real": mask})
    first, caches = step(model, tokens[:, :2], caches)
    second, _ = step(model, tokens[:, 2:], caches)
    found = np.concatenate([ops.convert_to_numpy(first), ops.convert_to_numpy(second)], axis=1)
    np.testing.assert_allclose(found, ops.convert_to_numpy(model([values, mask, tokens])), atol=1e-5)
