"""Special tokens and word starts of a vocabulary."""

import pytest

from keras_tx.pretraining import mask_tokens, special_token_ids, word_start_table

pytestmark = pytest.mark.once  # numpy and tf.data alone


def test_tables_of_a_vocabulary():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"]
    ids = special_token_ids(vocabulary)
    assert ids == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    assert word_start_table(vocabulary).tolist() == [True] * 6 + [False]
    assert word_start_table(["a", "@b"], prefix="@").tolist() == [True, False]
    assert mask_tokens([2, 5, 6, 3], 0, 7, ids["[MASK]"], 2, ids.values())["mask_weights"].sum() == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: special_token_ids(["[PAD]", "a"], ("[PAD]", "[MASK]")), r"vocabulary of 2 tokens without '\[MASK\]'"),
        (lambda: special_token_ids([1]), "`vocabulary` must be a list of strings"),
        (lambda: word_start_table("abc"), "`vocabulary` must be a list of strings. Received: vocabulary='abc'"),
        (
            lambda: word_start_table(["a"], prefix=""),
            "`prefix` must be a string that is not empty. Received: prefix=''",
        ),
    ],
)
def test_bad_arguments_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
