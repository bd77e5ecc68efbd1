"""Sentences in two languages from the locale data that ships with babel: true pairs, as many as one likes.

The Unicode CLDR says for hundreds of languages how dates, spans of time, measures, amounts of money and lists are
written, and what countries and languages are called. A pair is one such thing, drawn at random and written out in both
languages: word order, agreement, numerals and vocabulary change. No sentence is put together by a template of ours.
"""

import datetime
import random
from typing import NamedTuple

# Codes of the CLDR and of ISO 4217.
UNITS = """
    length-kilometer length-meter length-centimeter length-mile length-foot mass-kilogram mass-gram mass-pound
    volume-liter volume-cubic-meter area-square-kilometer area-square-meter area-hectare speed-kilometer-per-hour
    speed-mile-per-hour temperature-celsius energy-kilowatt-hour power-watt digital-megabyte digital-gigabyte
    frequency-hertz angle-degree
"""
CURRENCIES = "USD EUR GBP JPY CHF CNY INR BRL MXN SEK NOK PLN CZK TRY ZAR KRW RUB AUD CAD ARS CLP COP EGP ILS THB"
SPANS = {"year": 365 * 86400, "month": 30 * 86400, "week": 7 * 86400, "day": 86400, "hour": 3600, "minute": 60}
NAMES = {"countries": "territories", "languages": "languages"}  # and what babel calls their tables
WITH_VALUES = ("date", "long date", "interval", "quarter", "relative", "span", "measure", "money")
KINDS = (*WITH_VALUES, "time", *NAMES)
# Countries and languages have the most words to learn.
WEIGHTS = [3 if kind in NAMES else 1 for kind in KINDS]
# Ranges of values that training never sees; others, by which settings are chosen.
UNSEEN = {"year": (2040, 2050), "count": (50, 60), "amount": (600, 700)}
UNSEEN_IN_VALIDATION = {"year": (2070, 2080), "count": (80, 90), "amount": (300, 400)}


class Pair(NamedTuple):
    """A sentence in both languages, and the kind of thing that it says."""

    source: str
    target: str
    kind: str


def make_pairs(target="es", count=60_000, num_test=1000, num_unseen=500, seed=0, source="en", unseen=None):
    """Draws pairs of sentences, no source and no target of which is drawn twice.

    Args:
        target: str, the code of the language to translate into.
        count: int, how many pairs to train on.
        num_test: int, how many to hold out.
        num_unseen: int, how many more to hold out with values from `unseen`, which no other pair has.
        seed: int.
        source: str, the code of the language to translate from.
        unseen: dict like `UNSEEN`, or `None` for that.

    Returns:
        Dict of lists of `Pair`: "train", "test" and "unseen values".

    Raises:
        ModuleNotFoundError: if babel is not installed.
        ValueError: if babel knows no such language.
    """
    locales = [_locale(code) for code in (source, target)]
    codes = {
        kind: sorted(code for code in _names(locales[0], kind) if len(code) == 2 and code in _names(locales[1], kind))
        for kind in NAMES
    }
    chosen, seen = random.Random(seed), set()

    ranges = UNSEEN if unseen is None else unseen

    def several(number, kinds, weights, is_unseen):
        pairs, tries = [], 0
        while len(pairs) < number and tries < 50 * number:
            tries += 1
            kind = chosen.choices(kinds, weights)[0]
            write = draw(kind, chosen, codes, is_unseen, ranges)
            pair = Pair(*(" ".join(write(locale).split()) for locale in locales), kind)
            if not {("source", pair.source), ("target", pair.target)} & seen:
                seen.update([("source", pair.source), ("target", pair.target)])
                pairs.append(pair)
        return pairs

    not_seen = several(num_unseen, WITH_VALUES, None, True)
    pairs = several(num_test + count, KINDS, WEIGHTS, False)
    chosen.shuffle(pairs)
    return {"train": pairs[num_test:], "test": pairs[:num_test], "unseen values": not_seen}


def draw(kind, chosen, codes, unseen=False, ranges=None):
    """Draws what a sentence says.

    Args:
        kind: one of `KINDS`.
        chosen: `random.Random`.
        codes: dict from "countries" and "languages" to the codes that may be named.
        unseen: bool, whether to draw from the ranges, or from all others.
        ranges: dict like `UNSEEN`, or `None` for that.

    Returns:
        A function from a babel locale to the sentence.
    """
    from babel import dates, lists, numbers, units

    def value(low, high, what):
        start, stop = (UNSEEN if ranges is None else ranges)[what]
        if unseen:
            return chosen.randrange(start, stop)
        return chosen.choice([*range(low, start), *range(stop, high)])

    if kind in ("date", "long date", "interval", "quarter"):
        year = value(1950, 2100, "year")
        day = datetime.date(year, 1, 1) + datetime.timedelta(chosen.randrange(365))
        if kind == "interval":
            end = min(day + datetime.timedelta(chosen.randrange(1, 120)), datetime.date(year, 12, 31))
            return lambda locale: dates.format_interval(day, end, "yMMMd", locale=locale)
        if kind == "quarter":
            return lambda locale: dates.format_skeleton("yQQQQ", day, locale=locale)
        return lambda locale: dates.format_date(day, "full" if kind == "date" else "long", locale=locale)
    if kind in ("relative", "span"):
        unit = chosen.choice(list(SPANS))
        delta = datetime.timedelta(seconds=value(1, 100, "count") * SPANS[unit] * chosen.choice((1, -1)))
        how = {"granularity": unit, "threshold": 1e9, "add_direction": kind == "relative"}
        return lambda locale: dates.format_timedelta(delta, **how, locale=locale)
    if kind == "measure":
        amount, unit = value(1, 1000, "amount") + chosen.choice((0, 0, 0.5, 0.25)), chosen.choice(UNITS.split())
        return lambda locale: units.format_unit(amount, unit, locale=locale)
    if kind == "money":
        amount, currency = value(1, 1000, "amount") + chosen.choice((0, 0.5, 0.95)), chosen.choice(CURRENCIES.split())
        amount *= 1 if unseen else chosen.choice((1, 1, 1000))
        return lambda locale: numbers.format_currency(amount, currency, format_type="name", locale=locale)
    if kind == "time":
        time = datetime.time(chosen.randrange(24), chosen.randrange(60))
        return lambda locale: dates.format_time(time, "short", locale=locale)
    named, style = chosen.sample(codes[kind], chosen.choice((1, 2, 2, 3))), chosen.choice(("standard", "or"))
    return lambda locale: lists.format_list([_names(locale, kind)[code] for code in named], style, locale=locale)


def _names(locale, kind):
    return getattr(locale, NAMES[kind])


def _locale(code):
    try:
        from babel import Locale, UnknownLocaleError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("The pairs are babel's. Install it: pip install babel.", name=error.name) from error
    try:
        return Locale.parse(code)
    except (UnknownLocaleError, ValueError) as error:
        raise ValueError(f"`target` must be the code of a language of babel. Received: {code!r} ({error}).") from error
