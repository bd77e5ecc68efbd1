"""Pairs from the CLDR: true, distinct, and held out as promised."""

import random
import re

import pytest

pytest.importorskip("babel")

import cldr_pairs

pytestmark = pytest.mark.once
SEED = 3


@pytest.fixture(scope="module")
def pairs():
    return cldr_pairs.make_pairs("es", count=1500, num_test=100, num_unseen=100, seed=SEED)


def test_pairs_are_translations(pairs):
    found = {pair.source: pair.target for part in pairs.values() for pair in part}
    written = cldr_pairs.draw("date", random.Random(0), {})
    spanish = written(cldr_pairs._locale("es"))
    assert re.fullmatch(r"(lunes|martes|miércoles|jueves|viernes|sábado|domingo), \d+ de \w+ de \d{4}", spanish)
    dates = {source: target for source, target in found.items() if source.startswith("Saturday, July ")}
    assert all(target.startswith("sábado, ") and " de julio de " in target for target in dates.values())
    assert all(source.split()[-1] == target.split()[-1] for source, target in dates.items())


def test_no_sentence_of_either_side_is_drawn_twice(pairs):
    every = [pair for part in pairs.values() for pair in part]
    assert [len(part) for part in pairs.values()] == [1500, 100, 100]
    assert len({pair.source for pair in every}) == len({pair.target for pair in every}) == len(every)


def test_every_kind_is_there(pairs):
    assert {pair.kind for pair in pairs["train"]} == set(cldr_pairs.KINDS)
    assert {pair.kind for pair in pairs["unseen values"]} == set(cldr_pairs.WITH_VALUES)


def test_unseen_values_are_in_no_other_part(pairs):
    def has_unseen(pair):
        numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", pair.source)]
        (year, year_end), (count, count_end), (amount, amount_end) = cldr_pairs.UNSEEN.values()
        if pair.kind in ("relative", "span"):
            return count <= numbers[0] < count_end
        if pair.kind in ("measure", "money"):
            return amount <= numbers[0] < amount_end or amount <= numbers[0] // 1000 < amount_end
        return year <= numbers[-1] < year_end

    assert all(has_unseen(pair) for pair in pairs["unseen values"])
    with_values = [pair for name in ("train", "test") for pair in pairs[name] if pair.kind in cldr_pairs.WITH_VALUES]
    assert not [pair for pair in with_values if has_unseen(pair)]


def test_settings_are_chosen_by_other_unseen_values():
    for name, (start, stop) in cldr_pairs.UNSEEN_IN_VALIDATION.items():
        other_start, other_stop = cldr_pairs.UNSEEN[name]
        assert stop <= other_start or start >= other_stop
    made = cldr_pairs.make_pairs("es", count=300, num_test=1, num_unseen=60, unseen=cldr_pairs.UNSEEN_IN_VALIDATION)
    spans = [pair.source for pair in made["unseen values"] if pair.kind == "span"]
    assert spans
    assert all(80 <= int(source.split()[0]) < 90 for source in spans)


def test_equal_seeds_draw_equal_pairs(pairs):
    again = cldr_pairs.make_pairs("es", count=1500, num_test=100, num_unseen=100, seed=SEED)
    assert again == pairs


@pytest.mark.parametrize("target", ["de", "fr", "ja", "ru"])
def test_other_languages_have_pairs_too(target):
    made = cldr_pairs.make_pairs(target, count=60, num_test=5, num_unseen=5)
    assert len(made["train"]) == 60
    assert not any("  " in pair.target or "\xa0" in pair.target for pair in made["train"])


def test_a_language_that_is_none_is_named():
    with pytest.raises(ValueError, match="`target` must be the code of a language of babel. Received: 'xx'"):
        cldr_pairs.make_pairs("xx", count=1)
