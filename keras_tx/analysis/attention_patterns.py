"""What each head of a model attends to: neighbours, itself, the same token, separators, or everything alike."""

from typing import NamedTuple

import numpy as np

from . import attention_trace, head_effects, pattern_arguments
from .attention_maps import attention_maps
from .head_measures import MEASURES, PLACES, measure

_SINKS = ("separator", "first")


class AttentionPatterns(NamedTuple):
    """What the heads of a model attend to, as `attention_patterns` returns it.

    Attributes:
        values: dict from layer name to a dict from measure to float32 array (N,), nan where it has no meaning.
        labels: dict from layer name to a list of N strings.
        effects: dict from layer name to float32 array (N,): how much the model's outputs change without the head, nan where it
            was not asked for.
        maps: dict from layer name to the weights that were measured, as `attention_maps` returns them.
        thresholds: dict: "attends" for the weight above which a head has a label, "broad" for the entropy, "null" for the
            effect.
    """

    values: dict
    labels: dict
    effects: dict
    maps: dict
    thresholds: dict

    def table(self) -> str:
        """Returns a line of text for each head: its layer, number, label and measures, "-" where one has no meaning."""
        width = max(map(len, self.labels))
        shown = [name for name in MEASURES if any(not np.isnan(each[name]).all() for each in self.values.values())]
        rows = [f"{'layer':{width}} head {'label':11} " + " ".join(f"{name:>11}" for name in (*shown, "effect"))]
        for path, labels in self.labels.items():
            for head, label in enumerate(labels):
                numbers = [self.values[path][name][head] for name in shown]
                cells = ["-" if np.isnan(each) else f"{each:.2f}" for each in numbers]
                effect = self.effects[path][head]
                cells.append("-" if np.isnan(effect) else f"{effect:.4f}")
                rows.append(f"{path:{width}} {head:4} {label:11} " + " ".join(f"{cell:>11}" for cell in cells))
        return "\n".join(rows)


