"""Training steps of BERT for `train_step.py` and `training.py`, masked tokens and next sentence: ours and those of peers.

Each candidate is one whole step on one batch: forward, both losses, backward, AdamW. Keras' models step by
`train_on_batch`, as `fit` does; `transformers.BertForPreTraining` steps in torch, as its users write it: it scores every
position against the vocabulary, and its loss reads the masked ones. For `training.py` it scores the masked ones alone, as the
others do.
"""

import keras
import numpy as np
from training_steps import keras_step, torch_step

from keras_tx.applications import BERT, BERT_SIZES, bert_pretrainer

SIZES = {
    "bert-base": {**BERT_SIZES["base"], "batch": 8, "length": 128, "predictions": 20},
    "bert-mini": {**BERT_SIZES["mini"], "batch": 8, "length": 128, "predictions": 20},
}
RATE, DECAY = 1e-4, 0.01


def batch(size, seed=0):
    """Returns inputs, labels and weights of one batch of random tokens, 15 % of which are to be predicted."""
    random = np.random.default_rng(seed)
    rows, length, predictions = size["batch"], size["length"], size["predictions"]
    ids = random.integers(1000, size["vocabulary_size"], (rows, length)).astype("int32")
    positions = np.sort(random.random((rows, length)).argsort(-1)[:, :predictions]).astype("int32")
    inputs = {
        "token_ids": ids,
        "segment_ids": np.repeat([[0, 1]], rows, 0).repeat(length // 2, 1).astype("int32"),
        "mask_positions": positions,
    }
    labels = {
        "masked_lm": np.take_along_axis(ids, positions, 1),
        "next_sentence": random.integers(0, 2, rows).astype("int32"),
    }
    weights = {"masked_lm": np.ones(positions.shape, "float32"), "next_sentence": np.ones(rows, "float32")}
    return inputs, labels, weights


def ours(size, dropout, jit):
    sizes = {name: size[name] for name in BERT_SIZES["base"]}
    model = bert_pretrainer(BERT(**sizes, dropout=dropout))
    return _keras_step(model, *batch(size), jit)


def keras_hub(size, dropout, jit):
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=size["vocabulary_size"],
        num_layers=size["num_layers"],
        num_heads=size["num_heads"],
        hidden_dim=size["hidden_dim"],
        intermediate_dim=size["intermediate_dim"],
        max_sequence_length=size["sequence_length"],
        dropout=dropout,
    )
    positions = keras.Input((None,), dtype="int32", name="mask_positions")
    head = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding, intermediate_activation="gelu", name="masked_lm"
    )
    outputs = {
        "masked_lm": head(backbone.output["sequence_output"], mask_positions=positions),
        "next_sentence": keras.layers.Dense(2, name="next_sentence")(backbone.output["pooled_output"]),
    }
    model = keras.Model({**backbone.input, "mask_positions": positions}, outputs)
    inputs, labels, weights = batch(size)
    inputs = {**inputs, "padding_mask": np.ones_like(inputs["token_ids"])}
    return _keras_step(model, inputs, labels, weights, jit)


def _keras_step(model, inputs, labels, weights, jit):
    losses = dict.fromkeys(labels, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return keras_step(model, inputs, labels, losses, keras.optimizers.AdamW(RATE, weight_decay=DECAY), jit, weights)


def bert_config(size, dropout):
    """The configuration by which transformers makes the BERT of a table of sizes."""
    import transformers

    return transformers.BertConfig(
        vocab_size=size["vocabulary_size"],
        num_hidden_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        hidden_size=size["hidden_dim"],
        intermediate_size=size["intermediate_dim"],
        max_position_embeddings=size["sequence_length"],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def transformers(size, dropout, jit):
    import torch

    model, tensors = _transformers(size, dropout)
    wanted = torch.full_like(tensors[0], -100).scatter(1, tensors[2], tensors[3])

    def loss(ids, segments, positions, masked, following):
        return model(input_ids=ids, token_type_ids=segments, labels=wanted, next_sentence_label=following).loss

    return torch_step(model, loss, tensors, torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY))


def transformers_masked(size, dropout, compiled):
    """As above, but masked positions alone are scored, the optimizer is torch's fused one, and `torch.compile` is to be had."""
    import torch

    model, tensors = _transformers(size, dropout)

    def loss(ids, segments, positions, masked, following):
        found = model.bert(input_ids=ids, token_type_ids=segments)
        states = found.last_hidden_state.take_along_dim(positions[..., None], 1)  # (B, masked, D)
        logits, relation = model.cls(states, found.pooler_output)
        crossentropy = torch.nn.functional.cross_entropy
        return crossentropy(logits.flatten(0, 1), masked.flatten()) + crossentropy(relation, following)

    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, fused=True)
    return torch_step(model, loss, tensors, optimizer, compiled)


def _transformers(size, dropout):
    """The model, and ids, segments, masked positions, their tokens and which sentences follow."""
    import torch
    import transformers

    inputs, labels, _ = batch(size)
    arrays = [*(inputs[name] for name in ("token_ids", "segment_ids", "mask_positions")), *labels.values()]
    tensors = tuple(torch.tensor(each.astype("int64")) for each in arrays)
    return transformers.BertForPreTraining(bert_config(size, dropout)), tensors


CANDIDATES = {"keras_tx": ours, "keras_hub": keras_hub, "transformers": transformers}
