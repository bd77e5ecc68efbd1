"""Scores of translations, and baselines that are chosen on pairs which are not reported."""

import interface_text
import pytest
import translation_pairs
from cldr_pairs import Pair
from translation_scores import Baselines, by_sentence, score

pytestmark = pytest.mark.once
pytest.importorskip("sacrebleu")
PAIRS = [Pair("a", "uno dos tres cuatro cinco", "x"), Pair("b", "seis siete ocho nueve diez", "x")]


def test_scores_are_those_of_sacrebleu_and_exact_matches():
    whole = score([pair.target for pair in PAIRS], PAIRS, "es")
    assert whole == pytest.approx({"BLEU": 100.0, "chrF": 100.0, "exact": 1.0})
    half = score([PAIRS[0].target, "once"], PAIRS, "es")
    assert 0 < half["BLEU"] < 100
    assert 0 < half["chrF"] < 100
    assert half["exact"] == 0.5


def test_languages_without_spaces_are_compared_by_character():
    pair = [Pair("x", "東京都の人口は多い", "x")]
    assert score(["東京都の人口は少ない"], pair, "ja")["BLEU"] > score(["東京都の人口は少ない"], pair, "es")["BLEU"]


def test_placeholders_are_kept_where_each_stands_as_often_as_in_the_source():
    pairs = [
        Pair("{a} and {b}", "{a} y {b}", "x"),
        Pair("{a}", "{a}", "x"),
        Pair("none", "no", "x"),
        Pair("{c}", "{c}", "x"),
    ]
    assert score(["{b} o {a}", "{a} {a}", "{x}", "{C}"], pairs, "es")["kept"] == pytest.approx(1 / 3)


def test_texts_are_translated_sentence_by_sentence():
    asked = []

    def shout(sentences):
        asked.extend(sentences)
        return [sentence.upper() for sentence in sentences]

    found = by_sentence(interface_text, ["Set {name}. {name} waits.", "off"], shout)
    assert asked == ["^ set {0}.", " {0} waits.", " off"]
    assert found == ["SET {name}. {name} WAITS.", "OFF"]
    assert by_sentence(translation_pairs.AsTheyAre, ["One. Two."], shout) == ["ONE. TWO."]


@pytest.mark.parametrize("form", [translation_pairs.AsTheyAre, interface_text])
def test_baselines_are_the_best_on_what_they_are_chosen_by(form):
    pytest.importorskip("sklearn")
    training = [Pair(f"red door {n}", f"puerta roja {n}", "x") for n in "abcdefgh"]
    training += [Pair(f"{{p}} red {n}", f"{{p}} roja {n}", "x") for n in "abcdefgh"]
    choosing = [Pair("red door z a b", "puerta roja z a b", "x")]
    baselines = Baselines(training, choosing, form, "es")
    rows = baselines.translate(["red door q", "{other} red b"])
    assert [name.split(" (")[0] for name in rows] == ["copying the source", "nearest training pair", "word for word"]
    copied, nearest, by_word = rows.values()
    assert copied == ["red door q", "{other} red b"]
    assert nearest[1].endswith("roja b")
    assert by_word[0] == "roja puerta q"
    if form is interface_text:
        assert nearest[1] == "{other} roja b"


def test_without_pairs_to_choose_by_the_last_to_train_on_are_kept_for_it():
    pytest.importorskip("sklearn")
    training = [Pair(f"red door {n}", f"puerta roja {n}", "x") for n in range(10)]
    baselines = Baselines(training, None, translation_pairs.AsTheyAre, "es")
    assert len(baselines.whole) == 10  # all are known in the end
    assert baselines.translate(["red door 9"])[
        f"nearest training pair ({baselines.best['nearest training pair']})"
    ] == ["puerta roja 9"]
