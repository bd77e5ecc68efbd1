"""Masked words, spans, replaced tokens and documents as objectives for one small encoder, each for as many operations."""

import time

import keras
import numpy as np
import pretraining_documents
from bert_text import SPECIAL
from pretraining_batches import SPAN_TOKENS, Batches

from keras_tx import analysis
from keras_tx.applications import bert_pretrainer, electra_pretrainer
from keras_tx.layers import (
    MultiHeadSelfAttention,
    RotaryEmbedding,
    SegmentEmbedding,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerEncoder,
)
from keras_tx.losses import ReplacedTokenCrossentropy
from keras_tx.schedules import LinearWarmUpDecay

OBJECTIVES = ("words", "spans", "replaced", "documents")
NAMES = {
    "new": "new weights", "words": "masked words", "spans": "spans and boundaries", "replaced": "replaced tokens",
    "documents": "masked words, documents",
}  # fmt: skip
SETTINGS = {
    "vocabulary": 8000, "length": 72, "width": 128, "blocks": 2, "heads": 4, "intermediate": 512, "generator": 64,
    "normalize_first": True, "rotary": True, "neighbors": 5, "dropout": 0.0, "batch": 32, "optimizer": "muon", "adam_ratio": 0.3,
    "warm_up": 0.1, "rate": 1e-2, "share": 0.15, "document_batch": 64,
}  # fmt: skip
REPLACED_WEIGHT = 50.0  # of the loss of replaced tokens beside the generator's, as in the paper


class Tokenizer:
    """WordPiece, learned from texts by the package tokenizers: ids of the texts between [CLS] and [SEP], padded with 0."""

    def __init__(self, texts, size, length):
        import tokenizers

        self.fast = tokenizers.BertWordPieceTokenizer()
        self.fast.train_from_iterator(
            texts, vocab_size=size, min_frequency=3, special_tokens=list(SPECIAL.values()), show_progress=False
        )
        places = self.fast.get_vocab()
        self.vocabulary = sorted(places, key=places.get)
        self.special_ids = tuple(places[token] for token in SPECIAL.values())
        self.mask_id = places[SPECIAL["mask_id"]]
        self.length = length

    def __call__(self, texts):
        ids = np.zeros((len(texts), self.length), "int32")
        start, end = (self.vocabulary.index(SPECIAL[name]) for name in ("start_id", "end_id"))
        for row, encoding in zip(ids, self.fast.encode_batch(list(texts), add_special_tokens=False), strict=True):
            kept = [start, *encoding.ids[: self.length - 2], end]
            row[: len(kept)] = kept
        return ids


