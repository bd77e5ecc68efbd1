"""Training and beam-4 translation beside transformers' MarianMTModel: tokens and sentences per second, and compilations.

    python benchmarks/translate.py [--size base tiny] [--batch 16] [--source 24] [--target 24] [--rounds 5]
                                   [--peers transformers]

All have random weights of one architecture and read the same ids. The candidates take turns within each round. Prints a
table, and one line of JSON last.
"""

import argparse
import functools
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from timing import alternate, machine, medians, ratio

from keras_tx import decoding, losses
from keras_tx.applications import TRANSLATOR_SIZES, Translator

SIZES = {
    "base": TRANSLATOR_SIZES["base"],
    "tiny": {
        "source_vocabulary_size": 2048,
        "num_layers": 3,
        "num_heads": 4,
        "hidden_dim": 128,
        "intermediate_dim": 512,
        "dropout": 0.1,
    },
}
OURS, PADDING, START = "keras_tx", 0, 1
WIDTH, PENALTY = 4, 0.6


class Ours:
    """Trains by `train_on_batch`, under XLA where there is one and nothing else is asked for, and translates by `generate`."""

    def __init__(self, size, jit=None):
        self.model = Translator(**size)
        self.model.compile(
            keras.optimizers.Adam(1e-4),
            losses.TokenCrossentropy(label_smoothing=0.1, padding_id=PADDING),
            jit_compile=keras.backend.backend() != "torch" if jit is None else jit,
        )

    def train(self, sources, targets):
        if not self.model.optimizer.built:  # or TensorFlow would trace the step twice
            self.model.optimizer.build(self.model.trainable_variables)
        inputs = {"source_ids": sources, "target_ids": targets[:, :-1]}
        return float(np.asarray(self.model.train_on_batch(inputs, targets[:, 1:])))

    def translate(self, sources, new):
        prompts, context = [[START]] * len(sources), {"source_ids": sources}
        return decoding.generate(self.model, prompts, new, decoding.Beam(WIDTH, PENALTY), context=context)


class Transformers:
    """MarianMTModel with the same sizes: Adam, label smoothing by torch, beam search by its own `generate`."""

    def __init__(self, size, compiled=False):
        import torch
        import transformers

        self.torch = torch
        layers, heads, width = size["num_layers"], size["num_heads"], size["intermediate_dim"]
        config = transformers.MarianConfig(
            vocab_size=size["source_vocabulary_size"],
            d_model=size["hidden_dim"],
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=width,
            decoder_ffn_dim=width,
            activation_function="relu",
            dropout=size["dropout"],
            attention_dropout=size["dropout"],
            scale_embedding=True,
            pad_token_id=PADDING,
            decoder_start_token_id=START,
            bos_token_id=None,
            eos_token_id=None,
            forced_eos_token_id=None,
        )
        self.model = transformers.MarianMTModel(config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-4, fused=True)
        self.crossentropy = torch.nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=PADDING)
        self.loss = torch.compile(self._loss, dynamic=False) if compiled else self._loss

    def _loss(self, sources, targets):
        logits = self.model(
            input_ids=sources, attention_mask=(sources != PADDING).long(), decoder_input_ids=targets[:, :-1]
        ).logits
        return self.crossentropy(logits.flatten(0, 1), targets[:, 1:].flatten())

    def train(self, sources, targets):
        sources, targets = (self.torch.tensor(ids, dtype=self.torch.int64) for ids in (sources, targets))
        self.model.train()
        loss = self.loss(sources, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def translate(self, sources, new):
        ids = self.torch.tensor(sources, dtype=self.torch.int64)
        self.model.eval()
        with self.torch.inference_mode():
            return self.model.generate(
                ids,
                attention_mask=(ids != PADDING).long(),
                num_beams=WIDTH,
                length_penalty=PENALTY,
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
            )


PEERS = {"transformers": Transformers}


def draw(size, batch, length, seed=0):
    """Returns ids (B, length) from which the last quarter of each second row is padding."""
    ids = np.random.default_rng(seed).integers(3, size["source_vocabulary_size"], (batch, length)).astype("int32")
    ids[::2, length - length // 4 :] = PADDING
    return ids


def pairs(size, batch, source, target):
    """Returns source ids, and target ids that begin with the start token."""
    sources, targets = draw(size, batch, source), draw(size, batch, target + 1, seed=1)
    targets[:, 0] = START
    return sources, targets


def measure(name, batch, source, target, rounds, peers):
    size = SIZES[name]
    sources, targets = pairs(size, batch, source, target)
    made = {OURS: Ours(size), **{peer: PEERS[peer](size) for peer in peers}}
    rows = []
    # A training step counts the tokens of both sides, padding included, as every candidate computes them.
    for what, amount, unit in (("train", batch * (source + target), "tokens"), ("translate", batch, "sentences")):
        last = {"train": targets, "translate": target}[what]
        first, candidates = {}, {}
        for candidate, model in made.items():
            candidates[candidate] = functools.partial(getattr(model, what), sources, last)
            start = time.perf_counter()
            candidates[candidate]()
            first[candidate] = round(time.perf_counter() - start, 2)
        seconds = alternate(candidates, rounds, warm_up=1)
        rows.append(
            {
                "size": name,
                "what": what,
                "unit": f"{unit} a second",
                "speed": {candidate: round(1000 * amount / ms, 1) for candidate, ms in medians(seconds).items()},
                "first_call_seconds": first,
                "ratio": {
                    candidate: round(ratio(seconds, candidate, OURS), 2)
                    for candidate in candidates
                    if candidate != OURS
                },
            }
        )
    return rows


def compilations(name):
    """Returns how many programs eight calls compile whose sources have other lengths, of one bucket."""
    model = Translator(**SIZES[name])
    before = sum(decoding.trace_report().values())
    rng = np.random.default_rng(0)
    for call in range(8):
        sources = [rng.integers(3, 100, rng.integers(1, 32)).tolist() for _ in range(4)]
        decoding.generate(
            model, [[START]] * 4, 8 + call, decoding.Beam(WIDTH, PENALTY), 2, context={"source_ids": sources}
        )
    return sum(decoding.trace_report().values()) - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--source", type=int, default=24)
    parser.add_argument("--target", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    rows = []
    for name in options.size:
        for row in measure(name, options.batch, options.source, options.target, options.rounds, options.peers):
            rows.append(row)
            speeds = "".join(f"  {candidate} {speed}" for candidate, speed in row["speed"].items())
            print(
                f"{name} {row['what']} ({row['unit']}){speeds}  ratios {row['ratio']}  first {row['first_call_seconds']} s",
                flush=True,
            )
    traces = compilations("tiny")
    print(f"programs compiled in eight calls of one bucket: {traces}")
    backend = keras.backend.backend()
    dated = machine("keras", backend, *(["torch", "transformers"] if "transformers" in options.peers else []))
    print(json.dumps({"benchmark": "translate", "backend": backend, "machine": dated, "traces": traces, "rows": rows}))


if __name__ == "__main__":
    main()
