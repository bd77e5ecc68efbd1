"""Training steps of BERT pretraining (masked tokens and next sentence) for `train_step.py`: ours, keras-hub's, transformers'.

Each candidate is one whole step on one batch: forward, both losses, backward, AdamW. Keras' models step by
`train_on_batch`, as `fit` does; `transformers.BertForPreTraining` steps in torch, as its users write it: it scores every
position against the vocabulary, and its loss reads the masked ones.
"""

import keras
import numpy as np

from keras_tx.applications import BERT, BERT_SIZES, bert_pretrainer

SIZES = {
    "bert-base": {**BERT_SIZES["base"], "batch": 8, "length": 128, "predictions": 20},
    "bert-mini": {**BERT_SIZES["mini"], "batch": 8, "length": 128, "predictions": 20},
}
RATE = 1e-4


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
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(RATE), dict.fromkeys(labels, loss), jit_compile=jit)
    return lambda: float(np.ravel(model.train_on_batch(inputs, labels, weights))[0])


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
    import transformers

    model = transformers.BertForPreTraining(bert_config(size, dropout)).train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    inputs, labels, _ = (
        {name: torch.tensor(value.astype("int64")) for name, value in part.items()} for part in batch(size)
    )
    wanted = torch.full_like(inputs["token_ids"], -100).scatter(1, inputs["mask_positions"], labels["masked_lm"])

    def step():
        loss = model(
            input_ids=inputs["token_ids"],
            token_type_ids=inputs["segment_ids"],
            labels=wanted,
            next_sentence_label=labels["next_sentence"],
        ).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CANDIDATES = {"keras_tx": ours, "keras_hub": keras_hub, "transformers": transformers}
