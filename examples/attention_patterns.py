"""What the 72 heads of all-MiniLM-L6-v2 attend to, or the 270 of SmolLM2, with pictures, and a page to look at each.

    python examples/attention_patterns.py --output outputs/patterns --html outputs/patterns/heads.html

measures each head on a few texts, prints the table and draws it, all heads on one sheet, how far they look by depth, and how the
word "bank" drifts apart by depth in sentences on rivers and on money. The page stands alone: choose a layer and a head, and put
the pointer on a word.

    python examples/attention_patterns.py --model smollm2 --effects-by gradient

does so for SmolLM2-135M, whose weights are 93 MB more (`make chat` installs them), but for the drift: a causal model has not
read the end of a sentence when it comes to its subject.
"""

import argparse
import json
import string
import time
from pathlib import Path
from typing import Any, NamedTuple

import minilm
import numpy as np

TEXTS = (
    "The heavy rain went on for days. The river burst its bank, and the fields were lost.",
    "She sat on the bank of the river. The water was cold, and the boats were slow.",
    "The bank raised the price of its loans. Few people could pay, and many sold their houses.",
    "He took his money to the bank. The clerk counted it twice, and gave him a receipt.",
)
WORD = "bank"  # once in each: of two on rivers and two on money


class Read(NamedTuple):
    """A model and the texts as it reads them: ids of separators, marks and the full stop, and the tokens of the first text."""

    title: str
    model: Any
    inputs: Any
    token_ids: np.ndarray
    separators: list
    punctuation: list
    stop: int
    words: list


def read_by_minilm():
    """Returns what MiniLM is and reads, the shorter texts filled up."""
    from bert_text import make_tokenizer

    from keras_tx.applications import load_huggingface

    folder = minilm.unpack()
    vocabulary = minilm.vocabulary(folder)
    places = {token: place for place, token in enumerate(vocabulary)}
    token_ids = np.asarray(make_tokenizer(vocabulary, minilm.SEQUENCE_LENGTH)(list(TEXTS)), "int32")
    token_ids = token_ids[:, : int((token_ids != 0).sum(axis=1).max())]
    return Read(
        "MiniLM",
        load_huggingface(folder),
        {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids)},
        token_ids,
        [places["[CLS]"], places["[SEP]"]],
        [places[mark] for mark in string.punctuation if mark in places],
        places["."],
        [vocabulary[token] for token in token_ids[0] if token],
    )


def read_by_smollm2():
    """Returns what SmolLM2 is and reads: no separators, and the longer texts cut, for it knows of no padding."""
    import smollm2

    model, tokenizer = smollm2.load()
    rows = [np.asarray(tokenizer.tokenize(text)).tolist() for text in TEXTS]
    length = min(map(len, rows))
    token_ids = np.array([row[:length] for row in rows], "int32")
    words = {token: tokenizer.id_to_token(token) for token in sorted({token for row in rows for token in row})}
    marks = [token for token, word in words.items() if word in string.punctuation]
    stop = next(token for token, word in words.items() if word == ".")
    shown = [words[token].lstrip("\u0120") for token in token_ids[0].tolist()]  # which stands for a space
    return Read("SmolLM2", model, token_ids, token_ids, [], marks, stop, shown)


READERS = {"minilm": read_by_minilm, "smollm2": read_by_smollm2}


def sentences(token_ids, stop):
    """Returns the number of the sentence of each token, (B, T): how many full stops stand before it."""
    stops = token_ids == stop
    return (np.cumsum(stops, axis=1) - stops).astype("int32")


def drift(vectors, token_ids, word_id):
    """Returns the cosines by depth of each pair of texts' words, a dict from what the pair is to a dict by layer."""
    places = [(row, int(np.flatnonzero(ids == word_id)[0])) for row, ids in enumerate(token_ids)]
    kinds = ("river", "river", "money", "money")
    pairs = [(0, 1), (2, 3), (0, 2), (0, 3), (1, 2), (1, 3)]
    names = [f"{kinds[one]} {one} and {kinds[other]} {other}" for one, other in pairs]
    return {name: vectors.between(places[one], places[other]) for name, (one, other) in zip(names, pairs, strict=True)}


def page(patterns, words, row=0):
    """Returns a page of HTML, which needs no other file, of one text's weights."""
    count = len(words)
    layers = [
        {
            "name": name,
            "labels": patterns.labels[name],
            "weights": np.round(scores[row, :, :count, :count].astype("float64"), 3).tolist(),
        }
        for name, scores in patterns.maps.items()
    ]
    data = json.dumps({"words": words, "layers": layers}).replace("<", "\\u003c")
    return PAGE.replace("DATA", data)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Attention heads</title>
