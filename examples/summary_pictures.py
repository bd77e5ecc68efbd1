"""Which words of a summary were copied: how much of each token's probability came from the text."""

import keras
import numpy as np
from keras import ops
from translation_training import END, START

from keras_tx.decoding.text import text_of


def copied_shares(model, source, target):
    """Returns for each token of a target the share of its probability that was copied from the source, float (T,).

    `CopyLogits` adds log(p / ((1 - g) softmax)) to the logit of a token, p its whole probability; the share is 1 - exp(-that).

    Args:
        model: `Translator` with `copies`.
        source: list of ids.
        target: list of ids.
    """
    both = keras.Model(model.inputs, [model.get_layer("logits").output, model.output])
    inputs = {"source_ids": np.array([source]), "target_ids": np.array([[START, *target[:-1]]])}
    written, mixed = (ops.convert_to_numpy(each)[0] for each in both(inputs))
    places = np.arange(len(target)), np.array(target)
    return -np.expm1(-np.maximum(mixed[places].astype("float64") - written[places], 0.0))


def draw_copies(tokenizer, source, target, shares, path):
    """Draws the share that was copied of each token of a summary.

    Args:
        tokenizer: keras-hub tokenizer.
        source: list of ids.
        target: list of ids, ended by `END`.
        shares: float array (T,), from `copied_shares`.
        path: file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(max(6.0, 0.55 * len(target)), 3.6))
    axis.bar(range(len(target)), shares, color="tab:orange")
    names = [text_of(np.array([token]), tokenizer).strip() if token != END else "(end)" for token in target]
    axis.set_xticks(range(len(target)), [name or "␣" for name in names], rotation=60, ha="right")
    axis.set(ylim=(0, 1), ylabel="copied from the text")
    text = text_of(np.array(source), tokenizer).strip()
    fitting = int(13 * figure.get_figwidth())  # letters of this size
    axis.set_title(text if len(text) <= fitting else text[: fitting - 1] + "…", fontsize=8, parse_math=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