def make_encoder(vocabulary_size, settings, width=None, blocks=None, name="encoder"):
    """Returns an encoder with the inputs, outputs and names of `BERT`, for its heads; its blocks may be pre-norm."""
    width, blocks = width or settings["width"], blocks or settings["blocks"]
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    segments = keras.Input((None,), dtype="int32", name="segment_ids")
    x = TokenAndPositionEmbedding(
        vocabulary_size, settings["length"], width, embeddings_initializer=initializer, name="embedding"
    )(ids)
    x = keras.layers.Add(name="embeddings")(
        [x, SegmentEmbedding(2, width, initializer, name="segment_embedding")(segments)]
    )
    x = keras.layers.LayerNormalization(name="embedding_norm")(x)
    x = keras.layers.Dropout(settings["dropout"], name="embedding_dropout")(x)
    mask = keras.ops.not_equal(ids, 0)
    if settings["neighbors"]:  # what stands beside a hidden word is seen from the first step on
        real = keras.ops.cast(mask, x.dtype)[..., None]
        beside = keras.layers.Conv1D(width, settings["neighbors"], padding="same", name="neighbors")(x * real)
        x = keras.layers.Add(name="with_neighbors")([x, beside])  # (B, T, D)
    kernels = "glorot_uniform" if settings["normalize_first"] else initializer
    for index in range(blocks):
        attention = MultiHeadSelfAttention(
            max(1, settings["heads"] * width // settings["width"]),
            dropout=settings["dropout"],
            rotary=RotaryEmbedding(name="rotary") if settings["rotary"] else None,
            kernel_initializer=kernels,
            name="attention",
        )
        x = TransformerEncoder(
            settings["intermediate"] * width // settings["width"],
            dropout=settings["dropout"],
            activation="gelu",
            normalize_first=settings["normalize_first"],
            attention=attention,
            kernel_initializer=kernels,
            name=f"block_{index}",
        )(x, mask=mask)  # (B, T, D)
    if settings["normalize_first"]:
        x = keras.layers.LayerNormalization(name="final_norm")(x)
    return keras.Model({"token_ids": ids, "segment_ids": segments}, {"sequence_output": x}, name=name)


def make_pretrainer(encoder, objective, settings):
    """Returns the model that trains an encoder for an objective."""
    if objective != "replaced":
        model = bert_pretrainer(
            encoder, next_sentence=False, span_boundary=objective == "spans", max_span_length=SPAN_TOKENS
        )
        return pretraining_documents.with_documents(model, encoder) if objective == "documents" else model
    vocabulary_size = encoder.get_layer("embedding").token_embedding.input_dim
    generator = make_encoder(vocabulary_size, settings, settings["generator"], 1, "generator")
    return electra_pretrainer(generator, encoder, special_ids=range(len(SPECIAL)))


def flop_of_a_batch(model, batches, sample=40):
    """Returns how many operations the training takes for a batch on the average: three forward passes, padding included."""
    places = range(0, batches.num_batches, -(-batches.num_batches // sample))
    return sum(analysis.count_costs(model, batches[place][0], "train").flops for place in places) / len(places)


def begin_with_counts(model, ids):
    """Sets the bias of logits so that a model without knowledge says how often each token occurs, and need not learn it."""
    for layer in model._flatten_layers():
        if isinstance(layer, TiedLogits):
            counts = np.bincount(ids.ravel(), minlength=layer.bias.shape[0]) + 1.0
            counts[: len(SPECIAL)] = 1.0
            layer.bias.assign(np.log(counts / counts.sum()))


def steps_for(model, corpus, tokenizer, objective, settings, flop):
    """Returns in how many batches the training of a model takes about so many operations."""
    sample = Batches(*corpus, tokenizer, objective, settings, max(1, len(corpus[0]) // settings["batch"]))
    return max(2, round(flop / flop_of_a_batch(model, sample)))


def make_optimizer(settings, rate, steps):
    """Returns Muon for the matrices and Adam for the rest, or AdamW alone; the rate rises first and then falls."""
    rate = LinearWarmUpDecay(rate, max(2, steps), round(settings["warm_up"] * steps))
    if settings["optimizer"] == "muon":
        return keras.optimizers.Muon(rate, weight_decay=0.1, adam_lr_ratio=settings["adam_ratio"], clipnorm=1.0)
    return keras.optimizers.AdamW(rate, weight_decay=0.01, beta_2=0.98, clipnorm=1.0)


class Progress(keras.callbacks.Callback):
    """Prints the losses ten times in a training, and how much time is left."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.start = steps, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % max(1, self.steps // 10) == 0:
            left = (time.perf_counter() - self.start) * (self.steps / (batch + 1) - 1)
            told = ", ".join(f"{name} {float(value):.3f}" for name, value in logs.items())
            print(f"  step {batch + 1:,} of {self.steps:,}, {left:.0f} s left: {told}", flush=True)
            self.model.reset_metrics()  # what is printed is the mean since the last time


def pretrain(encoder, objective, tokenizer, corpus, settings, flop):
    """Trains an encoder for an objective for a number of operations.

    Args:
        encoder: as `make_encoder` makes it.
        objective: one of `OBJECTIVES`.
        tokenizer: `Tokenizer`.
        corpus: tuple of ids (N, T) and of the documents' numbers (N,).
        settings: as `SETTINGS`.
        flop: float.

    Returns:
        A dict: the steps, the seconds, and what the losses and the accuracies came to.
    """
    model = make_pretrainer(encoder, objective, settings)
    steps = steps_for(model, corpus, tokenizer, objective, settings, flop)
    begin_with_counts(model, corpus[0])
    batches = Batches(*corpus, tokenizer, objective, settings, steps)
    token_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    other = {"replaced": ReplacedTokenCrossentropy(), "document": pretraining_documents.SameDocument()}
    losses = {name: other.get(name, token_loss) for name in model.output}
    model.compile(
        make_optimizer(settings, settings["rate"], steps),
        losses,
        loss_weights={name: REPLACED_WEIGHT if name == "replaced" else 1.0 for name in losses},
        weighted_metrics={"masked_lm": ["accuracy"]},
        jit_compile=False,  # lengths differ from batch to batch
    )
    start = time.perf_counter()
    model.fit(batches, shuffle=False, callbacks=[Progress(steps)], verbose=0)
    seconds = round(time.perf_counter() - start)
    return {"steps": steps, "seconds": seconds, "reached": last_losses(model, batches)}


def last_losses(model, batches, count=20):
    """Returns the losses and accuracies of the last batches, in inference."""
    model.reset_metrics()
    for index in range(max(0, batches.num_batches - count), batches.num_batches):
        found = model.test_on_batch(*batches[index], return_dict=True)  # the mean over the calls so far
    return {name: round(float(value), 4) for name, value in found.items()}
