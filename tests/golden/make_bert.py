"""Makes bert_tiny.npz: the outputs of small models of `transformers`, for tests that run without it.

    python -m tests.golden.make_bert

needs torch and transformers. The weights are those of `seeded.tensor`; the file holds the configs, the inputs and the
outputs.
"""

import json
from pathlib import Path

import numpy as np

from . import seeded

SIZES = {
    "vocab_size": 23,
    "max_position_embeddings": 10,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
}
CONFIGS = {
    "base": ("BertModel", SIZES),
    "pretraining": ("BertForPreTraining", {**SIZES, "hidden_act": "gelu_new", "type_vocab_size": 3}),
    "masked_lm": ("BertForMaskedLM", {**SIZES, "hidden_act": "relu", "layer_norm_eps": 1e-2, "pad_token_id": 4}),
    "classifier": ("BertForSequenceClassification", {**SIZES, "num_hidden_layers": 1, "num_labels": 3}),
}
# What `transformers` calls an output, and what this package does.
OUTPUTS = {
    "last_hidden_state": "sequence_output",
    "pooler_output": "pooled_output",
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
}


def inputs(padding_id=0):
    """Three sequences, two of them padded, in two segments."""
    rng = np.random.RandomState(0)
    ids = rng.randint(5, SIZES["vocab_size"], size=(3, SIZES["max_position_embeddings"])).astype("int32")
    ids[1, 6:] = ids[2, 1:] = padding_id
    segments = (np.arange(ids.shape[1]) >= 4).astype("int32") * np.ones_like(ids)
    return ids, segments


def outputs(model, ids, segments, padding_id=0):
    """What a model of `transformers` gives, by the names of this package."""
    import torch

    tensors = {"input_ids": ids, "token_type_ids": segments, "attention_mask": ids != padding_id}
    with torch.no_grad():
        found = model(**{name: torch.tensor(np.asarray(value, "int64")) for name, value in tensors.items()})
    logits = "logits" if hasattr(model, "classifier") else "masked_lm"
    return {OUTPUTS.get(name, logits): value.numpy() for name, value in found.items()}


def seeded_model(architecture, options):
    """A model of `transformers` with the weights of its tensors' names."""
    import torch
    import transformers

    model = getattr(transformers, architecture)(transformers.BertConfig(**options)).eval()
    state = {name: seeded.tensor(name, tuple(value.shape)) for name, value in model.state_dict().items()}
    for name, source in {"weight": "bert.embeddings.word_embeddings.weight", "bias": "cls.predictions.bias"}.items():
        if f"cls.predictions.decoder.{name}" in state:
            state[f"cls.predictions.decoder.{name}"] = state[source]
    model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return model


def main():
    """Writes the file beside this script."""
    arrays, configs = {}, {}
    for name, (architecture, options) in CONFIGS.items():
        model, padding_id = seeded_model(architecture, options), options.get("pad_token_id", 0)
        configs[name] = {**model.config.to_diff_dict(), "architectures": [architecture]}
        arrays[f"{name}/token_ids"], arrays[f"{name}/segment_ids"] = inputs(padding_id)
        found = outputs(model, *inputs(padding_id), padding_id)
        arrays.update({f"{name}/outputs/{output}": value for output, value in found.items()})
    np.savez_compressed(Path(__file__).with_name("bert_tiny.npz"), configs=json.dumps(configs), **arrays)


if __name__ == "__main__":
    main()
