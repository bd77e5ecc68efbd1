"""What a small pretrained encoder stands beside: TF-IDF, and the vectors of MiniLM, each under a linear model that is tuned."""

import keras
import minilm
import numpy as np
from bert_text import make_tokenizer
from length_batches import LengthBatches
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from keras_tx.applications import load_huggingface
from keras_tx.layers import MaskedMeanPooling

LENGTHS = (32, 64, 96)  # of MiniLM; a batch is padded to the first that holds its longest text
INVERSE_DECAYS = (1.0, 10.0, 100.0)  # C of the logistic regression
FEATURES = {
    "words": {},
    "words and pairs": {"ngram_range": (1, 2)},
    "2 to 4 letters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    "2 to 5 letters": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}


def tfidf(texts, labels, validation, test):
    """Returns the test accuracy of a logistic regression on TF-IDF, and which features and C were the best on the validation.

    Args:
        texts: list of str.
        labels: int32 array.
        validation: tuple of texts and labels, to choose on.
        test: the like, to be asked about.
    """
    best = (-1.0,)
    for name, features in FEATURES.items():
        vectorizer = TfidfVectorizer(sublinear_tf=True, **features)
        vectors = vectorizer.fit_transform(texts)
        seen, asked = vectorizer.transform(validation[0]), None
        for inverse_decay in INVERSE_DECAYS:
            model = LogisticRegression(C=inverse_decay, max_iter=300).fit(vectors, labels)
            accuracy = model.score(seen, validation[1])
            if accuracy > best[0]:
                asked = vectorizer.transform(test[0]) if asked is None else asked
                best = (accuracy, float(model.score(asked, test[1])), f"{name}, C {inverse_decay:g}")
    return best[1:]


def linear(vectors, labels, validation, test):
    """Returns the test accuracy of a logistic regression on vectors, C being the best on the validation, and that C."""
    mean, scale = vectors.mean(0), vectors.std(0) + 1e-6
    best = (-1.0,)
    for inverse_decay in (1e-3, 1e-2, 1e-1, 1.0):
        model = LogisticRegression(C=inverse_decay, max_iter=300).fit((vectors - mean) / scale, labels)
        accuracy = model.score((validation[0] - mean) / scale, validation[1])
        if accuracy > best[0]:
            best = (accuracy, float(model.score((test[0] - mean) / scale, test[1])), f"C {inverse_decay:g}")
    return best[1:]


class MiniLM:
    """The vectors of MiniLM, a BERT of 22.7 million parameters that has read a billion pairs of sentences: means over tokens."""

    def __init__(self):
        folder = minilm.unpack()
        encoder = load_huggingface(folder)
        self.tokenizer = make_tokenizer(minilm.vocabulary(folder), LENGTHS[-1])
        ids = keras.Input((None,), dtype="int32", name="token_ids")
        states = encoder({"token_ids": ids, "segment_ids": keras.ops.zeros_like(ids)})["sequence_output"]
        self.model = keras.Model(ids, MaskedMeanPooling(name="mean")(states, mask=keras.ops.not_equal(ids, 0)))

    def __call__(self, texts):
        """Returns a float32 array (N, D)."""
        batches = LengthBatches(np.array(self.tokenizer(list(texts))), np.arange(len(texts)), LENGTHS, batch=50)
        vectors = np.zeros((len(texts), self.model.output_shape[-1]), "float32")
        bar = keras.utils.Progbar(batches.num_batches, interval=5)
        for index in range(batches.num_batches):
            ids, places = batches[index]
            vectors[places] = keras.ops.convert_to_numpy(self.model.predict_on_batch(ids))
            bar.add(1)
        return vectors
