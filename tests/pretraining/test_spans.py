"""Masked spans: their lengths, their places, and their ends, counted on a million tokens."""

import numpy as np
import pytest
from scipy import stats

from keras_tx.pretraining import mask_spans

pytestmark = pytest.mark.once  # numpy and tf.data alone

V, T, M = 200, 128, 40
PAD, CLS, SEP, MASK = 0, 2, 3, 4
SPECIAL = (PAD, CLS, SEP, MASK)
WORD_STARTS = np.arange(V) % 3 != 0
CHANCES = 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10)
SIZES = np.arange(1, 11)


def mask(ids, seed=0, **changes):
    arguments = {"vocabulary_size": V, "mask_id": MASK, "num_predictions": M, "special_ids": SPECIAL}
    return mask_spans(ids, seed, **{**arguments, **changes})


def spans_of(example):
    """One row (row, left, right) a span, the ends being those before and after it."""
    rows, slots = np.nonzero((example["mask_weights"] > 0) & (example["span_offsets"] == 0))
    return np.stack([rows, example["span_left"][rows, slots], example["span_right"][rows, slots]], axis=1)


def chosen_of(example):
    chosen = np.zeros(example["token_ids"].shape, bool)
    rows, slots = np.nonzero(example["mask_weights"])
    chosen[rows, example["mask_positions"][rows, slots]] = True
    return chosen


