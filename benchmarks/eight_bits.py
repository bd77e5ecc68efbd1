"""Weights in eight bits beside float32 in `generate`: tokens a second, memory, and perplexity of a checkpoint.

    python benchmarks/eight_bits.py [--file FILE.gguf --tokens 1024] [--layers 8] [--width 512] [--vocabulary 8192] [--batch 1]
                                    [--new 64] [--rounds 5] [--processor-time]

Without `--file` the model is a GPT of random weights. "rounded" is Keras' `quantize("int8")`, "weights" the same with no
rounding of inputs. Memory is that of the weights and of what the compiled program of `generate` holds beside them, read off
XLA's own plan of its buffers; on torch, which compiles nothing, it is what the process took more at its peak. The candidates
take turns within each round. Prints a line for each, and one line of JSON last.
"""

import argparse
import atexit
import functools
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["PLANS"] = tempfile.mkdtemp()
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={os.environ['PLANS']} --xla_dump_hlo_as_text"
)

import keras
import numpy as np
from cache import perplexity, text
from keras.quantizers import Int8QuantizationConfig
from processes import memory, reset_peak
from timing import alternate, machine, medians, ratio

from keras_tx import decoding
from keras_tx.analysis.costs.record import tensor_bytes
from keras_tx.applications import GPT, load_gguf, load_tokenizer

PLANS, FLOAT = Path(os.environ["PLANS"]), "float32"
atexit.register(shutil.rmtree, PLANS, ignore_errors=True)
CANDIDATES = {
    FLOAT: None,
    "rounded": Int8QuantizationConfig(),
    "weights": Int8QuantizationConfig(activation_quantizer=None),
}


def made(options, config):
    keras.utils.set_random_seed(0)
    if options.file is not None:
        model = load_gguf(options.file, dtype="float32")
    else:
        sizes = {"num_layers": options.layers, "num_heads": options.width // 64, "hidden_dim": options.width}
        model = GPT(options.vocabulary, 256, **sizes, intermediate_dim=4 * options.width)
    if config is not None:
        model.quantize("int8", config=config)
    return model


def planned_bytes(seen):
    """Returns what the largest program that was compiled since holds beside its arguments."""
    found = [0]
    for path in set(PLANS.glob("*buffer-assignment.txt")) - seen:
        found += [int(size) for size in re.findall(r"allocation \d+: size (\d+), preallocated-temp", path.read_text())]
    return max(found)


def peak_bytes(run):
    """Returns how much more memory a process takes at its peak while a function runs."""
    reset_peak()
    before = memory("VmRSS")
    run()
    return memory("VmHWM") - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--file", help="a GGUF file, in place of a GPT of random weights")
    parser.add_argument("--tokens", type=int, default=0, help="tokens of text whose perplexity is taken, of a --file")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--processor-time", action="store_true", help="of a process that is bound to one core, by taskset"
    )
    options = parser.parse_args()
    backend = keras.backend.backend()
    result = {"benchmark": "eight_bits", "backend": backend, "options": vars(options), "memory": {}, "perplexity": {}}
    result["machine"] = machine("keras", backend)
    runs, first = {}, {}
    for name, config in CANDIDATES.items():
        model = made(options, config)
        if options.tokens:
            tokenizer = load_tokenizer(options.file, add_special_tokens=False)
            ids = np.asarray(tokenizer.tokenize(text()[: 8 * options.tokens]), "int32")[: options.tokens]
            result["perplexity"][name] = perplexity(model, ids, None)
        run = functools.partial(decoding.generate, model, [[3, 4, 5, 6]] * options.batch, max_new_tokens=options.new)
        seen, start = set(PLANS.glob("*")), time.perf_counter()
        run()
        first[name] = round(time.perf_counter() - start, 1)
        held = sum(tensor_bytes(weight.dtype, weight) for weight in model.weights)
        beside = peak_bytes(run) if backend == "torch" else planned_bytes(seen)
        result["memory"][name] = {"weights": held, "beside": beside}
        runs[name] = run
    seconds = alternate(runs, options.rounds, clock=time.process_time if options.processor_time else time.perf_counter)
    whole = {name: sum(each.values()) for name, each in result["memory"].items()}
    for name, milliseconds in medians(seconds).items():
        rate = round(1000 * options.batch * options.new / milliseconds, 1)
        row = {
            "tokens_per_second": rate,
            "ratio": round(ratio(seconds, FLOAT, name), 2),
            "first_call_seconds": first[name],
        }
        row["memory_share"] = round(whole[name] / whole[FLOAT], 3)
        result[name] = row
        print(
            f"{name}: {row}, megabytes {round(whole[name] / 1e6, 1)}, perplexity {result['perplexity'].get(name)}",
            flush=True,
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
