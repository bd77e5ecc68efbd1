"""One whole model that trains, in a process of its own: started by `training.py`, one step for each line that it reads.

Each candidate trains on the same arrays by the same loss and optimizer, with the same dropout. Keras' models step by
`train_on_batch`; those of transformers in torch, with its fused optimizer, compiled by `torch.compile` or not.
"""

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import answer_in_turn

KERAS = ("keras_tx", "keras_hub")
COMPILED = "compiled"  # transformers by torch.compile
CANDIDATES = (*KERAS, "transformers", COMPILED)
RATE, DECAY, DROPOUT = 1e-4, 0.01, 0.1
GPT_LENGTH, SOURCE, TARGET = 256, 24, 24
_TINY = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
_TINY_TEXT = {**_TINY, "vocabulary_size": 1200, "sequence_length": 32}
TINY = {
    "bert": {**_TINY_TEXT, "length": 32, "predictions": 4},
    "gpt": _TINY_TEXT,
    "vit": {**_TINY, "image_size": 32, "num_classes": 10, "patch_size": 16},
    "swin": {
        "image_size": 32,
        "num_classes": 10,
        "num_layers": (2, 2),
        "num_heads": (2, 4),
        "hidden_dim": 16,
        "window_size": 4,
    },
    "translator": {**_TINY, "source_vocabulary_size": 1200, "dropout": DROPOUT},
}


def _adamw(model):
    import torch

    return torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, fused=True)


def _keras_adamw():
    import keras

    return keras.optimizers.AdamW(RATE, weight_decay=DECAY)


def bert(candidate, batch, jit, tiny):
    """Masked tokens and next sentence, 20 of 128 positions masked, those alone scored."""
    import bert_training

    size = TINY["bert"] if tiny else bert_training.SIZES["bert-base"]
    size = {**size, "batch": batch}
    if candidate in KERAS:
        return bert_training.CANDIDATES[candidate](size, DROPOUT, jit)
    return bert_training.transformers_masked(size, DROPOUT, candidate == COMPILED)


def gpt(candidate, batch, jit, tiny):
    """Each next token of rows of `GPT_LENGTH`."""
    import generate
    from training_steps import keras_step, torch_step
    from vision_candidates import keras_loss

    size = TINY["gpt"] if tiny else generate.MODELS["gpt2-small"]
    length = min(GPT_LENGTH, size["sequence_length"])
    ids = np.random.default_rng(0).integers(1, size["vocabulary_size"], (batch, length + 1)).astype("int32")
    ids, following = ids[:, :-1], ids[:, 1:]
    if candidate == "keras_tx":
        model = generate.GPT(**size, dropout=DROPOUT)
        return keras_step(model, ids, following, keras_loss(), _keras_adamw(), jit)
    if candidate == "keras_hub":
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
        model = generate.keras_hub_gpt2(size, DROPOUT)
        return keras_step(model, inputs, following, keras_loss(), _keras_adamw(), jit)
    import torch
    import transformers

    config = generate.gpt2_config(size, resid_pdrop=DROPOUT, embd_pdrop=DROPOUT, attn_pdrop=DROPOUT)
    model = transformers.GPT2LMHeadModel(config)

    def loss(ids, following):
        logits = model(ids, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())

    tensors = tuple(torch.tensor(each, dtype=torch.int64) for each in (ids, following))
    return torch_step(model, loss, tensors, _adamw(model), candidate == COMPILED)


def _images(name, candidate, batch, jit, tiny):
    import vision_candidates as vision
    from training_steps import keras_step, torch_step

    size = TINY[name] if tiny else vision.SIZES[name]
    if candidate in KERAS:
        make = vision.keras_tx_model if candidate == "keras_tx" else vision.keras_hub_model
        images, labels = vision.pixels(size, batch)
        return keras_step(make(name, size), images, labels, vision.keras_loss(), _keras_adamw(), jit)
    model = vision.transformers_model(name, size)
    loss = vision.torch_loss(lambda images: model(images).logits)
    return torch_step(model, loss, vision.torch_pixels(size, batch), _adamw(model), candidate == COMPILED)


def vit(*settings):
    """Classes of images of 224 x 224."""
    return _images("vit", *settings)


def swin(*settings):
    """Classes of images of 224 x 224."""
    return _images("swin", *settings)


def translator(candidate, batch, jit, tiny):
    """Teacher forcing, `SOURCE` and `TARGET` tokens, a quarter of each second row padding, labels smoothed by 0.1, Adam."""
    import translate

    size = TINY["translator"] if tiny else translate.SIZES["base"]
    sources, targets = translate.pairs(size, batch, SOURCE, TARGET)
    if candidate == "keras_tx":
        model = translate.Ours(size, jit)
    else:
        model = translate.Transformers(size, candidate == COMPILED)
    return lambda: model.train(sources, targets)


MODELS = {each.__name__: each for each in (bert, gpt, vit, swin, translator)}
# keras-hub has no encoder-decoder of this kind.
WITHOUT_KERAS_HUB = ("translator",)


def main():
    name, candidate, batch, jit, tiny = sys.argv[1:]
    # What libraries hold belongs to no candidate's memory.
    importlib.import_module(candidate if candidate in KERAS else "transformers")
    if candidate not in KERAS:
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
    answer_in_turn(lambda: MODELS[name](candidate, int(batch), jit == "on", tiny == "tiny"))


if __name__ == "__main__":
    main()
