"""Batches for pretraining, each known by its epoch and its number: an interrupted training goes on with the right ones."""

import keras
import numpy as np

from keras_tx import pretraining

OBJECTIVES = ("token", "word", "span")


class PretrainingBatches(keras.utils.PyDataset):
    """Pairs of segments with masked tokens, drawn anew for each epoch.

    Args:
        documents: list of documents, each a list of sentences, each a list of token ids.
        tokenizer: of `bert_text.make_tokenizer`.
        length: int, T.
        batch: int.
        objective: "token", "word" (whole words) or "span" (spans, with the tokens around them).
        seed: int.
    """

    def __init__(self, documents, tokenizer, length, batch, objective, seed=0):
        super().__init__()
        self.documents, self.length, self.batch, self.seed = documents, length, batch, seed
        self.special = {"cls_id": tokenizer.start_id, "sep_id": tokenizer.end_id, "padding_id": tokenizer.pad_id}
        self.masking = {
            "vocabulary_size": tokenizer.vocabulary_size(),
            "mask_id": tokenizer.mask_id,
            "special_ids": (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.start_id, tokenizer.end_id),
            # Rows of spans have 15 % on the average only.
            "num_predictions": round(0.15 * length) + (12 if objective == "span" else 0),
        }
        if objective == "word":
            self.masking["word_starts"] = pretraining.word_start_table(tokenizer.vocabulary)
        self.mask = pretraining.mask_spans if objective == "span" else pretraining.mask_tokens
        self.has_spans = objective == "span"
        self.epoch = self._drawn_for = None
        self.start_epoch(0)
        # Each epoch cuts the documents otherwise, and has a few pairs more or less.
        self.steps = max(1, len(self.pairs["token_ids"]) // batch)

    def start_epoch(self, epoch):
        """Draws the pairs of an epoch; the callback of `follow` calls it."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        pairs = pretraining.next_sentence_pairs(self.documents, (self.seed, epoch), self.length, **self.special)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(pairs["token_ids"]))
        self.pairs = {name: values[order] for name, values in pairs.items()}

    def follow(self):
        """Returns the callback that tells these batches the epoch, also after a restart."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.start_epoch(epoch))

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        places = np.arange(index * self.batch, (index + 1) * self.batch) % len(self.pairs["token_ids"])
        pairs = {name: values[places] for name, values in self.pairs.items()}
        masked = self.mask(pairs["token_ids"], (self.seed, self.epoch, index), **self.masking)
        inputs = {"segment_ids": pairs["segment_ids"]}
        inputs |= {name: masked[name] for name in masked if name not in ("mask_ids", "mask_weights")}
        labels = {"masked_lm": masked["mask_ids"], "next_sentence": pairs["next_sentence_labels"]}
        weights = {"masked_lm": masked["mask_weights"], "next_sentence": np.ones(self.batch, "float32")}
        if self.has_spans:
            labels["span_boundary"], weights["span_boundary"] = labels["masked_lm"], weights["masked_lm"]
        return inputs, labels, weights


def unigram_baseline(training, held_out):
    """Returns the loss (nats) and the accuracy of predicting each masked token from how often tokens occur.

    Args:
        training: `PretrainingBatches`, whose tokens are counted.
        held_out: `PretrainingBatches`, whose masked tokens are predicted.
    """
    size = training.masking["vocabulary_size"]
    flat = np.concatenate([np.concatenate(document) for document in training.documents if document]).astype(int)
    chances = np.bincount(flat, minlength=size) + 1.0  # none is impossible
    chances /= chances.sum()
    labels = [held_out[index] for index in range(held_out.num_batches)]
    labels = np.concatenate([each["masked_lm"][weight["masked_lm"] > 0] for _, each, weight in labels])
    return float(-np.log(chances[labels]).mean()), float(np.mean(labels == chances.argmax()))
