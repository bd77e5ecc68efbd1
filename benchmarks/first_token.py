"""From a GGUF file to the first token, beside transformers from a folder of the same weights: seconds, each in new processes.

    python benchmarks/first_token.py [--rounds 3] [--folder FOLDER]

Imports are not counted. Ours reads SmolLM2's file, which `make chat` installs, and its tokenizer; then it generates one
token, for which it compiles, and another one. transformers reads a folder in float32 and its tokenizer. The processes
alternate. Prints a table, and one line of JSON last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.append(str(Path(__file__).parents[1] / "examples"))

PROMPT = "The capital of France is"


def ours(folder):
    import keras_hub  # noqa: F401 imported when a tokenizer is made
    import smollm2

    from keras_tx import decoding
    from keras_tx.applications import load_gguf, load_tokenizer

    path = smollm2.path()
    marks = [time.perf_counter()]
    model = load_gguf(path)
    marks.append(time.perf_counter())
    tokenizer = load_tokenizer(path)
    marks.append(time.perf_counter())
    for _ in range(2):
        text = decoding.generate(model, [PROMPT], 1, tokenizer=tokenizer)[0]
        marks.append(time.perf_counter())
    return marks, text


def transformers(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    marks = [time.perf_counter()]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    marks.append(time.perf_counter())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    marks.append(time.perf_counter())
    for _ in range(2):
        ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
        with torch.inference_mode():
            tokens = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=1)
        text = tokenizer.decode(tokens[0])
        marks.append(time.perf_counter())
    return marks, text


CANDIDATES = {"keras_tx": ours, "transformers": transformers}
STAGES = ("model", "tokenizer", "first token", "another token")


def write(folder):
    """Writes the folder that transformers reads, if it is not there."""
    import smollm2

    from keras_tx.applications import save_huggingface, save_tokenizer

    model, tokenizer = smollm2.load()
    save_huggingface(model, folder)
    save_tokenizer(tokenizer, folder)


def run(*arguments):
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="of transformers, written if it is not there; else a temporary one")
    parser.add_argument("--candidate", choices=[*CANDIDATES, "write"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidate == "write":
        write(options.folder)
        print("{}")
    elif options.candidate:
        marks, text = CANDIDATES[options.candidate](options.folder)
        seconds = [after - before for before, after in zip(marks, marks[1:], strict=False)]
        print(json.dumps({"seconds": dict(zip(STAGES, seconds, strict=True)), "text": text}))
    else:
        compare(options)


def compare(options):
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        if not (Path(folder) / "config.json").exists():
            run("--candidate", "write", "--folder", folder)
        found = {name: [] for name in CANDIDATES}
        for _ in range(options.rounds):
            for name, runs in found.items():
                runs.append(run("--candidate", name, "--folder", folder))
    rows = {}
    for name, runs in found.items():
        rows[name] = {stage: round(statistics.median(one["seconds"][stage] for one in runs), 2) for stage in STAGES}
        whole = statistics.median(sum(one["seconds"][stage] for stage in STAGES[:3]) for one in runs)
        rows[name]["to the first token"] = round(whole, 2)
        print(
            f"{name:14}",
            "  ".join(f"{stage} {seconds} s" for stage, seconds in rows[name].items()),
            repr(runs[0]["text"]),
        )
    import keras
    from timing import machine

    dated = machine("keras", "gguf", keras.backend.backend(), "torch", "transformers")
    print(json.dumps({"benchmark": "first_token", "backend": keras.backend.backend(), "machine": dated, "rows": rows}))


if __name__ == "__main__":
    main()
