"""JAX on an accelerator, in bfloat16, beside transformers: training, generation and images.

    KERAS_BACKEND=jax python benchmarks/accelerator.py [--size published|tiny] [--tasks gpt bert generate vit swin] [--rounds 5]
                             [--peak-flops 989e12] [--bandwidth 3.35e12] [--peers transformers] [--trace FOLDER]

GPT-2 small (batch 16, length 1024) and BERT-base (batch 64, length 512) train with SGD, dropout 0, by `model.fit`, which hands
the device its next step while it works on one; so does the peer's loop, which reads its loss after the last of 20 steps.
Utilisation is the model's floating-point operations a second over `--peak-flops`: 6 for each weight of a product and token, and
12 L D T for each token of attention, half of it where the order counts (Chowdhery et al. 2022, "PaLM", appendix B). GPT-2 small
generates 128 tokens after 32, batch 1 and 64; the floor of a step is the time to read the weights once at `--bandwidth`.
ViT-B/16 and Swin-T run at 224, batch 64. The two rates given are those of an H100 (SXM). transformers runs on torch, compiled by
`torch.compile` where there is a GPU. The candidates take turns within each round, and find their images on the device. `--trace`
writes a profile of one more run of ours of each task, for TensorBoard. `--size tiny` is for any machine. Prints a line for each
task, JSON last.
"""

import argparse
import json
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import keras
import numpy as np
from bert_training import bert_config
from generate import gpt2_config
from timing import alternate, machine, ratio

from keras_tx import applications, decoding

OURS, VOCABULARY, STEPS = "keras_tx", 1000, 20
TINY = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
# batch, length (or new tokens) of a task
SHAPES = {
    "published": {"gpt": (16, 1024), "bert": (64, 512), "generate": ((1, 64), 32, 128), "images": (64, 224)},
    "tiny": {"gpt": (2, 32), "bert": (2, 32), "generate": ((1, 2), 4, 8), "images": (2, 64)},
}


def sizes(name, size):
    """The arguments of an application in the published size, or of a tiny one."""
    published = {"gpt": applications.GPT_SIZES["small"], "bert": applications.BERT_SIZES["base"]}[name]
    if size == "published":
        return {**published, "dropout": 0.0}
    return {**TINY, "vocabulary_size": VOCABULARY, "sequence_length": 64, "dropout": 0.0}


def train_flops(model, batch, length, layers, width, causal):
    """The operations of a training step, of products alone; a table of embeddings counts where it makes logits."""
    tables = [weight for weight in model.trainable_weights if "embedding" in weight.path]
    products = model.count_params() - sum(int(np.prod(weight.shape)) for weight in tables)
    if causal:  # logits are a product with the table of tokens
        products += max(int(np.prod(weight.shape)) for weight in tables)
    attention = 12 * layers * width * length / (2 if causal else 1)
    return batch * length * (6 * products + attention)


class Repeated(keras.utils.PyDataset):
    """One batch, `STEPS` times: a step that is timed by itself would wait for the host before and after it."""

    def __init__(self, *batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return STEPS

    def __getitem__(self, step):
        return self.batch


def trainer(model, inputs, labels):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-4), loss, jit_compile=True)
    batches = Repeated(inputs, labels)
    return lambda: model.fit(batches, verbose=0)


def on_device(*arrays):
    """The arrays on the device: a loop over batches would have copied them beside the computing before."""
    import jax

    return [jax.device_put(array) for array in arrays]


def traced(run, name, settings):
    """Runs once more within a profile, if one is asked for."""
    if settings.trace:
        import jax

        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        with jax.profiler.trace(os.path.join(settings.trace, name), profiler_options=options):
            run()


