"""Masked tokens: how many, which, and what becomes of them, counted on a million tokens."""

import numpy as np
import pytest
from scipy import stats

from keras_tx.pretraining import mask_tokens

pytestmark = pytest.mark.once  # numpy and tf.data alone

V, T, M = 200, 128, 20
PAD, CLS, SEP, MASK = 0, 2, 3, 4
SPECIAL = (PAD, 1, CLS, SEP, MASK)
KEYS = ["token_ids", "mask_positions", "mask_ids", "mask_weights"]
# Every third token continues a word.
WORD_STARTS = np.arange(V) % 3 != 0


def texts(rows, seed=0):
    """Rows of random ordinary tokens between CLS and SEP, of random length, padded."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, V, (rows, T))
    lengths = rng.integers(T // 2, T + 1, rows)[:, None]
    columns = np.arange(T)
    ids = np.where(columns < lengths - 1, ids, np.where(columns == lengths - 1, SEP, PAD))
    ids[:, 0] = CLS
    return ids


def mask(ids, seed=0, **changes):
    arguments = {"vocabulary_size": V, "mask_id": MASK, "num_predictions": M, "special_ids": SPECIAL}
    return mask_tokens(ids, seed, **{**arguments, **changes})


def within(counted, total, share, errors=4.0):
    """Whether a count lies within a few standard errors of a binomial one."""
    return abs(counted - share * total) < errors * np.sqrt(total * share * (1 - share))


@pytest.fixture(scope="module")
def ids():
    return texts(12_000)


@pytest.fixture(scope="module")
def masked(ids):
    return mask(ids)


@pytest.fixture(scope="module")
def words(ids):
    return mask(ids, word_starts=WORD_STARTS)


def chosen_of(example):
    """Which tokens were chosen (B, T)."""
    chosen = np.zeros(example["token_ids"].shape, bool)
    rows, slots = np.nonzero(example["mask_weights"])
    chosen[rows, example["mask_positions"][rows, slots]] = True
    return chosen


def check_outputs(ids, example):
    """What holds whichever tokens are chosen."""
    used, positions = example["mask_weights"] > 0, example["mask_positions"]
    assert [(name, str(value.dtype)) for name, value in example.items()][:4] == [
        (name, "float32" if name == "mask_weights" else "int32") for name in KEYS
    ]
    np.testing.assert_array_equal(example["mask_ids"], np.where(used, np.take_along_axis(ids, positions, 1), 0))
    assert not positions[~used].any()
    assert set(np.unique(example["mask_weights"])) <= {0.0, 1.0}
    # Used slots come first, and their positions ascend.
    assert (used[:, :-1] >= used[:, 1:]).all()
    assert (np.diff(positions, axis=1)[used[:, 1:]] > 0).all()
    chosen = chosen_of(example)
    assert chosen.sum() == used.sum()
    np.testing.assert_array_equal(example["token_ids"][~chosen], ids[~chosen])
    assert not np.isin(ids[chosen], SPECIAL).any()
    assert not np.isin(example["token_ids"][chosen], [PAD, 1, CLS, SEP]).any()


def test_outputs_describe_what_was_changed_and_nothing_else_changes(ids, masked, words):
    check_outputs(ids, masked)
    check_outputs(ids, words)


def test_each_row_gets_its_rounded_share(ids, masked):
    assert ids.size > 1e6
    candidates = (~np.isin(ids, SPECIAL)).sum(axis=1)
    counts = masked["mask_weights"].sum(axis=1)
    np.testing.assert_array_equal(counts, np.clip(np.round(0.15 * candidates), 1, M))
    assert abs(counts.sum() / candidates.sum() - 0.15) < 0.001


def test_every_place_is_as_likely_as_every_other():
    ids = np.full((50_000, 40), 7)
    counts = chosen_of(mask(ids, num_predictions=6)).sum(axis=0)
    # Drawn without replacement, the counts vary less than a chi-square's: by (40 - 6) / 40 x 40 / 39.
    assert stats.chi2.sf(((counts - 7500.0) ** 2 / 7500).sum() * 39 / 34, 39) > 1e-3


def test_eighty_ten_ten(ids, masked):
    chosen = chosen_of(masked)
    total, replaced, originals = chosen.sum(), masked["token_ids"][chosen], ids[chosen]
    assert within((replaced == MASK).sum(), total, 0.8)
    ordinary = V - len(SPECIAL)
    # One random token in 195 is the one that stood there.
    assert within(((replaced != MASK) & (replaced != originals)).sum(), total, 0.1 * (1 - 1 / ordinary))
    assert within((replaced == originals).sum(), total, 0.1 + 0.1 / ordinary)


def test_random_tokens_are_uniform_over_the_ordinary_ones(ids):
    example = mask(ids, mask_rate=0.0, random_rate=1.0)
    counts = np.bincount(example["token_ids"][chosen_of(example)], minlength=V)
    assert not counts[[*SPECIAL]].any()
    assert stats.chisquare(np.delete(counts, SPECIAL)).pvalue > 1e-3


def test_tokens_can_all_be_kept(ids):
    np.testing.assert_array_equal(mask(ids[:50], mask_rate=0.0, random_rate=0.0)["token_ids"], ids[:50])


def test_a_word_is_chosen_whole_or_not_at_all(ids, words):
    chosen = chosen_of(words)
    candidates = ~np.isin(ids, SPECIAL)
    continues = candidates[:, 1:] & candidates[:, :-1] & ~WORD_STARTS[ids[:, 1:]]
    np.testing.assert_array_equal(chosen[:, 1:][continues], chosen[:, :-1][continues])
    # A piece after a special token starts a word of its own.
    assert (~WORD_STARTS[ids[:, 1]] & chosen[:, 1]).any()


def test_words_fill_the_budget_and_never_pass_it(ids, masked, words):
    budgets, counts = masked["mask_weights"].sum(axis=1), words["mask_weights"].sum(axis=1)
    assert (counts <= budgets).all()
    assert counts.sum() > 0.999 * budgets.sum()


def test_each_piece_of_a_word_draws_for_itself():
    ids = np.tile([[6, 7]], (40_000, 1))
    table = np.arange(V) != 7
    example = mask(ids, num_predictions=2, rate=1.0, word_starts=table, random_rate=0.0)["token_ids"] == MASK
    assert within(example.all(axis=1).sum(), 40_000, 0.8 * 0.8)


def test_a_word_longer_than_the_budget_is_skipped():
    ids = np.array([[6, 9, 9, 9, 9, 9], [6, 9, 9, 9, 9, 7]])
    for seed in range(20):
        weights = mask(ids, seed, num_predictions=3, rate=0.5, word_starts=WORD_STARTS)["mask_weights"]
        assert weights.sum(axis=1).tolist() == [0, 1]


def test_small_rows():
    ids = np.array([[CLS, SEP, PAD, PAD], [CLS, 9, SEP, PAD]])
    example = mask(ids, num_predictions=3)
    assert example["mask_weights"].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert example["mask_positions"].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert mask(ids[:0], num_predictions=3)["mask_ids"].shape == (0, 3)


def test_num_predictions_caps_the_budget():
    assert mask(texts(20), num_predictions=4)["mask_weights"].sum() == 80


def test_the_seed_alone_decides(ids):
    first, again, other = mask(ids[:64], (1, 2)), mask(ids[:64], (1, np.int64(2))), mask(ids[:64], (1, 3))
    for name in KEYS:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["mask_positions"] != other["mask_positions"]).any()


def test_one_row_needs_no_batch(ids):
    alone, batch = mask(ids[0].tolist(), 5), mask(ids[:1], 5)
    for name in KEYS:
        assert alone[name].ndim == 1
        np.testing.assert_array_equal(alone[name], batch[name][0])


@pytest.mark.parametrize("word_starts", [None, WORD_STARTS], ids=["pieces", "words"])
@pytest.mark.parametrize("rank", [1, 2])
def test_tf_data_gives_what_numpy_gives(ids, word_starts, rank):
    tf = pytest.importorskip("tensorflow")
    batches = ids[:64].reshape(8, 8, T) if rank == 2 else ids[:8]

    def example(i, batch):
        return mask(batch, (7, i), word_starts=word_starts)

    dataset = tf.data.Dataset.from_tensor_slices(batches).enumerate().map(example, num_parallel_calls=4)
    assert dataset.element_spec["token_ids"].shape == batches.shape[1:]
    assert dataset.element_spec["mask_weights"].shape == (*batches.shape[1:-1], M)
    for number, found in enumerate(dataset.as_numpy_iterator()):
        for name, value in example(number, batches[number]).items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)


def test_a_tensor_of_unknown_shape_keeps_what_is_known(ids):
    tf = pytest.importorskip("tensorflow")
    traced = tf.function(lambda batch: mask(batch, 3), input_signature=[tf.TensorSpec((None, None), tf.int64)])
    shapes = traced.get_concrete_function().structured_outputs
    assert [shapes[name].shape.as_list() for name in KEYS] == [[None, None], *[[None, M]] * 3]
    for name, value in mask(ids[:9], 3).items():
        np.testing.assert_array_equal(traced(ids[:9])[name], value)


def test_a_tensor_or_a_seed_with_values_gives_tensors_with_values(ids):
    tf = pytest.importorskip("tensorflow")
    expected = mask(ids[:4], (0, 1))
    for found in (mask(tf.constant(ids[:4]), (0, 1)), mask(ids[:4], (0, tf.constant(1)))):
        for name in KEYS:
            assert tf.is_tensor(found[name])
            np.testing.assert_array_equal(found[name].numpy(), expected[name])
