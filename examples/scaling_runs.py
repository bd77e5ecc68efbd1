"""The runs of a scaling law: one training a size at a constant rate, and a cool-down off it for each number of tokens.

A loss counts only where the learning rate has fallen, so each number of tokens would take a training of its own. Here the
cool-downs branch off one training (Hägele et al. 2024): for numbers of tokens that double, 1.2 times the largest in place of
twice. A killed grid goes on where it was.
"""

import json
import time
import warnings

import keras
import numpy as np

from keras_tx import backup
from keras_tx.analysis import count_costs
from keras_tx.applications import GPT

COOL_DOWN = 0.2  # of a run's steps, in which the rate falls to 0
WARM_UP = 30  # steps


class Rate(keras.callbacks.Callback):
    """Sets the learning rate of each batch: a warm-up, then constant, then a linear fall to 0 over the last `falling` batches.

    Args:
        peak: float.
        first: int, the steps that were done before this `fit`, the earlier epochs of a backup included.
        falling: int, 0 for a constant rate.
    """

    def __init__(self, peak, first, falling=0):
        super().__init__()
        self.peak, self.first, self.falling = peak, first, falling

    def on_train_batch_begin(self, batch, logs=None):
        left = (self.falling - batch) / self.falling if self.falling else 1.0
        warm = min(1.0, (self.first + batch + 1) / WARM_UP)
        self.model.optimizer.learning_rate.assign(self.peak * left * warm)


class Progress(keras.callbacks.Callback):
    """Prints how far the whole grid is, and how much time is left, every few seconds; the unit is FLOP.

    Args:
        total: float, the FLOP of the grid.
        every: float, seconds.
    """

    def __init__(self, total, every=10.0):
        super().__init__()
        self.total, self.every = total, every
        self.done = self.skipped = 0.0
        self.start = self.last = time.perf_counter()
        self.what, self.of_batch = "", 0.0

    def skip(self, flop):
        """Counts what an earlier call has done."""
        self.done += flop
        self.skipped += flop

    def on_train_batch_end(self, batch, logs=None):
        self.done += self.of_batch
        now = time.perf_counter()
        if now - self.last >= self.every:
            self.last = now
            left = (now - self.start) * (self.total - self.done) / (self.done - self.skipped)
            print(
                f"  {self.done / self.total:4.0%}  {self.what}, {left / 60:.0f} min {left % 60:02.0f} s left",
                flush=True,
            )


