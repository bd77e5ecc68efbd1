"""Several tokens a step: tokens a second with and without drafts, how many proposals were right, and what wrong ones cost.

    python benchmarks/speculative.py [--task repeats failing smollm2] [--new 192] [--rounds 3] [--num-tokens 7]
                                     [--peers transformers] [--processor-time]

`repeats` and `failing` have GPT-2 small's shape with random weights, which write nothing that repeats. So the tokens are forced:
a sampler takes them off a script, whatever the logits say, while the model computes all that it would compute. The script of
`repeats` is its prompt once more with every 16th token changed, as an edit is; that of `failing` is noise in which each token
has been followed by another one before, so that proposals are always there and always wrong. `smollm2` writes what
SmolLM2-135M-Instruct writes (`make chat` installs it) to prompts of four kinds, the last without anything to repeat, beside
transformers with and without `prompt_lookup_num_tokens`. Batch 1, greedy. Prints a line a case, and one line of JSON last.
"""

import argparse
import dataclasses
import functools
import importlib
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from generate import gpt2_config
from prompts import PROMPTS
from timing import alternate, machine, medians, ratio

from keras_tx import decoding
from keras_tx.applications import GPT, GPT_SIZES

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))


@keras.saving.register_keras_serializable(package="benchmarks")
@dataclasses.dataclass(frozen=True)
class Forced(decoding.Sampler):
    """Takes tokens off a script. The logits are looked at, so that nothing of the model is left out."""

    script: tuple

    def choose(self, logits, settings, seen, seed):
        script = keras.ops.convert_to_tensor(self.script, dtype="int32")
        places = keras.ops.broadcast_to(seed[1], (logits.shape[0],))
        best = keras.ops.cast(keras.ops.argmax(logits, axis=-1), "int32")
        return keras.ops.where(best < 0, best, keras.ops.take(script, places))


def scripted(task, length, new, size, seed=0):
    """Returns a prompt and what is to follow it, lists of ids."""
    rng = np.random.default_rng(seed)
    if task == "repeats":
        prompt = rng.integers(0, size, length)
        script = np.resize(prompt, new + 16)
        script[15::16] = rng.integers(0, size, len(script[15::16]))
        return prompt.tolist(), script.tolist()
    # Walks over few tokens that never take the same way twice from the same three.
    tokens, followed = rng.integers(0, 8, 3).tolist(), {}
    while len(tokens) < length + new + 16:
        last = tuple(tokens[-3:])
        choices = [token for token in range(12) if token not in followed.get(last, ())]
        token = int(rng.choice(choices or range(12)))
        followed.setdefault(last, []).append(token)
        tokens.append(token)
    return tokens[:length], tokens[length:]


def report_of(model, run):
    """Returns what the drafts of one run of ours came to: tokens a step, and the share of proposals that were right."""

    def totals():
        return decoding.draft_report().get(f"{model.name}: Lookup", {})

    before = totals()
    run()
    after = {name: count - before.get(name, 0) for name, count in totals().items()}
    return {
        "proposed": after["proposed"],
        "acceptance": round(after["accepted"] / max(after["proposed"], 1), 3),
        "tokens_per_step": round(after["tokens"] / max(after["steps"], 1), 2),
    }


def forced_transformers(prompt, script, new):
    """Returns the function (number of tokens looked up or `None`) -> a run of transformers that writes the script."""
    import torch
    import transformers

    model = transformers.GPT2LMHeadModel(gpt2_config(GPT_SIZES["small"])).eval()
    ids, following = torch.tensor([prompt]), torch.tensor(script)

    class Follow(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            forced = torch.full_like(scores, -torch.inf)
            forced[:, following[input_ids.shape[1] - len(prompt)]] = 0
            return forced

    def run(looked_up):
        given = {} if looked_up is None else {"prompt_lookup_num_tokens": looked_up, "max_matching_ngram_size": 3}
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=new,
                eos_token_id=None,
                pad_token_id=0,
                logits_processor=transformers.LogitsProcessorList([Follow()]),
                **given,
            )[0, len(prompt) :].tolist()

    return run


def measure_shape(task, options, clock):
    size, draft = GPT_SIZES["small"], decoding.Lookup(num_tokens=options.num_tokens)
    model = GPT(**size)
    prompt, script = scripted(task, 128, options.new, size["vocabulary_size"])

    def ours(draft):
        given = {"sampler": Forced(tuple(script)), "draft": draft}
        return decoding.generate(model, [prompt], options.new, **given)[0, len(prompt) :].tolist()

    runs = {"plain": functools.partial(ours, None), "lookup": functools.partial(ours, draft)}
    if "transformers" in options.peers:
        theirs = forced_transformers(prompt, script, options.new)
        runs |= {"transformers": functools.partial(theirs, None)}
        runs |= {"transformers lookup": functools.partial(theirs, options.num_tokens)}
    for name, run in runs.items():
        if run() != script[: options.new]:
            raise SystemExit(f"{name} wrote something else than the script")
    return [row(task, runs, report_of(model, runs["lookup"]), dict.fromkeys(runs, options.new), options, clock)]