<style>
body { font: 15px sans-serif; margin: 2em; } svg { display: block; margin-top: 1em; }
text { cursor: pointer; } text.on { font-weight: bold; }
</style>
<label>layer <select id="layer"></select></label> <label>head <select id="head"></select></label> <b id="label"></b>
<p>The left words attend to the right ones. Put the pointer on a word on the left to see its weights alone.</p>
<svg id="drawing" width="560"></svg>
<script>
const data = DATA, step = 22, left = 150, right = 380;
const get = id => document.getElementById(id);
const fill = (select, names) => { select.innerHTML = ""; names.forEach((name, i) => select.add(new Option(name, i))); };
function make(kind, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  if (text !== undefined) node.textContent = text;
  return get("drawing").appendChild(node);
}
function draw(only) {
  const layer = data.layers[get("layer").value], weights = layer.weights[get("head").value];
  const shown = only === undefined ? null : weights[only], y = i => step * (i + 0.7);
  get("label").textContent = layer.labels[get("head").value];
  get("drawing").innerHTML = "";
  get("drawing").setAttribute("height", step * (data.words.length + 1));
  weights.forEach((row, t) => row.forEach((weight, s) => {
    if (weight > 0.01 && (only === undefined || only === t)) make("line", {x1: left + 6, x2: right - 6, y1: y(t), y2: y(s),
      stroke: "#1f5a99", "stroke-width": 0.3 + 6 * weight, "stroke-opacity": 0.15 + 0.85 * weight});
  }));
  data.words.forEach((word, i) => {
    const name = make("text", {x: left, y: y(i) + 5, "text-anchor": "end", class: i === only ? "on" : ""}, word);
    name.addEventListener("pointerenter", () => { if (i !== only) draw(i); });
    make("text", {x: right, y: y(i) + 5}, shown && shown[i] >= 0.005 ? word + "  " + shown[i].toFixed(2) : word);
  });
}
fill(get("layer"), data.layers.map(layer => layer.name));
const heads = () => fill(get("head"), data.layers[get("layer").value].labels.map((label, i) => i + ": " + label));
get("layer").addEventListener("change", () => { heads(); draw(); });
get("head").addEventListener("change", () => draw());
get("drawing").addEventListener("pointerleave", () => draw());
heads(); draw();
</script></html>
"""


def main():
    """Measures, draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=READERS, default="minilm")
    parser.add_argument(
        "--effects-by", choices=("ablation", "gradient"), default="ablation", help="how effects are told"
    )
    parser.add_argument("--output", default="outputs/patterns", help="folder of the pictures")
    parser.add_argument("--html", help="file of the page, if one is to be written")
    options = parser.parse_args()
    from keras_tx import analysis

    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    read = READERS[options.model]()
    started = time.perf_counter()
    patterns = analysis.attention_patterns(
        read.model,
        read.inputs,
        token_ids=read.token_ids,
        separators=read.separators,
        punctuation=read.punctuation,
        parts=sentences(read.token_ids, read.stop),
        effects="all",
        effects_by=options.effects_by,
    )
    seconds = time.perf_counter() - started
    print(patterns.table())
    analysis.plots.plot_patterns(patterns.labels, f"The heads of {read.title} by depth", output / "labels.png")
    analysis.plots.plot_heads(patterns.maps, read.words, labels=patterns.labels, path=output / "heads.png")
    distances = analysis.token_distances(read.model, read.inputs)
    title = f"How far the heads of {read.title} look"
    analysis.plots.plot_attention_distances(distances, title, output / "distances.png", unit="tokens")
    labels = [label for heads in patterns.labels.values() for label in heads]
    effects = np.concatenate(list(patterns.effects.values()))
    means = {name: rows.mean(axis=0) for name, rows in distances.items()}
    found = {
        "model": options.model,
        "heads": {label: labels.count(label) for label in sorted(set(labels))},
        "effects_by": options.effects_by,
        "least_effect": round(float(effects.min()), 4),
        "largest_effect": round(float(effects.max()), 4),
        "mean_distance_by_layer": {name: round(float(each.mean()), 2) for name, each in means.items()},
        "least_and_largest_distance": [
            round(float(f([f(each) for each in means.values()])), 2) for f in (np.min, np.max)
        ],
        "seconds": round(seconds, 1),
    }
    if options.model == "minilm":
        word_id = int(read.token_ids[0, read.words.index(WORD)])
        curves = drift(analysis.similarity(read.model, read.inputs), read.token_ids, word_id)
        analysis.plots.plot_by_depth(curves, title=f'"{WORD}" in two sentences, by depth', path=output / "drift.png")
        found["last_cosines"] = {name: round(list(curve.values())[-1], 3) for name, curve in curves.items()}
    if options.html:
        Path(options.html).write_text(page(patterns, read.words), encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