class Grid:
    """Sizes by numbers of tokens, each with its loss on held-out text.

    Args:
        windows: int32 array (windows, length + 1), in the order of training; no run sees one twice.
        held_out: int32 array (windows, length + 1).
        vocabulary_size: int, V.
        sizes: list of (width, blocks).
        epochs: list of int, rising: when a run ends, in epochs. A cool-down begins at `1 - COOL_DOWN` of it, a whole epoch too.
        settings: dict of `batch`, `epoch_steps`, `rate` and `head`, the size of a head.
        output: path of a folder, of the backups and the losses.
    """

    def __init__(self, windows, held_out, vocabulary_size, sizes, epochs, settings, output):
        self.windows, self.held_out, self.vocabulary_size = windows, held_out, vocabulary_size
        self.sizes, self.epochs, self.settings, self.folder = sizes, epochs, settings, output
        self.length = windows.shape[1] - 1
        self.epoch_tokens = settings["epoch_steps"] * settings["batch"] * self.length
        self.trunks = [round((1 - COOL_DOWN) * each, 6) for each in epochs]
        needed = round(epochs[-1] * settings["epoch_steps"] * settings["batch"])
        if any(each != int(each) for each in self.trunks) or len(windows) < needed:
            raise ValueError(
                f"`epochs` must be such that cool-downs of {COOL_DOWN} begin at whole epochs, and the windows {needed} at least. "
                f"Received: epochs={epochs}, {len(windows)} windows."
            )
        self.path = output / "losses.json"
        self.losses = json.loads(self.path.read_text()) if self.path.exists() else {}
        self._flop_of_row = {}
        self.parameters = {size: self._parameters(*size) for size in sizes}
        self.progress = None

    def points(self):
        """Returns a list of dicts, one a run: `parameters` without the embeddings, `embeddings`, `tokens`, `loss`."""
        total = sum(sum(self._shares(width, blocks)) for width, blocks in self.sizes)
        self.progress = Progress(total)
        found = []
        for width, blocks in self.sizes:
            embeddings = self.vocabulary_size * width
            losses = self._losses_of(width, blocks)
            counts = {"parameters": self.parameters[width, blocks], "embeddings": embeddings}
            found += [
                {**counts, "tokens": round(epochs * self.epoch_tokens), "loss": loss}
                for epochs, loss in zip(self.epochs, losses, strict=True)
            ]
        return found

    def _parameters(self, width, blocks):
        """Returns N as Kaplan et al. count it: the weights of products, without embeddings, logits, biases and norms."""
        costs = count_costs(self._model(width, blocks), (1, self.length), mode="train")
        self._flop_of_row[width, blocks] = 2 * costs.macs
        return round(costs.conventions()["Kaplan forward"] / 2 - blocks * self.length * width)

    def _flop(self, width, blocks):
        """Returns the FLOP of an epoch of training, the logits and the attention among them."""
        return self._flop_of_row[width, blocks] * self.settings["epoch_steps"] * self.settings["batch"]

    def _shares(self, width, blocks):
        """FLOP of each part of a size: the training up to a branch, and the branch."""
        before, flop = 0, self._flop(width, blocks)
        for epochs, trunk in zip(self.epochs, self.trunks, strict=True):
            yield (trunk - before + epochs - trunk) * flop
            before = trunk

    def _losses_of(self, width, blocks):
        """Returns the losses of a size, those of an earlier call as they are."""
        keys = [f"width {width}, blocks {blocks}, epochs {epochs}" for epochs in self.epochs]
        shares = [*self._shares(width, blocks)]
        for key, share in zip(keys, shares, strict=True):
            if key in self.losses:
                self.progress.skip(share)
        if not all(key in self.losses for key in keys):
            model = self._model(width, blocks)
            self.progress.of_batch = self._flop(width, blocks) / self.settings["epoch_steps"]
            for key, epochs, trunk in zip(keys, self.epochs, self.trunks, strict=True):
                if key not in self.losses:
                    self.progress.what = (
                        f"N = {self.parameters[width, blocks]:,}, D = {round(epochs * self.epoch_tokens):,}"
                    )
                    self.losses[key] = self._branch(model, int(trunk), epochs, self.folder / f"width-{width}-{blocks}")
                    with backup.whole_file(self.path) as beside:
                        beside.write_text(json.dumps(self.losses, indent=1))
                    print(f"  {key}: {self.losses[key]:.4f} nats a token", flush=True)
        return [self.losses[key] for key in keys]

    def _model(self, width, blocks):
        keras.utils.set_random_seed(0)
        heads = width // self.settings["head"]
        model = GPT(self.vocabulary_size, self.length, blocks, heads, width, 4 * width, positions="rotary")
        model.compile(
            optimizer=keras.optimizers.Muon(self.settings["rate"], weight_decay=0.1, adam_lr_ratio=0.15, clipnorm=1.0),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
        )
        return model

    def _branch(self, model, trunk, epochs, folder):
        """Takes the training to a whole epoch, cools a branch down from there, and returns the branch's held-out loss."""
        steps, held = self.settings["epoch_steps"], max([0, *(int(p.name[6:]) for p in folder.glob("epoch-[0-9]*"))])
        # The first of these calls trains nothing where there is a backup: it takes the model back from a branch.
        for epoch in range(max(held - 1, 0), trunk):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*it trains nothing|.*goes on with the learning rate")
                rate = Rate(self.settings["rate"], epoch * steps)
                self._fit(model, epoch, 1, [rate, backup.Backup(folder)], epochs=epoch + 1)
        falling = round((epochs - trunk) * steps)
        self._fit(model, trunk, epochs - trunk, [Rate(self.settings["rate"], trunk * steps, falling)], epochs=1)
        inputs, targets = self.held_out[:, :-1], self.held_out[:, 1:]
        return float(model.evaluate(inputs, targets, batch_size=self.settings["batch"], verbose=0))

    def _fit(self, model, first, count, callbacks, epochs):
        """Trains on the windows of `count` epochs from the `first`; each is seen once."""
        rows = self.settings["epoch_steps"] * self.settings["batch"]
        windows = self.windows[round(first * rows) : round((first + count) * rows)]
        model.fit(
            windows[:, :-1],
            windows[:, 1:],
            batch_size=self.settings["batch"],
            epochs=epochs,
            callbacks=[*callbacks, self.progress],
            shuffle=False,
            verbose=0,
        )


def make_windows(rows, length, seed=0):
    """Returns int32 windows (windows, length + 1) of tokens in a row, in a random order that the seed fixes."""
    count = (len(rows) - 1) // length
    windows = np.stack([rows[first * length : first * length + length + 1] for first in range(count)])
    return np.random.default_rng(seed).permutation(windows)
