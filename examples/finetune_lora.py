"""Fine-tunes SmolLM2 with low-rank adapters: the name, the arguments and the text of a docstring in, its first line out.

    make chat ARGS="--prompt Hello"           # installs the model
    python examples/finetune_lora.py [--pairs N] [--minutes M] [--held-out N] [--rank R] [--output FOLDER]

The pairs are docstrings of the installed packages; what is reported comes from files that training never saw. Only the
tokens of the answers count in the loss. The adapters are merged, written as a folder of Hugging Face, and exported as a
SavedModel from text to text.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import docstring_pairs
import keras
import numpy as np
import review_classifier
import smollm2
from summary_baselines import first_words, nearest_summaries, rouge

import keras_tx
from keras_tx import adapters, decoding, layers
from keras_tx.applications import load_huggingface, load_tokenizer, save_huggingface, save_tokenizer
from keras_tx.losses import TokenCrossentropy
from keras_tx.schedules import LinearWarmUpDecay

PROMPT_LENGTH, ANSWER_LENGTH, BATCH = 160, 32, 4  # tokens, tokens, examples
TARGETS = ("query", "key", "value", "attention_output", "gate", "intermediate", "output_dense")
RATE = 5e-4
TASK = "Write the first line of the docstring: one short sentence."
WORDS = 12  # of a text, that are compared as a summary


def prompts(tokenizer, pairs):
    """Returns the prompt of each pair, list of str: a chat whose text is cut so that the whole has `PROMPT_LENGTH` tokens."""

    def chat(text):
        return tokenizer.chat_prompt([{"role": "system", "content": TASK}, {"role": "user", "content": text}])

    room = PROMPT_LENGTH - len(tokenizer.tokenize(chat("")))
    texts = [f"{pair.signature}\n{pair.text}" for pair in pairs]
    # Cut texts may end within a character, and spelled again they may take a token more.
    ids = [row[: room - 2] for row in tokenizer.tokenize(texts)]
    return [chat(text.rstrip("\ufffd")) for text in tokenizer.detokenize(ids)]


def examples(tokenizer, pairs):
    """Returns what the trainer is fitted on: a dict of ids (N, T) and positions (N, A), and labels (N, A) that end in zeros."""
    stop = tokenizer.stop_ids[0]
    ids = np.zeros((len(pairs), PROMPT_LENGTH + ANSWER_LENGTH), "int32")
    positions, labels = (np.zeros((len(pairs), ANSWER_LENGTH), "int32") for _ in range(2))
    answers = tokenizer.tokenize([pair.summary for pair in pairs])
    for row, prompt in enumerate(tokenizer.tokenize(prompts(tokenizer, pairs))):
        answer = [*answers[row][: ANSWER_LENGTH - 1], stop]
        ids[row, : len(prompt) + len(answer)] = [*prompt, *answer]
        positions[row] = len(prompt) - 1 + np.arange(ANSWER_LENGTH)  # each token is predicted by the one before
        labels[row, : len(answer)] = answer
    return {"token_ids": ids, "positions": positions}, labels


def trainer(model, steps):
    """Returns a model of the same weights from ids and the positions of the answers to logits (B, A, V) there alone, compiled."""
    positions = keras.Input((None,), dtype="int32", name="positions")
    hidden = model.get_layer("final_norm").output  # (B, T, D)
    answers = layers.GatherPositions(name="answers")(hidden, positions)  # (B, A, D)
    inputs = {"token_ids": model.inputs[0], "positions": positions}
    fitted = keras.Model(inputs, model.get_layer("logits")(answers), name="trainer")
    fitted.compile(
        keras.optimizers.AdamW(LinearWarmUpDecay(RATE, steps, steps // 10), weight_decay=0.0, clipnorm=1.0),
        TokenCrossentropy(padding_id=0),
        jit_compile=keras.backend.backend() != "torch",
    )
    return fitted


class Progress(keras.callbacks.Callback):
    """Prints how far the training is, now and then, and ends it when its time is over."""

    def __init__(self, steps, minutes):
        super().__init__()
        self.steps, self.seconds = steps, 60 * minutes
        self.first = self.last = self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.last = now = time.perf_counter()
        if self.done == 1:  # which compiled
            self.first = now
        elif self.done % 10 == 0 or self.done == self.steps:
            each = (now - self.first) / (self.done - 1)
            left = each * (self.steps - self.done) / 60
            said = f"mean loss {logs['loss']:.3f}, {each:.1f} s a step, {left:.0f} min left"
            print(f"  step {self.done} of {self.steps}: {said}", flush=True)
        if now - self.first > self.seconds:
            print(f"  stopped after {self.done} steps, as --minutes says")
            self.model.stop_training = True


def tune(fitted, tokenizer, pairs, minutes):
    """Fits the trainer, each pair once; returns how many pairs it has seen, and the seconds that one took."""
    inputs, labels = examples(tokenizer, pairs)
    progress = Progress(len(labels) // BATCH, minutes)
    whole = BATCH * progress.steps
    inputs = {name: array[:whole] for name, array in inputs.items()}
    fitted.fit(inputs, labels[:whole], batch_size=BATCH, verbose=0, callbacks=[progress])
    seconds = progress.last - progress.first
    return progress.done * BATCH, seconds / max(1, progress.done - 1) / BATCH


def measure(fitted, model, tokenizer, pairs):
    """Returns the loss on the answers, in nats a token, and the model's own summaries."""
    inputs, labels = examples(tokenizer, pairs)
    total = 0.0
    for first in range(0, len(labels), BATCH):  # one by one: batches differ in how many tokens they have
        rows = slice(first, first + BATCH)
        batch = {name: array[rows] for name, array in inputs.items()}
        total += fitted.evaluate(batch, labels[rows], batch_size=BATCH, verbose=0) * (labels[rows] != 0).sum()
    return float(total / (labels != 0).sum()), summarize(model, tokenizer, prompts(tokenizer, pairs))


