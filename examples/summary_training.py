"""The summarizer, an encoder-decoder that copies, and how it is trained and asked."""

import time

import keras
import package_docstrings
import summary_texts
import text_tokens
from translation_training import END, Batches, answers, train

from keras_tx import decoding
from keras_tx.applications import Translator

SIZE = {
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "dropout": 0.05,
}
VOCABULARY = 6000
# Tokens of a text and of its summary, to which both are padded or cut: the buckets of the batches.
LENGTHS = ((48, 18), (72, 18), (72, 28))
TOKENS = 3584  # of a batch's texts
OPTIMIZER, AVERAGE = "muon", 0.998  # of the moving average of the weights, a step
NAME, EPOCHS = "Translator that copies", 3
SAMPLERS = {"greedy": decoding.Greedy(), "beam 4": decoding.Beam(4, length_penalty=0.6)}


def make_tokenizer(parts):
    """Returns a tokenizer of byte pairs learned from the texts and the summaries to train on."""
    pairs = parts.training + parts.short
    texts = [text for pair in pairs for text in (summary_texts.source(pair), summary_texts.target(pair.summary))]
    return text_tokens.make_tokenizer("bpe", texts, VOCABULARY, split_digits=True)


def encoded(tokenizer, pairs):
    """Returns the first ids of the pairs' texts, and those of their summaries, each ended by `END`; two lists of lists."""
    longest, longest_summary = LENGTHS[-1]
    summaries = package_docstrings.encode(tokenizer, [summary_texts.target(pair.summary) for pair in pairs])
    return prepared(tokenizer, pairs, longest), [[*ids[: longest_summary - 1], END] for ids in summaries]


def prepared(tokenizer, pairs, longest):
    """Returns the first `longest` ids of the text that is read of each pair."""
    texts = [summary_texts.source(pair) for pair in pairs]
    return [ids[:longest] for ids in package_docstrings.encode(tokenizer, texts)]


def fit(parts, tokenizer, seed, epochs, lengths):
    """Returns a summarizer trained on the pairs of the parts, and the seconds that its training took."""
    keras.utils.set_random_seed(seed)
    batches = Batches(*encoded(tokenizer, parts.training + parts.short), lengths, TOKENS, seed)
    model = Translator(tokenizer.vocabulary_size(), **SIZE, attention_dropout=0.0, normalize_first=True, copies=True)
    print(f"Seed {seed}: {model.count_params():,} parameters, {len(batches)} batches an epoch", flush=True)
    start = time.perf_counter()
    train(model, batches, epochs, OPTIMIZER, AVERAGE)
    return model, time.perf_counter() - start


def summarize(model, tokenizer, pairs, sampler, batch=64):
    """Returns the model's summary of each pair."""
    longest, longest_summary = LENGTHS[-1]
    found = answers(model, tokenizer, prepared(tokenizer, pairs, longest), sampler, longest_summary, batch)
    return [summary_texts.restored(text) for text in found]