def row(case, runs, report, tokens, options, clock):
    seconds = alternate(runs, options.rounds, warm_up=0, clock=clock)
    found = {
        "case": case,
        "tokens_per_second": {name: round(1000 * tokens[name] / ms, 1) for name, ms in medians(seconds).items()},
        "speedup": round(ratio(seconds, "plain", "lookup") * tokens["lookup"] / tokens["plain"], 2),
        **report,
    }
    if "transformers" in runs:
        names = "transformers", "transformers lookup"
        found["speedup_of_transformers"] = round(ratio(seconds, *names) * tokens[names[1]] / tokens[names[0]], 2)
    speeds = "".join(f"  {name} {speed} tokens/s" for name, speed in found["tokens_per_second"].items())
    print(
        f"{case}{speeds}  { ({name: each for name, each in found.items() if name not in ('case', 'tokens_per_second')}) }",
        flush=True,
    )
    return found


def smollm2_of_transformers():
    """Returns transformers' model with the weights of the file, as it reads them itself."""
    import smollm2
    import torch
    import transformers

    file = smollm2.path()
    config = transformers.AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    model = transformers.LlamaForCausalLM(config).eval()
    read = importlib.import_module("transformers.modeling_gguf_pytorch_utils").load_gguf_checkpoint
    tensors = read(str(file), return_tensors=True, model_to_load=model, torch_dtype=torch.float32)["tensors"]
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    return model


def measure_smollm2(options, clock):
    import smollm2

    model, _ = smollm2.load()
    from keras_tx.applications import load_tokenizer

    tokenizer = load_tokenizer(smollm2.path(), add_special_tokens=False)
    peer, rows = smollm2_of_transformers() if "transformers" in options.peers else None, []
    draft, stops = decoding.Lookup(num_tokens=options.num_tokens), tokenizer.stop_ids
    for kind, text in PROMPTS.items():
        ids = tokenizer.tokenize(tokenizer.chat_prompt([{"role": "user", "content": text}])).tolist()

        def ours(draft, ids=ids):
            new = decoding.generate(model, [ids], options.new, stop_ids=stops, pad_id=-1, draft=draft)[0, len(ids) :]
            return new[new >= 0].tolist()

        def theirs(looked_up, ids=ids):
            import torch

            given = {} if looked_up is None else {"prompt_lookup_num_tokens": looked_up, "max_matching_ngram_size": 3}
            prompt = torch.tensor([ids])
            with torch.inference_mode():
                return peer.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    do_sample=False,
                    max_new_tokens=options.new,
                    eos_token_id=list(stops),
                    pad_token_id=0,
                    **given,
                )[0, len(ids) :].tolist()

        runs = {"plain": functools.partial(ours, None), "lookup": functools.partial(ours, draft)}
        if peer is not None:
            runs |= {"transformers": functools.partial(theirs, None)}
            runs |= {"transformers lookup": functools.partial(theirs, options.num_tokens)}
        written = {name: run() for name, run in runs.items()}
        print(f"{kind}: {tokenizer.detokenize(np.array(written['plain'], 'int32'))!r}", flush=True)
        tokens = {name: len(new) for name, new in written.items()}
        rows.append(row(f"smollm2 {kind}", runs, report_of(model, runs["lookup"]), tokens, options, clock))
        rows[-1]["same_tokens"] = {name: new == written["plain"] for name, new in written.items()}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--task", nargs="+", choices=["repeats", "failing", "smollm2"], default=["repeats", "failing", "smollm2"]
    )
    parser.add_argument("--new", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-tokens", type=int, default=decoding.Lookup().num_tokens)
    parser.add_argument("--peers", nargs="*", choices=["transformers"], default=["transformers"])
    parser.add_argument(
        "--processor-time", action="store_true", help="of a process that is bound to one core, by taskset"
    )
    options = parser.parse_args()
    clock, rows = time.process_time if options.processor_time else time.perf_counter, []
    for task in options.task:
        rows += measure_smollm2(options, clock) if task == "smollm2" else measure_shape(task, options, clock)
    backend = keras.backend.backend()
    dated = machine("keras", backend, *(["torch", "transformers"] if "transformers" in options.peers else []))
    given = {"new": options.new, "num_tokens": options.num_tokens, "clock": clock.__name__}
    print(json.dumps({"benchmark": "speculative", "backend": backend, "machine": dated, **given, "rows": rows}))


if __name__ == "__main__":
    main()
