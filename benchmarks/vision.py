"""ViT-B/16, Swin-T and Mixer-B/16 at 224 x 224, inference and training step: images per second and peak memory beside peers.

    python benchmarks/vision.py [--model vit swin mixer] [--what infer train] [--dtype float32 mixed_bfloat16] [--jit on off]
                                [--batch 8] [--rounds 5] [--peers keras_hub transformers] [--kecam FOLDER] [--timm FOLDER]

Every candidate runs in a process of its own, so that its memory is its own, and they take turns within each round. A training
step is loss, gradients and a step of SGD. transformers and timm (torch) have no XLA: they are the same in the rows with and
without, and their bfloat16 keeps the weights in bfloat16 too, where Keras' mixed_bfloat16 keeps them in float32. Of a Mixer
there are kecam's and timm's alone. kecam needs the older Keras: `pip install --no-deps --target FOLDER kecam tf-keras ftfy regex
wcwidth tqdm`; timm a torchvision, with a torch that fits it: `pip install --target FOLDER timm`. Prints a table, and JSON last.
"""

import argparse
import json
import pathlib
import statistics
import sys

from processes import Worker
from timing import machine
from vision_candidates import CANDIDATES, KECAM

OURS = "keras_tx"
PROGRAM = pathlib.Path(__file__).with_name("vision_candidates.py")


def start(candidate, row, batch, folders):
    """Returns the candidate in its process."""
    environment = {"PYTHONPATH": str(folders[candidate])} if candidate in folders else None
    settings = [row["model"], row["what"], row["dtype"], row["jit"], str(batch)]
    return Worker([str(PROGRAM), candidate, *settings], environment)


def measured(row, names, batch, rounds, folders):
    """Returns the row with images a second, the ratio to ours, and peak bytes for each candidate that ran."""
    workers, seconds, firsts = {}, {}, {}
    for name in names:
        worker = start(name, row, batch, folders)
        first = worker.ask()
        if first is None:
            print(f"  {name}: does not run: {worker.failure}", file=sys.stderr)
            worker.close()
            continue
        worker.ask()
        workers[name], seconds[name], firsts[name] = worker, [], first
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.ask())
    peaks = {name: int(worker.ask("peak")) for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    ours = seconds[OURS]
    return {
        **row,
        "images_per_second": {name: round(batch / statistics.median(each), 2) for name, each in seconds.items()},
        "ratio": {
            name: round(statistics.median(a / b for a, b in zip(each, ours, strict=True)), 2)
            for name, each in seconds.items()
            if name != OURS
        },
        "peak_gigabytes": {name: round(peak / 1e9, 2) for name, peak in peaks.items()},
        "first_call_seconds": {name: round(first, 1) for name, first in firsts.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=list(KECAM), default=list(KECAM))
    parser.add_argument("--what", nargs="+", choices=["infer", "train"], default=["infer", "train"])
    parser.add_argument(
        "--dtype", nargs="+", choices=["float32", "mixed_bfloat16"], default=["float32", "mixed_bfloat16"]
    )
    parser.add_argument("--jit", nargs="+", choices=["on", "off"], default=["on", "off"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=list(CANDIDATES), default=["keras_hub", "transformers"])
    parser.add_argument("--kecam", type=pathlib.Path, help="the folder that kecam and tf-keras are installed in")
    parser.add_argument("--timm", type=pathlib.Path, help="the folder that timm and its torch are installed in")
    settings = parser.parse_args()
    folders = {name: getattr(settings, name) for name in ("kecam", "timm") if getattr(settings, name)}

    rows = []
    for model in settings.model:
        for what in settings.what:
            for dtype in settings.dtype:
                for jit in settings.jit:
                    row = {"model": model, "what": what, "dtype": dtype, "jit": jit}
                    peers = [] if model == "mixer" else [*settings.peers]
                    if settings.kecam and what == "infer" and KECAM[model]:
                        peers.append("kecam")
                    if settings.timm and model == "mixer":
                        peers.append("timm")
                    row = measured(row, [OURS, *peers], settings.batch, settings.rounds, folders)
                    rows.append(row)
                    print(
                        f"{model} {what} {dtype} jit {jit}: images a second {row['images_per_second']}, ratio "
                        f"{row['ratio']}, peak GB {row['peak_gigabytes']}",
                        flush=True,
                    )
    versions = machine("keras", "keras-hub", "tensorflow", "torch", "transformers")
    print(json.dumps({"benchmark": "vision", "batch": settings.batch, "machine": versions, "rows": rows}))


if __name__ == "__main__":
    main()