def train(name, settings):
    """Samples a second of a training step, and its utilisation."""
    batch, length = SHAPES[settings.size][name]
    size = sizes(name, settings.size)
    ids = np.random.default_rng(0).integers(1, size["vocabulary_size"], (batch, length + 1)).astype("int32")
    if name == "gpt":
        model, inputs, labels = applications.GPT(**size), ids[:, :-1], ids[:, 1:]
    else:
        model = applications.bert_classifier(applications.BERT(**size), 2, dropout=0.0)
        inputs, labels = ids[:, :-1], ids[:, 0] % 2
    runs = {OURS: trainer(model, inputs, labels)}
    if "transformers" in settings.peers:
        import torch_peer
        import transformers

        if name == "gpt":
            config = gpt2_config(size, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
            peer = transformers.GPT2LMHeadModel(config)
        else:
            peer = transformers.BertForSequenceClassification(bert_config(size, 0.0))
        runs["transformers"] = torch_peer.torch_trainer(torch_peer.torch_model(peer), inputs, labels, STEPS)
    seconds = alternate(runs, settings.rounds, warm_up=1)
    traced(runs[OURS], name, settings)
    flops = STEPS * train_flops(model, batch, length, size["num_layers"], size["hidden_dim"], name == "gpt")
    rates = {each: STEPS * batch / statistics.median(times) for each, times in seconds.items()}
    used = {each: flops / statistics.median(times) / settings.peak_flops for each, times in seconds.items()}
    return {"samples_per_second": rates, "utilisation": used, "ratio": ratios(seconds)}


def generate(settings):
    """Tokens a second at each batch size, and the share of the bandwidth floor."""
    batches, prompt, new = SHAPES[settings.size]["generate"]
    size = sizes("gpt", settings.size)
    model = applications.GPT(**size)
    model_bytes = 2 * model.count_params()
    found = {}
    for batch in batches:
        prompts = np.random.default_rng(0).integers(1, size["vocabulary_size"], (batch, prompt)).astype("int32")
        runs = {OURS: lambda prompts=prompts: decoding.generate(model, prompts, new)}
        if "transformers" in settings.peers:
            import torch
            import torch_peer
            import transformers

            peer = transformers.GPT2LMHeadModel(gpt2_config(size)).to(torch_peer.torch_device(), torch.bfloat16).eval()
            ids = torch.from_numpy(prompts).long().to(torch_peer.torch_device())
            options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
            runs["transformers"] = lambda peer=peer, ids=ids, options=options: peer.generate(ids, **options).cpu()
        seconds = alternate(runs, settings.rounds)
        traced(runs[OURS], f"generate_{batch}", settings)
        floor = model_bytes / settings.bandwidth * new
        found[f"batch {batch}"] = {
            "tokens_per_second": {each: batch * new / statistics.median(times) for each, times in seconds.items()},
            "share_of_floor": {each: floor / statistics.median(times) for each, times in seconds.items()},
            "ratio": ratios(seconds),
        }
    return found


def images(name, settings):
    """Images a second in inference."""
    batch, side = SHAPES[settings.size]["images"]
    options = {"include_rescaling": False, "input_shape": (side, side, 3)}
    pixels = np.random.default_rng(0).standard_normal((batch, side, side, 3)).astype("float32")
    if name == "vit":
        size = (
            applications.VIT_SIZES["base_16"]
            if settings.size == "published"
            else {"patch_size": 16, **TINY, "image_size": 64}
        )
        model = applications.ViT(**size, **options)
    else:
        size = (
            applications.SWIN_SIZES["tiny"]
            if settings.size == "published"
            else {"num_layers": (1, 1), "num_heads": (1, 2)}
        )
        model = applications.Swin(**size, **options)
    model.compile(jit_compile=True)
    (given,) = on_device(pixels)
    runs = {OURS: lambda: model.predict_on_batch(given)}
    if "transformers" in settings.peers and settings.size == "published":
        import torch
        import torch_peer
        import transformers

        kind = {"vit": "ViT", "swin": "Swin"}[name]
        config = getattr(transformers, f"{kind}Config")(num_labels=1000)
        peer = torch_peer.torch_model(getattr(transformers, f"{kind}ForImageClassification")(config).eval())
        ready = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch_peer.torch_device(), torch.bfloat16)

        def run():
            with torch.no_grad():
                return peer(ready).logits.float().cpu()

        runs["transformers"] = run
    seconds = alternate(runs, settings.rounds, warm_up=3)
    traced(runs[OURS], name, settings)
    rates = {each: batch / statistics.median(times) for each, times in seconds.items()}
    return {"images_per_second": rates, "ratio": ratios(seconds)}


def ratios(seconds):
    return {name: ratio(seconds, name, OURS) for name in seconds if name != OURS}


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return float(f"{value:.3g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = ["gpt", "bert", "generate", "vit", "swin"]
    parser.add_argument("--size", choices=list(SHAPES), default="published")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak-flops", type=float, default=989e12, help="of the device, a second, in bfloat16")
    parser.add_argument("--bandwidth", type=float, default=3.35e12, help="of the device's memory, bytes a second")
    parser.add_argument("--peers", nargs="*", choices=["transformers"], default=["transformers"])
    parser.add_argument("--trace", help="a folder for profiles")
    settings = parser.parse_args()
    found = {}
    for task in settings.tasks:
        keras.config.set_dtype_policy("bfloat16" if task == "generate" else "mixed_bfloat16")
        if task in ("gpt", "bert"):
            found[task] = rounded(train(task, settings))
        else:
            found[task] = rounded(generate(settings) if task == "generate" else images(task, settings))
        print(task, json.dumps(found[task]), flush=True)
    import jax

    device = jax.devices()[0].device_kind
    versions = {**machine("keras", "jax", "torch", "transformers"), "device": device}
    print(json.dumps({"benchmark": "accelerator", "size": settings.size, "machine": versions, "tasks": found}))


if __name__ == "__main__":
    main()