@pytest.fixture(scope="module")
def ids():
    """Rows CLS text SEP text SEP and, in every other row, padding."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, V, (9000, T))
    ids[:, 0], ids[:, 70], ids[:, -1] = CLS, SEP, SEP
    ids[::2, -20:], ids[::2, -21] = PAD, SEP
    return ids


@pytest.fixture(scope="module")
def masked(ids):
    return mask(ids)


@pytest.fixture(scope="module")
def words(ids):
    return mask(ids, num_predictions=60, word_starts=WORD_STARTS)


def check_outputs(ids, example):
    used, positions = example["mask_weights"] > 0, example["mask_positions"]
    left, right, offsets = (example[name] for name in ("span_left", "span_right", "span_offsets"))
    np.testing.assert_array_equal(example["mask_ids"], np.where(used, np.take_along_axis(ids, positions, 1), 0))
    assert (used[:, :-1] >= used[:, 1:]).all()
    assert (np.diff(positions, axis=1)[used[:, 1:]] > 0).all()
    for value in (positions, left, right, offsets):
        assert value.dtype == np.int32
        assert not value[~used].any()
    np.testing.assert_array_equal((left + 1 + offsets)[used], positions[used])
    assert (positions < right)[used].all()
    chosen = chosen_of(example)
    np.testing.assert_array_equal(example["token_ids"][~chosen], ids[~chosen])
    assert not np.isin(ids[chosen], SPECIAL).any()


def test_outputs_describe_what_was_changed_and_nothing_else_changes(ids, masked, words):
    check_outputs(ids, masked)
    check_outputs(ids, words)


def test_spans_are_seen_at_both_ends(ids, masked, words):
    for example in (masked, words):
        chosen = chosen_of(example)
        rows, left, right = spans_of(example).T
        assert not (chosen[rows, left] | chosen[rows, right]).any()
        assert (ids[rows, left] != PAD).all()
        assert (ids[rows, right] != PAD).all()
        assert (right - left - 1).sum() == chosen.sum()
        # Other special tokens are real neighbours.
        assert (ids[rows, left] == CLS).any()
        assert (ids[rows, right] == SEP).any()


def test_the_ends_of_a_row_without_a_neighbour_are_never_hidden():
    ids = np.full((3000, 12), 9)
    ids[:, 8:] = PAD
    counts = chosen_of(mask(ids, num_predictions=12, rate=0.5)).sum(axis=0)
    assert counts[0] == 0
    assert not counts[7:].any()
    assert counts[1:7].all()


def test_the_expected_share_is_the_rate(ids, masked):
    assert ids.size > 1e6
    shares = masked["mask_weights"].sum(axis=1) / (~np.isin(ids, SPECIAL)).sum(axis=1)
    assert abs(shares.mean() - 0.15) < 4 * shares.std() / np.sqrt(len(shares))
    assert masked["mask_weights"].sum(axis=1).max() < 0.15 * T + 20


def test_lengths_follow_the_clipped_geometric_law(masked):
    _, left, right = spans_of(masked).T
    lengths = right - left - 1
    mean = CHANCES @ SIZES
    assert mean == pytest.approx(3.80, abs=0.005)
    assert abs(lengths.mean() - mean) < 4 * np.sqrt(CHANCES @ SIZES**2 - mean**2) / np.sqrt(len(lengths))
    counts = np.bincount(lengths, minlength=11)[1:]
    assert len(counts) == 10
    assert stats.chisquare(counts, CHANCES * len(lengths)).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.15])
def test_lengths_follow_the_law_at_any_budget(rate):
    # Rows of one short text: where the budget ends within the first spans, a careless cut favours the short ones.
    ids = np.full((20_000, 60), 9)
    example = mask(ids, rate=rate)
    _, left, right = spans_of(example).T
    assert stats.chisquare(np.bincount(right - left - 1, minlength=11)[1:], CHANCES * len(left)).pvalue > 1e-3
    counts = example["mask_weights"].sum(axis=1)
    assert abs(counts.mean() - rate * 60) < 4 * counts.std() / np.sqrt(len(counts))


def test_starts_are_uniform():
    ids = np.full((60_000, 40), 9)
    spans = spans_of(mask(ids, rate=0.05, max_span_length=3))
    rows, left, right = spans.T
    alone = np.bincount(rows, minlength=len(ids))[rows] == 1
    for length in (1, 2, 3):
        starts = 1 + left[alone & (right - left - 1 == length)]
        counts = np.bincount(starts, minlength=40)
        last = 39 - length
        assert counts[1 : last + 1].sum() == counts.sum() > 1000
        assert stats.chisquare(counts[1 : last + 1]).pvalue > 1e-3


def test_one_draw_decides_for_a_span(ids, masked):
    kinds = []
    for row, left, right in spans_of(masked):
        new, old = masked["token_ids"][row, left + 1 : right], ids[row, left + 1 : right]
        if (new == MASK).any():
            assert (new == MASK).all()
            kinds.append("mask")
        elif len(new) >= 3:  # Three random tokens are the old ones once in 10^7.
            kinds.append("kept" if (new == old).all() else "random")
            assert kinds[-1] == "kept" or (new == old).sum() < len(new)
            assert not np.isin(new, SPECIAL).any()
    total = len(spans_of(masked))
    masks, random, kept = (kinds.count(kind) for kind in ("mask", "random", "kept"))
    assert abs(masks - 0.8 * total) < 4 * np.sqrt(total * 0.8 * 0.2)
    assert abs(random - kept) < 4 * np.sqrt(random + kept)


def test_random_tokens_of_a_span_are_uniform(ids):
    example = mask(ids, mask_rate=0.0, random_rate=1.0)
    counts = np.bincount(example["token_ids"][chosen_of(example)], minlength=V)
    assert not counts[[*SPECIAL]].any()
    assert stats.chisquare(np.delete(counts, SPECIAL)).pvalue > 1e-3


def test_spans_of_words_are_whole_and_counted_in_words(ids, words):
    candidates = ~np.isin(ids, SPECIAL)
    continues = np.zeros(ids.shape, bool)
    continues[:, 1:] = candidates[:, 1:] & candidates[:, :-1] & ~WORD_STARTS[ids[:, 1:]]
    chosen = chosen_of(words)
    np.testing.assert_array_equal(chosen[:, 1:][continues[:, 1:]], chosen[:, :-1][continues[:, 1:]])
    starts = np.cumsum(candidates & ~continues, axis=1)
    rows, left, right = spans_of(words).T
    lengths = starts[rows, right - 1] - starts[rows, left]
    # Long spans are a little rarer than the law says: some would have more than 20 tokens.
    assert abs(lengths.mean() - CHANCES @ SIZES) < 0.05
    assert lengths.max() == 10
    assert (right - left - 1).max() <= 20
    shares = words["mask_weights"].sum(axis=1) / candidates.sum(axis=1)
    assert abs(shares.mean() - 0.15) < 0.002


def test_max_span_tokens_bounds_spans_of_words(ids):
    _, left, right = spans_of(mask(ids[:500], word_starts=WORD_STARTS, max_span_tokens=4)).T
    assert (right - left - 1).max() == 4


def test_a_span_without_room_in_the_predictions_is_dropped(ids):
    example = mask(ids[:500], num_predictions=6)
    assert example["mask_positions"].shape == (500, 6)
    check_outputs(ids[:500], example)


def test_rows_without_a_place_get_no_span():
    ids = np.array([[CLS, SEP, PAD], [9, 9, PAD], [CLS, 9, SEP]])
    weights = [mask(ids, seed, num_predictions=3, rate=1.0)["mask_weights"].sum(axis=1) for seed in range(30)]
    assert np.max(weights, axis=0).tolist() == [0, 0, 1]


def test_another_padding_id_may_be_given():
    ids = np.full((500, 10), 9)
    ids[:, 6:] = 1
    chosen = chosen_of(mask(ids, padding_id=1, num_predictions=10, rate=0.8))
    assert chosen[:, 1:5].any(axis=0).all()
    assert not chosen[:, 5:].any()


def test_the_seed_alone_decides_and_one_row_needs_no_batch(ids):
    first, again, other = mask(ids[:64], (1, 2)), mask(ids[:64], (1, 2)), mask(ids[:64], (1, 3))
    alone, batch = mask(ids[0], 3), mask(ids[:1], 3)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(alone[name], batch[name][0])
    assert (first["mask_positions"] != other["mask_positions"]).any()


@pytest.mark.parametrize("word_starts", [None, WORD_STARTS], ids=["pieces", "words"])
def test_tf_data_gives_what_numpy_gives(ids, word_starts):
    tf = pytest.importorskip("tensorflow")
    batches = ids[:64].reshape(8, 8, T)

    def example(i, batch):
        return mask(batch, (7, i), word_starts=word_starts)

    dataset = tf.data.Dataset.from_tensor_slices(batches).enumerate().map(example, num_parallel_calls=4)
    assert dataset.element_spec["span_left"].shape == (8, M)
    for number, found in enumerate(dataset.as_numpy_iterator()):
        for name, value in example(number, batches[number]).items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)