def attention_patterns(
    model,
    inputs,
    token_ids=None,
    separators=(),
    punctuation=(),
    parts=None,
    mask=None,
    context_ids=None,
    effects="sinks",
    effects_by="ablation",
    threshold=0.5,
    broad_threshold=0.9,
    null_threshold=0.01,
) -> AttentionPatterns:
    """Measures how much each head of a functional model attends to certain keys, and names the pattern that it follows.

    Each measure is the mean, over real queries that have such a key, of the weight that goes there:

    - "next", "previous", "self": the key one after the query, one before, the query itself;
    - "same": the other positions that hold the query's token;
    - "separator": the separators, over queries that are not separators;
    - "punctuation": the punctuation marks;
    - "first": the first real key, of all other queries;
    - "own_part": (a - u) / (1 - u) of the weight a of keys in the query's own part, such as its sentence, where u is what an
      even attention gives them: 0 for no preference, 1 for all;
    - "entropy": the entropy of the weights over that of even ones, over the keys that any head of the layer attends to.

    A head has the label of the largest of the first seven that is above `threshold`; else "own_part" if that is; else "broad" if
    the entropy is above `broad_threshold`; else "mixed". A "separator" or "first" head is "null" if the model's outputs stay
    what they are without it: the root of the mean square of their change is below `null_threshold` times that of the outputs.
    The change is measured by a run without the head, or estimated by the gradient of a gate that is multiplied to what the head
    gives: the outputs without it, if they went on as they begin to. All heads take one run and eight gradients so, with random
    signs. The estimate is off by about 1 / (4 sqrt(B)) of itself, and by more where the model bends; a layer that has no
    gradient, such as one that rounds, hides the heads before it.

    A separator that attends to itself or to another says nothing of what other tokens do, so its queries do not count for
    "separator"; the paper below reports both apart. A query with one key alone has no choice and does not count: one of a
    sequence of one, and the first of a layer without weight above the diagonal. Attention to another sequence has no
    neighbours, and only "separator", "first", "punctuation" and "entropy"; on maps, such as in windows, positions are in
    row-major order and neighbours are those to the left and right.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        inputs: a tensor or array, or several in the structure of the model's inputs.
        token_ids: integers (B, T), the tokens of the positions; `None` for the model's input "token_ids", or its only input if
            that is of integers. Layers on other positions than these have no "same", "separator" and "punctuation".
        separators: ids of separators, such as of [SEP] and [CLS].
        punctuation: ids of punctuation marks.
        parts: integers (B, T), such as 0 for a first sentence and 1 for a second; or `None`.
        mask: booleans (B, T), True at real positions; `None` where padding attends to nothing, as in this package's layers.
        context_ids: integers (B, S), the tokens that cross-attention attends to; or `None`.
        effects: whose effects are asked for: "sinks" for the heads with the label "separator" or "first", "all", or `None` for
            none, and none is "null" then.
        effects_by: "ablation", a run without each of these heads, or "gradient", the cheap estimate; the rows of the batch must
            not depend on each other then.
        threshold: float in (0, 1).
        broad_threshold: float in (0, 1).
        null_threshold: float above 0.

    Returns:
        An `AttentionPatterns`.

    Raises:
        ValueError: if the model is a subclassed one or has no attention, an argument has another shape or no such value, or the
            effect of a head is asked for where there is no output of floats or the head cannot be switched off, as
            `ablate_heads` says.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 16, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    patterns = keras_tx.analysis.attention_patterns(model, np.array([[7, 8, 9, 7, 8]]))
    print(patterns.table())
    patterns.labels["decoder_0"]  # ["mixed", "broad"], or others, as the weights are random
    ```

    Reference:
        Clark et al. 2019, "What Does BERT Look At? An Analysis of BERT's Attention", section 3: over half of the attention to the
        neighbour or to separators, gradients that tell whether that does anything, and broad heads by their entropy. The bounds
        0.9 and 0.01 are this package's.
    """
    thresholds = pattern_arguments.checked_thresholds(effects, effects_by, threshold, broad_threshold, null_threshold)
    ids = (
        pattern_arguments.ids_of(model, inputs)
        if token_ids is None
        else pattern_arguments.whole_numbers("token_ids", token_ids)
    )
    maps, outputs = attention_maps(model, inputs, return_outputs=True)
    given = {
        "token_ids": ids,
        "parts": None if parts is None else pattern_arguments.whole_numbers("parts", parts),
        "mask": None if mask is None else pattern_arguments.booleans(mask),
    }
    pattern_arguments.check_alike(given)
    context_ids = None if context_ids is None else pattern_arguments.whole_numbers("context_ids", context_ids)
    special = {
        "separators": pattern_arguments.ids("separators", separators),
        "punctuation": pattern_arguments.ids("punctuation", punctuation),
    }
    crossing, values, labels = attention_trace.crossing(model, maps), {}, {}
    pattern_arguments.check_used(maps, crossing, {"token_ids": token_ids, "parts": parts, "mask": mask}, context_ids)
    for path, scores in maps.items():
        folded = scores.reshape(-1, *scores.shape[-3:])  # (B, N, T, S)
        by_query = {name: pattern_arguments.fitting(each, len(folded), folded.shape[2]) for name, each in given.items()}
        crosses = path in crossing
        keys = (
            pattern_arguments.fitting(context_ids, len(folded), folded.shape[3]) if crosses else by_query["token_ids"]
        )
        values[path] = measure(folded, crosses, keys, by_query["mask"], parts=by_query["parts"], **special)
        labels[path] = [_label(values[path], head, thresholds) for head in range(folded.shape[1])]
    changes = {path: np.full(len(names), np.nan, "float32") for path, names in labels.items()}
    asked = {path: _asked(names, effects) for path, names in labels.items()}
    asked = {path: heads for path, heads in asked.items() if heads}
    found = head_effects.WAYS[effects_by](model, asked, inputs, outputs) if asked else {}
    for path, heads in asked.items():
        changes[path][heads] = found[path]
        for head in heads:
            if labels[path][head] in _SINKS and changes[path][head] < null_threshold:
                labels[path][head] = "null"
    return AttentionPatterns(values, labels, changes, maps, thresholds)


def _asked(labels, effects):
    """The heads of a layer whose effects are asked for."""
    return [head for head, label in enumerate(labels) if effects == "all" or effects == "sinks" and label in _SINKS]


def _label(values, head, thresholds):
    found = {name: float(values[name][head]) for name in PLACES}
    name = max(found, key=lambda each: -1.0 if np.isnan(found[each]) else found[each])
    for each in (name, "own_part"):
        if values[each][head] > thresholds["attends"]:
            return each
    return "broad" if values["entropy"][head] > thresholds["broad"] else "mixed"
