"""What the 72 heads of all-MiniLM-L6-v2 attend to, with pictures, and a page to look at each.

    python examples/attention_patterns.py --output outputs/patterns --html outputs/patterns/heads.html

measures each head on a few texts, prints the table and draws it, all heads on one sheet, and how the word "bank" drifts apart by
depth in sentences on rivers and on money. The page stands alone: choose a layer and a head, and put the pointer on a word.
"""

import argparse
import json
import string
import time
from pathlib import Path

import minilm
import numpy as np

TEXTS = (
    "The heavy rain went on for days. The river burst its bank, and the fields were lost.",
    "She sat on the bank of the river. The water was cold, and the boats were slow.",
    "The bank raised the price of its loans. Few people could pay, and many sold their houses.",
    "He took his money to the bank. The clerk counted it twice, and gave him a receipt.",
)
WORD = "bank"  # once in each: of two on rivers and two on money


def inputs_of(token_ids):
    """Returns the inputs of BERT for token ids (B, T)."""
    return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids)}


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
    parser.add_argument("--output", default="outputs/patterns", help="folder of the pictures")
    parser.add_argument("--html", help="file of the page, if one is to be written")
    options = parser.parse_args()
    from bert_text import make_tokenizer

    from keras_tx import analysis
    from keras_tx.applications import load_huggingface

    folder, output = minilm.unpack(), Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    vocabulary = minilm.vocabulary(folder)
    token_ids = np.asarray(make_tokenizer(vocabulary, minilm.SEQUENCE_LENGTH)(list(TEXTS)), "int32")
    token_ids = token_ids[:, : int((token_ids != 0).sum(axis=1).max())]
    places = {token: place for place, token in enumerate(vocabulary)}
    encoder, started = load_huggingface(folder), time.perf_counter()
    patterns = analysis.attention_patterns(
        encoder,
        inputs_of(token_ids),
        separators=[places["[CLS]"], places["[SEP]"]],
        punctuation=[places[mark] for mark in string.punctuation if mark in places],
        parts=sentences(token_ids, places["."]),
        effects="all",
    )
    seconds = time.perf_counter() - started
    print(patterns.table())
    words = [vocabulary[token] for token in token_ids[0] if token]
    analysis.plots.plot_patterns(patterns.labels, "The heads of MiniLM by depth", output / "labels.png")
    analysis.plots.plot_heads(patterns.maps, words, labels=patterns.labels, path=output / "heads.png")
    curves = drift(analysis.similarity(encoder, inputs_of(token_ids)), token_ids, places[WORD])
    analysis.plots.plot_by_depth(curves, title=f'"{WORD}" in two sentences, by depth', path=output / "drift.png")
    if options.html:
        Path(options.html).write_text(page(patterns, words), encoding="utf-8")
    labels = [label for heads in patterns.labels.values() for label in heads]
    last = {name: round(list(curve.values())[-1], 3) for name, curve in curves.items()}
    effects = np.concatenate(list(patterns.effects.values()))
    print(
        json.dumps(
            {
                "heads": {label: labels.count(label) for label in sorted(set(labels))},
                "least_effect": round(float(effects.min()), 4),
                "largest_effect": round(float(effects.max()), 4),
                "last_cosines": last,
                "seconds": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
