"""How a docstring is written out for the summarizer, and how its summary is read back.

A token that may be copied is written alike on both sides: names are split into their words, words have a space before them, and
the capital that a summary begins with is put there after.
"""

import ast
import re

_BORDERS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
_PLAIN = re.compile(r"[A-Z][a-z]*\b")
_LONGEST, _LONGEST_ARGUMENTS = 600, 60  # characters that are looked at


def source(pair):
    """Returns a pair as the summarizer reads it: name, its words, where it stands, its arguments, a near summary, and its text.

    `la.LowRank.to_dense(self, out_dtype)` with the text "Slow." is " to dense | to_dense | LowRank la | out dtype |  | Slow.",
    where nothing is near.
    """
    *name, text = fields(pair)
    return " " + " | ".join([*name, target(pair.near).strip(), text])


def fields(pair):
    """Returns the words of a pair's name, the name, where it stands, its arguments, and its text, cut to what is looked at."""
    name, *_ = pair.signature.partition("(")
    *path, last = name.split(".")
    place = " ".join([*reversed(path[1:][-2:]), *path[:1]])
    given = arguments(pair.signature)[:_LONGEST_ARGUMENTS]
    return [own_name(pair), last, place, given, " ".join(pair.text[:_LONGEST].split())]


def own_name(pair):
    """Returns the words of the name of what a pair describes."""
    return spoken(pair.signature.partition("(")[0].split(".")[-1])


def spoken(identifier):
    """Returns the words of an identifier: "to_denseArray" is "to dense array"."""
    return " ".join(_BORDERS.sub(" ", identifier).split()).lower()


def arguments(signature):
    """Returns the words of the names of a signature's arguments, without `self` and `cls`."""
    _, opened, rest = signature.partition("(")
    if not opened:
        return ""
    given = ast.parse(f"def f({rest}: pass").body[0].args
    every = [
        *given.posonlyargs,
        *given.args,
        *filter(None, [given.vararg]),
        *given.kwonlyargs,
        *filter(None, [given.kwarg]),
    ]
    return ", ".join(spoken(each.arg) for each in every if each.arg not in ("self", "cls"))


def target(summary):
    """Returns a summary as it is predicted: with a space before it, and no capital where a plain word begins it."""
    summary = " ".join(summary.split())
    plain = _PLAIN.match(summary)
    return " " + (summary[0].lower() + summary[1:] if plain else summary)


def restored(text):
    """Returns the summary that `target` made the text of."""
    text = text.strip()
    return text[:1].upper() + text[1:]
