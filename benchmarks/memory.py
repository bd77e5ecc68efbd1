"""Peak memory and time of a training step by length, beside `keras.layers.MultiHeadAttention`.

    KERAS_BACKEND=tensorflow|jax python benchmarks/memory.py [--lengths 1024 2048 4096 8192 16384] [--layers 4] [--width 256]
                             [--heads 4] [--jit on|off] [--causal] [--window 512] [--candidates ...]

A stack of encoder blocks (pre-norm) over one sequence of vectors, loss and gradients of all weights, each candidate and length
in a process of its own. The peak is the most that the process held during a step after the first, less what it held before
the model was made. Where all pairs would not fit the machine, a candidate is left out and the table says so. `--account`, on
JAX, prints instead what XLA says that a step of a GPT holds in temporary arrays, with and without `recompute` (6 blocks of width
256, 8 heads, batch 8, length 512, dropout 0.1). Peaks of whole models (BERT, GPT, ViT, Swin,
Translator) stand in the table of `training.py`. Prints a table, and JSON last.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from processes import memory, reset_peak
from timing import machine

CANDIDATES = {
    "keras": "keras.layers.MultiHeadAttention, all pairs at once",
    "whole": "keras_tx, all pairs at once",
    "whole recompute": "keras_tx, all pairs at once, blocks recomputed",
    "blocks": "keras_tx as it is: attention in blocks for long sequences",
    "blocks recompute": "keras_tx, attention in blocks, encoder blocks recomputed",
    "window": "keras_tx, attention in blocks with a window of --window",
}


def stack(candidate, settings):
    """Returns the model from (1, T, D) to the same."""
    import keras

    import keras_tx
    from keras_tx.ops.attention import dot_product

    if candidate.startswith("whole"):
        dot_product.LONG = float("inf")
    inputs = x = keras.Input((settings.length, settings.width))
    for _ in range(settings.layers):
        if candidate == "keras":
            y = keras.layers.LayerNormalization(epsilon=1e-5)(x)
            attend = keras.layers.MultiHeadAttention(
                settings.heads, settings.width // settings.heads, flash_attention=False
            )
            x = x + attend(y, y, use_causal_mask=settings.causal)
            y = keras.layers.LayerNormalization(epsilon=1e-5)(x)
            y = keras.layers.Dense(4 * settings.width, activation="relu")(y)
            x = x + keras.layers.Dense(settings.width)(y)
        else:
            x = keras_tx.layers.TransformerEncoder(
                4 * settings.width,
                normalize_first=True,
                attention=keras_tx.layers.MultiHeadSelfAttention(
                    settings.heads,
                    causal=settings.causal,
                    window=settings.window if candidate == "window" else None,
                ),
                recompute=candidate.endswith("recompute"),
            )(x)
    return keras.Model(inputs, x)


def work(candidate, settings):
    """Runs one candidate at one length in this process, and prints what it took."""
    import keras
    import numpy as np

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.zeros(())  # what the library itself holds belongs to no candidate
    before = memory("VmRSS")
    model = stack(candidate, settings)
    model.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=settings.jit == "on")
    x = np.random.default_rng(0).standard_normal((1, settings.length, settings.width)).astype("float32")
    model.train_on_batch(x, x)
    seconds = []
    reset_peak()
    for _ in range(2 if settings.length > 4096 else 4):
        start = time.perf_counter()
        model.train_on_batch(x, x)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"peak": memory("VmHWM") - before, "seconds": min(seconds)}))


def run(candidate, length, settings):
    """Returns peak bytes and seconds of a step, measured in a new process, or `None` where that did not run."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    options = [f"--{name}={getattr(settings, name)}" for name in ("layers", "width", "heads", "jit", "window")]
    options += ["--causal"] if settings.causal else []
    command = [sys.executable, __file__, "--work", candidate, "--length", str(length), *options]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    if result.returncode:
        print(f"  {candidate} at {length}: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def all_pairs(candidate, length, settings):
    """The bytes that a candidate of all pairs would hold at least: three arrays of weights a layer kept for the backward pass."""
    if candidate.startswith(("blocks", "window")):
        return 0
    kept = 1 if candidate.endswith("recompute") else settings.layers
    return 3 * 4 * settings.heads * length**2 * kept


def account():
    """Returns the temporary bytes of a step of a GPT, as the compiled program plans them, by whether its blocks recompute."""
    import jax
    import numpy as np
    from keras import ops

    from keras_tx import applications

    found = {}
    for recompute in (False, True):
        model = applications.GPT(1000, 512, 6, 8, 256, 1024, dropout=0.1, recompute=recompute)
        state = [[each.value for each in kind] for kind in (model.trainable_variables, model.non_trainable_variables)]

        def loss(weights, others, ids, model=model):
            return ops.mean(ops.square(model.stateless_call(weights, others, ids, training=True)[0]))

        program = jax.jit(jax.value_and_grad(loss)).lower(*state, np.zeros((8, 512), "int32")).compile()
        found[f"recompute {recompute}"] = program.memory_analysis().temp_size_in_bytes
        print(f"recompute {recompute}: {found[f'recompute {recompute}'] / 1e6:.0f} MB of temporary arrays", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--jit", choices=["on", "off"], default="on")
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--candidates", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument(
        "--most", type=float, default=12e9, help="bytes above which a candidate of all pairs is left out"
    )
    parser.add_argument(
        "--account", action="store_true", help="what XLA plans for a GPT with and without recompute (JAX)"
    )
    parser.add_argument("--work", choices=list(CANDIDATES), help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.work:
        work(settings.work, settings)
        return
    backend, versions = os.environ.get("KERAS_BACKEND", "tensorflow"), machine("keras", "tensorflow", "jax")
    if settings.account:
        print(json.dumps({"benchmark": "memory", "backend": backend, "machine": versions, "account": account()}))
        return

    rows = []
    for length in settings.lengths:
        for candidate in settings.candidates:
            found = None
            if all_pairs(candidate, length, settings) < settings.most:
                found = run(candidate, length, settings)
            rows.append({"length": length, "candidate": candidate, **(found or {"peak": None, "seconds": None})})
            said = f"{found['peak'] / 1e6:9.0f} MB {found['seconds']:8.2f} s" if found else "  left out"
            print(f"T {length:6d}  {candidate:18s} {said}", flush=True)
    shape = {name: getattr(settings, name) for name in ("layers", "width", "heads", "jit", "causal", "window")}
    print(json.dumps({"benchmark": "memory", "backend": backend, **shape, "machine": versions, "rows": rows}))


if __name__ == "__main__":
    main()
