"""The summarizer of lectures: a decoder alone that reads text, a delimiter and the summary, and a loss on the summary only.

It first learns to predict text and to quote how it began, then to sum it up.
"""

import time

import keras
import numpy as np
import summary_texts
import summary_training
import text_tokens
from translation_training import START, Batches, make_optimizer, train

from keras_tx import decoding, layers
from keras_tx.applications import GPT
from keras_tx.decoding.text import text_of

SIZE = {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "dropout": 0.05}
NAME, EPOCHS = "GPT with a delimiter", 2
WINDOWS = 32  # of text, in a batch of the first phase
STEPS = 400  # of the first phase, or as many as read the text once
DELIMITER = START


class DecoderBatches(Batches):
    """Batches of text, delimiter and summary in one row, with the positions from which the summary's tokens are predicted."""

    def __getitem__(self, index):
        inputs, labels = super().__getitem__(index)
        ids = inputs["source_ids"]
        first = (ids != 0).sum(axis=1) - (labels != 0).sum(axis=1)  # where the delimiter stands
        positions = np.minimum(first[:, None] + np.arange(labels.shape[1]), ids.shape[1] - 1)
        return {"token_ids": ids, "positions": positions.astype("int32")}, labels


def fit(parts, tokenizer, seed, epochs, lengths):
    """Returns a decoder trained on the pairs of the parts, after it has learned to predict text, and the seconds that took."""
    keras.utils.set_random_seed(seed)
    texts, summaries = summary_training.encoded(tokenizer, parts.training + parts.short)
    longest, longest_summary = summary_training.LENGTHS[-1]
    model = GPT(
        tokenizer.vocabulary_size(), longest + longest_summary, positions="rotary", attention_dropout=0.0, **SIZE
    )
    start = time.perf_counter()
    pretrain(model, text_tokens.in_a_row(texts), longest)
    rows = [[*text, DELIMITER, *summary[:-1]] for text, summary in zip(texts, summaries, strict=True)]
    lengths = [(text + summary, summary) for text, summary in lengths]
    train(
        trainer(model),
        DecoderBatches(rows, summaries, lengths, summary_training.TOKENS, seed),
        epochs,
        summary_training.OPTIMIZER,
        summary_training.AVERAGE,
    )
    return model, time.perf_counter() - start


def trainer(model):
    """Returns a model of the same weights that gives logits at the positions of the summary alone."""
    positions = keras.Input((None,), dtype="int32", name="positions")
    summary = layers.GatherPositions(name="summary")(model.get_layer("final_norm").output, positions)  # (B, A, D)
    inputs = {"token_ids": model.inputs[0], "positions": positions}
    return keras.Model(inputs, model.get_layer("logits")(summary), name="trainer")


def pretrain(model, tokens, length):
    """Fits the model to predict each next token of the texts, and to quote how they began."""
    steps = max(1, min(STEPS, len(tokens) // (length * WINDOWS)))
    model.compile(
        make_optimizer(summary_training.OPTIMIZER, steps, model),
        # The mean over the text's tokens, not over the zeros behind them.
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
        jit_compile=True,
    )
    windows = text_tokens.repeating_windows(tokens, length, WINDOWS, [DELIMITER])
    model.fit(windows, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=2)


def summarize(model, tokenizer, pairs, sampler, batch=64):
    """Returns the model's summary of each pair."""
    longest, longest_summary = summary_training.LENGTHS[-1]
    rows = [[*ids, DELIMITER] for ids in summary_training.prepared(tokenizer, pairs, longest)]
    order, found = sorted(range(len(rows)), key=lambda index: len(rows[index])), [""] * len(rows)
    for first in range(0, len(order), batch):
        group = order[first : first + batch]
        prompts = [rows[index] for index in group]
        tokens = decoding.generate(model, prompts, longest_summary - 1, sampler, stop_ids=summary_training.END)
        for index, prompt, ids in zip(group, prompts, tokens, strict=True):
            new = ids[len(prompt) :]
            found[index] = summary_texts.restored(text_of(new[new > summary_training.END], tokenizer))
    return found