def summarize(model, tokenizer, texts):
    """Returns the first line of a model's answer to each prompt."""
    found = []
    for first in range(0, len(texts), 8):
        group = texts[first : first + 8]
        answers = decoding.generate(model, group, ANSWER_LENGTH, tokenizer=tokenizer)
        found += [_first_line(answer, prompt) for answer, prompt in zip(answers, group, strict=True)]
    return found


def _first_line(answer, prompt):
    return answer.removeprefix(prompt).strip().partition("\n")[0]


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=1000, help="docstrings to train on, each once")
    parser.add_argument("--minutes", type=float, default=60, help="when training ends at the latest")
    parser.add_argument("--held-out", type=int, default=100, help="docstrings to report on")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("outputs/finetune_lora"))
    options = parser.parse_args()
    if options.pairs < BATCH or options.held_out < 1:
        parser.error(f"--pairs must be {BATCH} at least, and --held-out 1.")
    began = time.perf_counter()
    keras.utils.set_random_seed(0)
    model, tokenizer = smollm2.load()
    print("Reading the docstrings of the installed packages ...", flush=True)
    every, held_out = docstring_pairs.load()
    training, held_out = every[: options.pairs], held_out[: options.held_out]
    print(f"{len(training)} pairs of {len(every)} to train on, {len(held_out)} held out")

    paths = adapters.enable_lora(model, options.rank, TARGETS, alpha=2 * options.rank)
    fitted = trainer(model, len(training) // BATCH)
    trained = sum(int(np.prod(weight.shape)) for weight in fitted.trainable_weights)
    print(f"{len(paths)} adapters: {trained:,} of {model.count_params():,} weights are trained", flush=True)
    print("Measuring before (the first batch compiles for a minute or two) ...", flush=True)
    before, summaries_before = measure(fitted, model, tokenizer, held_out)  # the adapters begin as zeros
    print(f"Held-out loss before: {before:.3f} nats a token. Training ...", flush=True)
    seen, seconds = tune(fitted, tokenizer, training, options.minutes)
    print(f"{seen} pairs seen, {seconds:.2f} s a pair", flush=True)
    after, summaries_after = measure(fitted, model, tokenizer, held_out)

    folder = options.output / "merged"
    save_huggingface(model, folder)
    save_tokenizer(tokenizer, folder)
    rows = {
        f"the text's first {WORDS} words": first_words([pair.text for pair in held_out], WORDS),
        "nearest of the pairs trained on": nearest_summaries(training, held_out),
        f"nearest of all {len(every)} pairs": nearest_summaries(every, held_out),
        "SmolLM2 before": summaries_before,
        "SmolLM2 after": summaries_after,
    }
    print(
        f"\nHeld-out loss, nats a token: {before:.3f} before, {after:.3f} after. F1 on {len(held_out)} held-out docstrings:"
    )
    for name, summaries in rows.items():
        scores = rouge([pair.summary for pair in held_out], summaries)
        print(f"  {name:32}", "  ".join(f"{key} {value:.3f}" for key, value in scores.items()))
    for pair, ours in list(zip(held_out, summaries_after, strict=True))[:3]:
        print(f"    {pair.signature[:100]}\n      summary: {pair.summary}\n      model:   {ours}")
    print(f"\nMerged: {folder}")
    if keras.backend.backend() == "tensorflow":
        serve(folder, options.output / "saved_model", prompts(tokenizer, held_out[:3]))
    print(f"Done in {(time.perf_counter() - began) / 60:.0f} min.")


def serve(folder, path, texts):
    """Exports the merged model from text to text, and prints what it answers in a new process without this package."""
    merged, tokenizer = load_huggingface(folder), load_tokenizer(folder)
    keras_tx.export.export_generator(merged, path, tokenizer, ANSWER_LENGTH, max_prompt_length=PROMPT_LENGTH)
    print(f"SavedModel: {path}. In a new process that has only TensorFlow and tensorflow-text:")
    for answer, prompt in zip(review_classifier.serve(path, texts), texts, strict=True):
        print(f"  {_first_line(answer['answer'], prompt)}")


if __name__ == "__main__":
    main()
