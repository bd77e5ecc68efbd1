"""Greedy generation beside keras-hub and transformers: tokens per second, first call, compilations, and the bandwidth floor.

    python benchmarks/generate.py [--model gpt2-small tiny smollm2-135m smollm2-135m-int8] [--batch 1 8] [--prompt 32]
                                  [--new 128] [--rounds 5] [--peers keras_hub transformers]
                                  [--processor-time]

All have random weights of one architecture. The candidates take turns within each round. Beside SmolLM2 stands transformers
alone, in float32 also where our weights are int8. On a machine that others use, the processor's time of one thread says
more than the clock on the wall: OMP_NUM_THREADS=1 taskset -c 0 ... --processor-time. Prints a table, and one line of JSON
last.
"""

import argparse
import functools
import json
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from timing import alternate, machine, medians, ratio

from keras_tx import decoding
from keras_tx.applications import GPT, GPT_SIZES, LLAMA_SIZES, Llama

MODELS = {
    "gpt2-small": GPT_SIZES["small"],
    "tiny": {
        "vocabulary_size": 8192,
        "sequence_length": 512,
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 256,
        "intermediate_dim": 1024,
    },
    "smollm2-135m": LLAMA_SIZES["smollm2_135m"],
    "smollm2-135m-int8": LLAMA_SIZES["smollm2_135m"],
}
OURS = "keras_tx"


def ours(size, new, int8=False):
    model = Llama(**size) if is_llama(size) else GPT(**size)
    if int8:
        model.quantize("int8")
    return model, lambda prompts: decoding.generate(model, prompts, new)


def is_llama(size):
    return "num_key_value_heads" in size


def keras_hub_gpt2(size, dropout=0.0):
    """The GPT-2 of a table of sizes in keras-hub."""
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=size["vocabulary_size"],
        num_layers=size["num_layers"],
        num_heads=size["num_heads"],
        hidden_dim=size["hidden_dim"],
        intermediate_dim=size["intermediate_dim"],
        max_sequence_length=size["sequence_length"],
        dropout=dropout,
    )
    return keras_hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None)


def keras_hub(size, new):
    model = keras_hub_gpt2(size)
    model.compile(sampler="greedy", jit_compile=keras.backend.backend() != "torch")

    def run(prompts):
        batch, length = prompts.shape
        ids = np.zeros((batch, length + new), "int32")
        ids[:, :length] = prompts
        mask = np.zeros_like(ids, dtype=bool)
        mask[:, :length] = True
        return model.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)

    return model, run


def gpt2_config(size, **options):
    """The configuration by which transformers makes the GPT-2 of a table of sizes."""
    import transformers

    return transformers.GPT2Config(
        vocab_size=size["vocabulary_size"],
        n_positions=size["sequence_length"],
        n_embd=size["hidden_dim"],
        n_layer=size["num_layers"],
        n_head=size["num_heads"],
        n_inner=size["intermediate_dim"],
        **options,
    )


def llama_config(size):
    """The configuration by which transformers makes the Llama of a table of sizes."""
    import transformers

    return transformers.LlamaConfig(
        vocab_size=size["vocabulary_size"],
        hidden_size=size["hidden_dim"],
        intermediate_size=size["intermediate_dim"],
        num_hidden_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        num_key_value_heads=size["num_key_value_heads"],
        rms_norm_eps=size["norm_epsilon"],
        rope_theta=size["max_wavelength"],
        tie_word_embeddings=size["tied"],
        eos_token_id=None,
    )


def transformers(size, new):
    import torch
    import transformers

    if is_llama(size):
        model = transformers.LlamaForCausalLM(llama_config(size)).eval()
    else:
        model = transformers.GPT2LMHeadModel(gpt2_config(size)).eval()

    def run(prompts):
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
                pad_token_id=0,
            )

    return model, run


PEERS = {"keras_hub": keras_hub, "transformers": transformers}


def copy_bandwidth(clock=time.perf_counter):
    """Returns bytes read and written a second when one large array is copied to another, the best of several copies."""
    source = np.random.default_rng(0).standard_normal(50_000_000)
    target = np.empty_like(source)
    times = []
    for _ in range(7):
        start = clock()
        np.copyto(target, source)
        times.append(clock() - start)
    return 2 * source.nbytes / min(times)


def measure(name, batches, prompt, new, rounds, peers, clock):
    size = MODELS[name]
    peers = [peer for peer in peers if peer == "transformers" or not is_llama(size)]
    made = {OURS: ours(size, new, name.endswith("int8")), **{peer: PEERS[peer](size, new) for peer in peers}}
    weights = made[OURS][0].weights
    weight_bytes = sum(math.prod(weight.shape) * np.dtype(weight.dtype).itemsize for weight in weights)
    rows = []
    for batch in batches:
        prompts = np.random.default_rng(0).integers(1, size["vocabulary_size"], (batch, prompt))
        first = {}
        for candidate, (_, run) in made.items():
            start = time.perf_counter()
            run(prompts)
            first[candidate] = round(time.perf_counter() - start, 2)
        candidates = {candidate: functools.partial(run, prompts) for candidate, (_, run) in made.items()}
        seconds = alternate(candidates, rounds, warm_up=1, clock=clock)
        floor = copy_bandwidth(clock) / weight_bytes * batch
        rows.append(
            {
                "model": name,
                "batch": batch,
                "tokens_per_second": {c: round(1000 * batch * new / ms, 1) for c, ms in medians(seconds).items()},
                "first_call_seconds": first,
                "ratio": {c: round(ratio(seconds, c, OURS), 2) for c in candidates if c != OURS},
                "floor_tokens_per_second": round(floor, 1),
                "weights_megabytes": round(weight_bytes / 1e6, 1),
            }
        )
    return rows


def compilations(name):
    """Returns how many programs eight calls of differing prompts, batches and stops compile."""
    model = GPT(**MODELS[name])
    before = sum(decoding.trace_report().values())
    rng = np.random.default_rng(0)
    for call in range(8):
        prompts = [rng.integers(1, 100, rng.integers(4, 60)).tolist() for _ in range(1 + call % 4)]
        decoding.generate(model, prompts, 8, stop_ids=[None, 3, [4, 5], [[6, 7]]][call % 4])
    return sum(decoding.trace_report().values()) - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--processor-time", action="store_true", help="of a process that is bound to one core, by taskset"
    )
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    rows = []
    for name in options.model:
        for row in measure(name, options.batch, options.prompt, options.new, options.rounds, options.peers, clock):
            rows.append(row)
            speeds = "".join(f"  {c} {speed} tokens/s" for c, speed in row["tokens_per_second"].items())
            floor = f"floor {row['floor_tokens_per_second']}"
            first = f"first {row['first_call_seconds']} s"
            print(f"{name} batch {row['batch']}{speeds}  {floor}  ratios {row['ratio']}  {first}", flush=True)
    traces = compilations("tiny") if "tiny" in options.model else None
    print(f"programs compiled in eight differing calls: {traces}")
    backend = keras.backend.backend()
    dated = machine(
        "keras", "keras-hub", backend, *(["torch", "transformers"] if "transformers" in options.peers else [])
    )
    print(
        json.dumps(
            {
                "benchmark": "generate",
                "backend": backend,
                "machine": dated,
                "traces": traces,
                "clock": clock.__name__,
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
