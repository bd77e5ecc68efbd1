"""What a translator has to beat: dictionaries, and the nearest of the known sentences."""

import pytest
import translation_baseline

pytestmark = pytest.mark.once
PAIRS = [("red cat", "gato rojo"), ("red dog", "perro rojo"), ("a cat", "un gato"), ("a dog, 7", "un perro, 7")]


@pytest.mark.parametrize("learn", [translation_baseline.learn, translation_baseline.learn_by_alignment])
def test_dictionaries_translate_word_for_word_in_the_order_of_the_source(learn):
    assert learn(PAIRS).translate("a red dog, unheard 7") == "un rojo perro, unheard 7"


def test_alignment_tells_a_word_from_one_that_always_stands_beside_its_translation():
    """What comes with every cat too is explained by "the", so that it is no translation of "cat"."""
    pairs = [
        ("the cat", "el gato"),
        ("the dog", "el perro"),
        ("the cat sleeps", "el gato duerme"),
        ("the end", "el fin"),
    ]
    dictionary = translation_baseline.learn_by_alignment(pairs)
    assert dictionary.translate("the cat sleeps") == "el gato duerme"
    assert dictionary.translate("the end") == "el fin"


def test_probabilities_of_translations_of_a_word_sum_to_one():
    rows = [[[1, 2], [1, 2]], [[1], [1]], [[2, 3, 3], [2, 3]], [[3], []]]
    likely = translation_baseline._likely(rows, 0, 4, rounds=3)
    for word in range(4):
        assert sum(value for (given, _), value in likely.items() if given == word) == pytest.approx(1)
    assert likely[1, 1] > 0.8 > 0.5 > likely[1, 2]


def test_no_pairs_and_empty_sentences_make_an_empty_dictionary():
    for pairs in ([], [("", "")], [("a", "")]):
        assert translation_baseline.learn_by_alignment(pairs).translate("a b") == "a b"


def test_a_placeholder_is_one_word():
    assert translation_baseline.words("Set {0}.") == [("Set", False), ("{0}", True), (".", False)]


@pytest.mark.parametrize("how", translation_baseline.NEARNESS)
def test_the_nearest_sentence_is_the_one_that_shares_most(how):
    pytest.importorskip("sklearn")
    known = ["the battery level", "the door is open", "reset the filter", "something else altogether"]
    asked = ["open the door", "level of the battery", "the filter reset", *known] * 60  # more than one block
    places = translation_baseline.nearest(known, asked, how)
    assert places == [1, 0, 2, 0, 1, 2, 3] * 60
