"""Makes t5_tiny.npz: logits and greedy ids of small T5s of `transformers`.

    python -m tests.golden.make_t5

needs torch and transformers. The weights are those of `seeded.tensor`, times 1.5 but for scales of norms and the head; the file
holds the configs, the shapes of the tensors, the ids, the logits and what greedy decoding gives.
"""

import json
from pathlib import Path

import numpy as np

from . import seeded

SIZES = {
    "vocab_size": 37,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 20,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
CONFIGS = {
    "t5": {"num_decoder_layers": 1},
    "t5_gated": {
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "relative_attention_max_distance": 9,
        "eos_token_id": 36,  # which the model likes to write
    },
}
NEW_TOKENS, LENGTHS = 9, (17, 9, 2)


def values(name, shape):
    """The values of a tensor."""
    if name.endswith("layer_norm.weight") or name == "lm_head.weight":
        return seeded.tensor(name, shape)
    if name.endswith("embed_tokens.weight"):
        name = "shared.weight"
    return seeded.tensor(name, shape) * np.float32(1.5)


def model(name, seed=None):
    """A model of `transformers`, of the weights of the names, or random ones of a seed."""
    import torch
    import transformers

    options = {**SIZES, **CONFIGS[name]}
    if seed is not None:
        transformers.set_seed(seed)
    made = transformers.T5ForConditionalGeneration(transformers.T5Config(**options)).eval()
    if not options.get("tie_word_embeddings", True):  # version 5 ties them in any case
        made.lm_head.weight = torch.nn.Parameter(made.lm_head.weight.detach().clone())
    with torch.no_grad():
        for each, weight in made.named_parameters():
            if seed is not None:
                weight += 0.2 * torch.randn_like(weight)
            else:
                weight.copy_(torch.tensor(values(each, tuple(weight.shape))))
    return made


def inputs():
    """Sources of unequal length, padded, and targets behind the start."""
    random = np.random.RandomState(0)
    source = np.zeros((len(LENGTHS), max(LENGTHS)), "int32")
    for row, length in zip(source, LENGTHS, strict=True):
        row[:length] = random.randint(2, 37, length)
    target = random.randint(2, 37, (len(LENGTHS), 15)).astype("int32")
    target[:, 0] = 0
    return source, target


def logits(made, source, target):
    """What a model of `transformers` gives for ids."""
    import torch

    source, target = (torch.tensor(np.asarray(ids, "int64")) for ids in (source, target))
    with torch.no_grad():
        return made(input_ids=source, attention_mask=(source != 0).long(), decoder_input_ids=target).logits.numpy()


def generated(made, source):
    """The ids that a model of `transformers` chooses, padded to one length."""
    import torch

    source = torch.tensor(np.asarray(source, "int64"))
    how = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
    found = made.generate(source, attention_mask=(source != 0).long(), **how).numpy()
    return np.pad(found, ((0, 0), (0, 1 + NEW_TOKENS - found.shape[1]))).astype("int32")


def main():
    """Writes the file beside this script."""
    source, target = inputs()
    arrays, folders = {"source": source, "target": target}, {}
    for name in CONFIGS:
        made = model(name)
        shapes = {each: tuple(weight.shape) for each, weight in made.named_parameters()}
        config = {**made.config.to_diff_dict(), "architectures": [type(made).__name__]}
        folders[name] = {"config": config, "shapes": shapes}
        arrays[f"{name}/logits"], arrays[f"{name}/greedy"] = logits(made, source, target), generated(made, source)
    np.savez_compressed(Path(__file__).with_name("t5_tiny.npz"), folders=json.dumps(folders), **arrays)


if __name__ == "__main__":
    main()
