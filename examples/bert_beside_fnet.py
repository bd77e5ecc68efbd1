"""FNet beside BERT of the same size, for as many steps, at several lengths: seconds of a step, and held-out loss.

    python examples/bert_pretraining.py --model fnet --lengths 128 512 2048 --steps 300

The two take turns, some steps each, so that what else the machine does costs both. Each sees the same batches, of as many tokens
at every length; documents that are shorter than a row are joined.
"""

import statistics
import time

import keras
import numpy as np
from bert_batches import PretrainingBatches

TOKENS = 2048  # a batch
TURNS = 10
HELD_OUT = 24  # batches


def joined(documents, least):
    """Returns the documents, those that are short joined with the next ones to `least` tokens or more."""
    found, open_size = [], least
    for document in documents:
        if open_size >= least:
            found.append([])
            open_size = 0
        found[-1].extend(document)
        open_size += sum(map(len, document))
    return found


class Clock(keras.callbacks.Callback):
    """Notes the seconds of each step."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits for the step
        self.seconds.append(time.perf_counter() - self.start)


def compare(models, documents, tokenizer, length, steps, batch, compile_model):
    """Trains models in turns on the same batches.

    Args:
        models: dict from name to a model, not compiled.
        documents: two lists of documents of token ids, to train on and held out.
        tokenizer: of `bert_text.make_tokenizer`.
        length: int, T.
        steps: int, of each model.
        batch: int.
        compile_model: function `(model, steps)`.

    Returns:
        Dict from name to a dict of `milliseconds` (the median of a step), `loss` and `accuracy` of held-out masked tokens; and
        under "ratio" the median over the turns of the first model's seconds over the second's.
    """
    training, held_out = (
        PretrainingBatches(joined(part, 2 * length), tokenizer, length, batch, "token") for part in documents
    )
    training.steps, held_out.steps = max(2, steps // TURNS), min(HELD_OUT, held_out.steps)
    turns = {name: [] for name in models}
    for model in models.values():
        compile_model(model, TURNS * training.steps)
    for turn in range(TURNS):
        training.start_epoch(turn)
        for name, model in models.items():
            clock = Clock()
            model.fit(training, initial_epoch=turn, epochs=turn + 1, callbacks=[clock], shuffle=False, verbose=0)
            turns[name].append(statistics.median(clock.seconds))
    rows = {}
    for name, model in models.items():
        scores = model.evaluate(held_out, verbose=0, return_dict=True)
        rows[name] = {
            "milliseconds": 1000 * statistics.median(turns[name]),
            "loss": scores["masked_lm_loss"],
            "accuracy": scores["masked_lm_accuracy"],
        }
    first, second = turns.values()
    rows["ratio"] = statistics.median(one / other for one, other in zip(first, second, strict=True))
    rows["filled"] = float(np.mean(training.pairs["token_ids"] != tokenizer.pad_id))
    return rows


def heading(names):
    """Returns the heading of the table."""
    one, other = names
    step = f"ms a step: {one}, {other}, ratio"
    return f"length    batch    filled   {step:32} held-out loss     accuracy"


def spelled(length, batch, rows):
    """Returns the rows of a length as a line of the table."""
    one, two = list(rows.values())[:2]
    return (
        f"{length:6} {batch:3} x {length:<5} {rows['filled']:6.2f}   "
        f"{one['milliseconds']:9.0f} {two['milliseconds']:9.0f} {rows['ratio']:10.2f}   "
        f"{one['loss']:.3f} {two['loss']:.3f}   {one['accuracy']:.4f} {two['accuracy']:.4f}"
    )
