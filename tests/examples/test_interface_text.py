"""Texts of an interface: sentences, numbered placeholders and small letters, and the way back."""

import interface_text
import pytest

pytestmark = pytest.mark.once
TEXTS = [
    "Power level",
    "HVAC mode",
    "iZone failed",
    "The {device} at {host} is off. Turn it on, then press {device}!",
    'Version 2.0 of e.g. this: That (Optional). {name} is next. "Quoted" too.',
    "¿Seguro? ¡Sí!",
    "",
    "^ a caret",
    "É",
]


@pytest.mark.parametrize("text", TEXTS[:-2] + ["É"])
def test_what_was_prepared_is_restored(text):
    assert interface_text.restore(*interface_text.prepare(text)) == text


def test_white_space_is_made_one_space():
    assert interface_text.restore(*interface_text.prepare(" a\n\n B  c ")) == "a B c"


def test_sentences_end_where_a_capital_follows():
    assert interface_text.sentences("Set it. Then wait e.g. a minute. {name} is 2.0. ¿Listo?") == [
        "Set it.",
        "Then wait e.g. a minute.",
        "{name} is 2.0.",
        "¿Listo?",
    ]


def test_placeholders_are_numbered_as_the_source_has_them():
    (source, target), names = interface_text.number("{b} of {a} and {b}", "{a} de {b}, {c}")
    assert (source, target, names) == ("{0} of {1} and {0}", "{1} de {0}, {c}", ["{b}", "{a}"])
    assert interface_text.name(target, names) == "{a} de {b}, {c}"
    assert interface_text.name("{1} {7}", names) == "{a} {7}"
    many = " ".join(f"{{name_{number}}}" for number in range(12))
    (numbered,), names = interface_text.number(many)
    assert numbered.split()[9:] == ["{9}", "{name_10}", "{name_11}"]
    assert interface_text.name(numbered, names) == many


def test_a_word_is_the_same_at_the_begin_and_within():
    assert interface_text.lower("Power level") == "^ power level"
    assert interface_text.lower("power level") == " power level"
    assert interface_text.lower("AC power") == " AC power"
    assert interface_text.upper("^ {0} power") == "{0} power"
    assert interface_text.upper("^") == "^"


def test_rows_are_sentences_where_both_sides_have_as_many():
    rows = interface_text.training_rows("The {a} is on. Wait.", "El {a} está encendido. Espera.")
    assert rows == [("^ the {0} is on.", "^ el {0} está encendido."), ("^ wait.", "^ espera.")]
    rows = interface_text.training_rows("It is on. Wait.", "Está encendido, espera.")
    assert rows == [("^ it is on. Wait.", "^ está encendido, espera.")]


def test_rows_whose_placeholders_differ_are_left_out():
    assert interface_text.training_rows("The {a}", "El {b}") == []
    # They have the same together, but not sentence by sentence.
    crossed = interface_text.training_rows("The {a} is on. Wait.", "Está encendido. Espera a {a}.")
    assert crossed == [("^ the {0} is on. Wait.", "^ está encendido. Espera a {0}.")]
