"""A Transformer that learns to translate: trained from nothing, decoded by beam search, served without its code.

    python examples/translation.py [--target es|de|fr|ja|ru...] [--dataset cldr|ted] [--epochs N] [--quick]
                                   [--output FOLDER]

The pairs are babel's (see `cldr_pairs.py`); those of TED talks, Portuguese to English, need a network once.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import text_tokens
import translation_baseline
import translation_pairs

import keras_tx
from keras_tx import analysis, decoding
from keras_tx.applications import Translator
from keras_tx.decoding.text import text_of

PADDING, START, END = 0, 1, 2  # the first tokens of the vocabulary, see `text_tokens.SPECIAL`
SIZE = {"num_layers": 3, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "dropout": 0.1}
# The lengths are those of the buckets of `Batches`.
SETTINGS = {
    "cldr": {"vocabulary": 2048, "pairs": 60_000, "lengths": (10, 16, 32), "epochs": 4},
    "ted": {"vocabulary": 8192, "pairs": 51_785, "lengths": (20, 40, 72), "epochs": 8},
}
QUICK_PAIRS = 2_000
TOKENS = 1024  # of a batch's targets
PEAK_RATE = 2e-3  # higher than published, for a shorter training
SAMPLERS = {"greedy": decoding.Greedy(), "beam 4": decoding.Beam(4, length_penalty=0.6)}


class Batches(keras.utils.PyDataset):
    """Batches of rows of about one length, in an order of their own each epoch: little is spent on padding.

    Args:
        sources: list of lists of ids.
        labels: list of lists of ids, each ended by `END`.
        lengths: tuple of ints, what rows are padded to; longer ones are left out.
        tokens: int, of the targets of a batch, padding included.
        seed: int.
    """

    def __init__(self, sources, labels, lengths, tokens, seed=0):
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.buckets = []
        needed = np.array([max(len(row), len(label)) for row, label in zip(sources, labels, strict=True)])
        for shorter, length in zip((0, *lengths), lengths, strict=False):
            rows = np.flatnonzero((needed > shorter) & (needed <= length))
            arrays = [padded([texts[index] for index in rows], length) for texts in (sources, labels)]
            self.buckets.append((*arrays, min(tokens // length, max(len(rows), 1))))
        self.on_epoch_end()

    def on_epoch_end(self):
        """Deals the rows out anew."""
        self.batches = []
        for number, (rows, _, size) in enumerate(self.buckets):
            order = self.random.permutation(len(rows))
            # What is left over waits for another epoch: a batch of another size would be compiled anew.
            self.batches += [(number, order[first : first + size]) for first in range(0, len(rows) - size + 1, size)]
        self.random.shuffle(self.batches)
        # Keras takes from the first two batches which sizes vary, so these differ.
        numbers = [number for number, _ in self.batches]
        other = next((place for place, number in enumerate(numbers) if number != numbers[0]), 0)
        self.batches[1], self.batches[other] = self.batches[other], self.batches[1]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        number, rows = self.batches[index]
        sources, labels, _ = self.buckets[number]
        targets = np.pad(labels[rows, :-1], ((0, 0), (1, 0)), constant_values=START)  # shifted right: teacher forcing
        return {"source_ids": sources[rows], "target_ids": targets}, labels[rows]


def padded(rows, length):
    """Returns lists of ids as an int32 array (B, length)."""
    array = np.full((len(rows), length), PADDING, "int32")
    for place, row in zip(array, rows, strict=True):
        place[: len(row)] = row
    return array


def train(model, batches, epochs):
    """Fits the model by `model.fit` under XLA, as Vaswani et al. 2017 did: Adam, warm-up, smoothed labels, no padding."""
    warm_up, width = max(1, epochs * len(batches) // 10), SIZE["hidden_dim"]
    rate = keras_tx.schedules.Noam(width, warm_up, factor=PEAK_RATE * (width * warm_up) ** 0.5)
    model.compile(
        keras.optimizers.Adam(rate, beta_2=0.98, epsilon=1e-9),
        keras_tx.losses.TokenCrossentropy(label_smoothing=0.1, padding_id=PADDING),
        jit_compile=True,
    )
    return model.fit(batches, epochs=epochs, shuffle=False, verbose=2).history["loss"]


def translate(model, tokenizer, sentences, sampler, longest, batch=64):
    """Returns the translation of each sentence in at most so many tokens, those of about one length together."""
    rows = text_tokens.encode(tokenizer, sentences)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    found = [""] * len(rows)
    for first in range(0, len(order), batch):
        group = order[first : first + batch]
        prompts, context = [[START]] * len(group), {"source_ids": [rows[index] for index in group]}
        tokens = decoding.generate(model, prompts, longest - 1, sampler, stop_ids=END, context=context)
        for index, ids in zip(group, tokens, strict=True):
            found[index] = text_of(ids[ids > END], tokenizer)
    return found


def score(found, pairs, language):
    """Returns BLEU (Papineni et al. 2002) as sacrebleu has it, and the share of sentences that are exactly right."""
    import sacrebleu

    expected = [pair.target for pair in pairs]
    split = "char" if language in ("ja", "zh", "ko", "th") else "13a"
    bleu = sacrebleu.corpus_bleu(found, [expected], tokenize=split).score
    return bleu, float(np.mean([a == b for a, b in zip(found, expected, strict=True)]))


def draw_alignment(model, tokenizer, pair, path):
    """Draws which tokens of a source each token of its target was written from: the last decoder block, mean over heads."""
    source, target = text_tokens.encode(tokenizer, [pair.source, pair.target])
    inputs = {"source_ids": np.array([source]), "target_ids": np.array([[START, *target]])}
    maps = analysis.attention_maps(model, inputs)
    last = [name for name in maps if name.endswith("/cross_attention")][-1]
    written, read = ([text_of([token], tokenizer).strip() or "␣" for token in row] for row in ([*target, END], source))
    analysis.plots.plot_attention(
        maps[last][0].mean(axis=0), [*written[:-1], "(end)"], read, title=f"{pair.source}\n{pair.target}", path=path
    )


def serve(model, tokenizer, folder, sentences, longest):
    """Exports sentence -> sentence, beam search inside, and translates in a process without keras_tx and keras-hub."""
    generate = {
        "max_new_tokens": longest - 1,
        "sampler": SAMPLERS["beam 4"],
        "stop_ids": [END],
        "prompt": [START],
        "text_input": "source_ids",
    }
    keras_tx.export.export_saved_model(model, folder, tokenizer=tokenizer, generate=generate)
    script = Path(__file__).with_name("serve_texts.py")
    answers = subprocess.run([sys.executable, script, folder, *sentences], check=True, capture_output=True, text=True)
    return [json.loads(line)["answer"] for line in answers.stdout.splitlines()]


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=("cldr", "ted"), default="cldr")
    parser.add_argument("--target", default="es", help="a language of babel, for cldr")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--quick", action="store_true", help="few pairs: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/translation"))
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    options.output.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS[options.dataset]
    longest = settings["lengths"][-1]
    pairs = translation_pairs.load(options.dataset, options.target, QUICK_PAIRS if options.quick else settings["pairs"])
    language = options.target if options.dataset == "cldr" else "en"
    training, held_out = pairs.pop("train"), pairs
    print(
        f"{len(training):,} pairs to train on, held out: {', '.join(f'{len(v):,} ({k})' for k, v in held_out.items())}"
    )

    texts = [text for pair in training for text in pair[:2]]
    tokenizer = text_tokens.make_tokenizer("bpe", texts, settings["vocabulary"], split_digits=True)
    sources, targets = (text_tokens.encode(tokenizer, texts[side::2]) for side in (0, 1))
    batches = Batches(sources, [[*row, END] for row in targets], settings["lengths"], TOKENS)
    model = Translator(tokenizer.vocabulary_size(), **SIZE)
    print(f"{model.count_params():,} parameters, {len(batches)} batches an epoch")
    start = time.perf_counter()
    train(model, batches, options.epochs or settings["epochs"])
    print(f"trained in {time.perf_counter() - start:.0f} s")
    model.save(options.output / "model.keras")

    dictionary = translation_baseline.learn([pair[:2] for pair in training])
    for name, part in held_out.items():
        print(f"\n{name}: {len(part)} sentences, none of them seen in training")
        rows = {"word for word": [dictionary.translate(pair.source) for pair in part]}
        for how, sampler in SAMPLERS.items():
            sources = [pair.source for pair in part]
            rows[f"Translator, {how}"] = translate(model, tokenizer, sources, sampler, longest)
        for label, found in rows.items():
            bleu, exact = score(found, part, language)
            print(f"  {label:20}  BLEU {bleu:5.1f}  exact {exact:.3f}")
        wrong = [(pair, text) for pair, text in zip(part, found, strict=True) if text != pair.target]
        for pair, text in wrong[:5]:
            print(f"    {pair.source}\n      should be: {pair.target}\n      is:        {text}")

    first = next(iter(held_out.values()))
    shown = next((pair for pair in first if pair.kind == "date"), first[0])  # whose words change places
    draw_alignment(model, tokenizer, shown, options.output / "alignment.png")
    if keras.backend.backend() == "tensorflow":
        sentences = [pair.source for pair in first[:3]]
        answers = serve(model, tokenizer, options.output / "saved_model", sentences, longest)
        print("\nServed by a process that has neither keras_tx nor keras-hub:")
        for sentence, answer in zip(sentences, answers, strict=True):
            print(f"  {sentence} -> {answer}")
    print(f"\nModel, SavedModel and alignment: {options.output}")


if __name__ == "__main__":
    main()
