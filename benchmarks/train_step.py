"""One encoder block, forward and training step, beside keras-hub's and one made of Keras' own attention; a block of FNet beside
keras-hub's and transformers' (torch); the whole pretraining step of BERT beside theirs, and that of DETR beside the latter's.

    python benchmarks/train_step.py [--rounds 15] [--size small base] [--dropout 0 0.1] [--jit on off]
    python benchmarks/train_step.py --size fnet-128 fnet-512 fnet-2048
    python benchmarks/train_step.py --size bert-base --dropout 0.1 --rounds 5
    python benchmarks/train_step.py --size detr-small --dropout 0.1 --rounds 5

Prints a table of medians (milliseconds) and of ratios to ours (above 1: ours is faster), and one line of JSON last. The
candidates do the same work (the blocks: post-norm, relu, biases) on the same inputs, one after the other in each round.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import bert_training
import detr_training
import fnet_blocks
import keras
import numpy as np
from timing import alternate, machine, medians, ratio

import keras_tx

SIZES = {
    "small": {"batch": 32, "length": 128, "hidden": 256, "heads": 4, "intermediate": 1024},
    "base": {"batch": 8, "length": 128, "hidden": 768, "heads": 12, "intermediate": 3072},
}
OURS = "keras_tx"
# Of whole models, by the name of a size: what is measured, and where its sizes and candidates stand.
MODELS = {
    **dict.fromkeys(bert_training.SIZES, ("pretrain", bert_training)),
    **dict.fromkeys(detr_training.SIZES, ("train", detr_training)),
}


def our_block(size, dropout):
    return keras_tx.layers.TransformerEncoder(size["intermediate"], size["heads"], dropout=dropout)


def keras_hub_block(size, dropout):
    import keras_hub

    return keras_hub.layers.TransformerEncoder(size["intermediate"], size["heads"], dropout=dropout)


class KerasBlock(keras.layers.Layer):
    """The block as a Keras user writes it from `keras.layers.MultiHeadAttention`."""

    def __init__(self, size, dropout):
        super().__init__()
        self.attention = keras.layers.MultiHeadAttention(
            size["heads"], size["hidden"] // size["heads"], dropout=dropout
        )
        self.intermediate = keras.layers.Dense(size["intermediate"], activation="relu")
        self.outer = keras.layers.Dense(size["hidden"])
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(2)]
        self.drops = [keras.layers.Dropout(dropout) for _ in range(2)]

    def build(self, input_shape):
        self.attention.build(input_shape, input_shape)
        self.intermediate.build(input_shape)
        self.outer.build((*input_shape[:-1], self.intermediate.units))
        for norm in self.norms:
            norm.build(input_shape)

    def call(self, x, attention_mask=None, training=None):
        y = self.attention(x, x, attention_mask=attention_mask, training=training)
        x = self.norms[0](x + self.drops[0](y, training=training))
        return self.norms[1](x + self.drops[1](self.outer(self.intermediate(x)), training=training))


BLOCKS = {OURS: our_block, "keras_hub": keras_hub_block, "keras": KerasBlock}


def compiled(block, inputs, jit):
    """Returns a forward step and a training step (outputs, loss, gradients of weights and inputs) that wait for the result."""
    if keras.backend.backend() == "tensorflow":
        return _compiled_tensorflow(block, inputs, jit)
    if keras.backend.backend() == "jax":
        return _compiled_jax(block, inputs)
    raise SystemExit("This program compiles with TensorFlow or JAX: set KERAS_BACKEND to one of them.")


def _compiled_tensorflow(block, inputs, jit):
    import tensorflow as tf

    @tf.function(jit_compile=jit)
    def forward(x):
        return block(x, training=False)

    @tf.function(jit_compile=jit)
    def train(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_mean(tf.square(block(x, training=True)))
        return tape.gradient(loss, [x, *(v.value for v in block.trainable_variables)])

    x = tf.constant(inputs)
    return lambda: forward(x).numpy(), lambda: train(x)[0].numpy()


def _compiled_jax(block, inputs):
    import jax

    @jax.jit
    def forward(trainable, other, x):
        return block.stateless_call(trainable, other, x, training=False)[0]

    def loss(trainable, other, x):
        y, other = block.stateless_call(trainable, other, x, training=True)
        return (y * y).mean(), other

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 2), has_aux=True))
    trainable = [v.value for v in block.trainable_variables]
    state = {"other": [v.value for v in block.non_trainable_variables]}
    x = jax.numpy.asarray(inputs)

    def train():
        (_, state["other"]), gradients = step(trainable, state["other"], x)
        jax.block_until_ready(gradients)

    return lambda: jax.block_until_ready(forward(trainable, state["other"], x)), train


def measure_block(size_name, dropout, jit, rounds):
    is_fnet = size_name in fnet_blocks.SIZES
    size, blocks = (fnet_blocks.SIZES[size_name], fnet_blocks.BLOCKS) if is_fnet else (SIZES[size_name], BLOCKS)
    inputs = np.random.default_rng(0).standard_normal((size["batch"], size["length"], size["hidden"])).astype("float32")
    steps = {"forward": {}, "train": {}}
    for name, make in blocks.items():
        block = make(size, dropout)
        block.build(inputs.shape)
        steps["forward"][name], steps["train"][name] = compiled(block, inputs, jit)
    if is_fnet:
        torch = fnet_blocks.transformers_steps(size, dropout, inputs)
        steps["forward"]["transformers"], steps["train"]["transformers"] = torch
    for what, candidates in steps.items():
        if what == "train" or not dropout:  # forward it is the same work
            yield what, candidates, rounds


def measure_model(size_name, dropout, jit, rounds):
    what, program = MODELS[size_name]
    size = program.SIZES[size_name]
    yield what, {name: make(size, dropout, jit) for name, make in program.CANDIDATES.items()}, rounds


def timed(size_name, dropout, jit, rounds):
    """Yields a row for each thing that is measured at a size."""
    is_model = size_name in MODELS
    for what, candidates, times in (measure_model if is_model else measure_block)(size_name, dropout, jit, rounds):
        seconds = alternate(candidates, times)
        row = {
            "size": size_name,
            "what": what,
            "dropout": dropout,
            "jit": jit,
            "milliseconds": {name: round(value, 2) for name, value in medians(seconds).items()},
            "ratio": {name: round(ratio(seconds, name, OURS), 3) for name in candidates if name != OURS},
        }
        if is_model:
            batch = MODELS[size_name][1].SIZES[size_name]["batch"]
            row["samples_per_second"] = {name: round(1000 * batch / ms, 3) for name, ms in row["milliseconds"].items()}
        yield row


def spelled(row):
    """Returns a row as text."""
    line = f"{row['size']:10} {row['what']:8} {row['dropout']:7} {'on' if row['jit'] else 'off':>4} "
    line += "".join(f"  {name} {value:.1f} ms" for name, value in row["milliseconds"].items())
    line += "".join(f"  {name} / ours {value:.2f}" for name, value in row["ratio"].items())
    return line + "".join(f"  {name} {value:.2f}/s" for name, value in row.get("samples_per_second", {}).items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    choices = [*SIZES, *fnet_blocks.SIZES, *MODELS]
    parser.add_argument("--size", nargs="+", choices=choices, default=list(SIZES))
    parser.add_argument("--dropout", nargs="+", type=float, default=[0.0, 0.1])
    parser.add_argument("--jit", nargs="+", choices=["on", "off"], default=["on", "off"])
    options = parser.parse_args()
    jits = [choice == "on" for choice in options.jit]
    if keras.backend.backend() == "jax":
        jits = [True]

    rows = []
    for size in options.size:
        for jit in jits:
            for dropout in options.dropout:
                for row in timed(size, dropout, jit, options.rounds):
                    rows.append(row)
                    print(spelled(row), flush=True)
    backend = keras.backend.backend()
    others = [] if set(options.size) <= set(SIZES) else ["torch", "transformers"]
    dated = machine("keras", "keras-hub", backend, *others)
    print(json.dumps({"benchmark": "train_step", "backend": backend, "machine": dated, "rows": rows}))


if __name__ == "__main__":
    main()
