"""Batches of texts with tokens hidden, each objective of the study in its way."""

import keras
import numpy as np
import pretraining_documents

from keras_tx import pretraining

SPAN_TOKENS = 10  # of the longest span of words


class Batches(keras.utils.PyDataset):
    """Texts of like length with tokens hidden, for an objective, others in each epoch.

    Args:
        ids: int32 (N, T), padded with 0.
        documents: int32 (N,), which document each text is of.
        tokenizer: `Tokenizer`.
        objective: one of `pretraining_objectives.OBJECTIVES`.
        settings: as `pretraining_objectives.SETTINGS`.
        steps: int, batches in all.
        seed: int.
    """

    def __init__(self, ids, documents, tokenizer, objective, settings, steps, seed=0):
        super().__init__()
        self.ids, self.documents, self.objective, self.seed = ids, documents, objective, seed
        self.starts = pretraining.word_start_table(tokenizer.vocabulary)
        self.masking = {
            "vocabulary_size": len(tokenizer.vocabulary),
            "mask_id": tokenizer.mask_id,
            "special_ids": tokenizer.special_ids,
            "rate": settings["share"],
        }
        lengths = -(-(ids != 0).sum(1) // 8)  # in eights
        batches, random = [], np.random.default_rng(seed)
        while len(batches) < steps:
            batches += self._epoch(lengths, random, settings)
        widths = [8 * int(lengths[rows].max()) for rows in batches[:steps]]
        # Keras takes the shapes of the first two batches for those of all: they must differ where any do.
        other = next((place for place, width in enumerate(widths) if width != widths[0]), 0)
        self.batches = [batches[other], *batches[:other], *batches[other + 1 : steps]]

    def _epoch(self, lengths, random, settings):
        """Returns lists of places of texts of like length; of documents, two texts of each after one another."""
        if self.objective == "documents":
            texts, batch = pretraining_documents.pairs(self.documents, random), settings["document_batch"] // 2
        else:
            texts, batch = np.arange(len(lengths))[:, None], settings["batch"]
        order = np.lexsort((random.random(len(texts)), lengths[texts].max(axis=1)))
        starts = np.arange(0, max(1, len(texts) - batch + 1), batch)
        return [texts[order[start : start + batch]].ravel() for start in random.permutation(starts)]

    @property
    def num_batches(self):
        return len(self.batches)

    def __getitem__(self, index):
        rows = self.batches[index]
        ids = self.ids[rows]
        width = min(ids.shape[1], 8 * -(-int((ids != 0).sum(1).max()) // 8))  # few shapes
        ids, seed = ids[:, :width], (self.seed, index)
        count = max(1, round(self.masking["rate"] * width))
        if self.objective == "spans":
            hidden = pretraining.mask_spans(
                ids, seed, num_predictions=min(width, count + SPAN_TOKENS), word_starts=self.starts,
                max_span_length=5, max_span_tokens=SPAN_TOKENS, **self.masking,
            )  # fmt: skip
        elif self.objective in ("words", "documents"):
            hidden = pretraining.mask_tokens(ids, seed, num_predictions=count, word_starts=self.starts, **self.masking)
        else:
            hidden = pretraining.mask_tokens(
                ids, seed, num_predictions=count, mask_rate=1.0, random_rate=0.0, **self.masking
            )
        labels, weights = {"masked_lm": hidden["mask_ids"]}, {"masked_lm": hidden["mask_weights"]}
        if self.objective == "spans":
            labels["span_boundary"], weights["span_boundary"] = labels["masked_lm"], weights["masked_lm"]
        if self.objective == "documents":
            labels["document"], weights["document"] = self.documents[rows], np.ones(len(ids), "float32")
        if self.objective == "replaced":
            labels["replaced"], weights["replaced"] = ids, np.ones(len(ids), "float32")
        else:
            hidden = {name: value for name, value in hidden.items() if name not in ("mask_ids", "mask_weights")}
        return {**hidden, "segment_ids": np.zeros_like(ids)}, labels, weights
