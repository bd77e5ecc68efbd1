"""Pairs of sentences to learn a translation from: babel's, or those of TED talks by download."""

import cldr_pairs
import movie_reviews

TED = "ted_hrlr_translate/pt_to_en"
TED_SOURCE = "http://www.phontron.com/data/qi18naacl-dataset.tar.gz"


def load(dataset, target="es", count=60_000):
    """Returns a dict of lists of `cldr_pairs.Pair`: "train", and what is held out.

    Args:
        dataset: "cldr" or "ted".
        target: str, a language of babel, for "cldr".
        count: int, how many pairs to train on at most.
    """
    if dataset == "cldr":
        return cldr_pairs.make_pairs(target, count)
    return load_ted(count)


def load_ted(count=None, data_dir=None):
    """Returns sentences of TED talks, Portuguese to English, downloaded once.

    Args:
        count: int, how many pairs to train on at most; `None` for all 51,785.
        data_dir: where tensorflow-datasets keeps its data, or `None` for its own place.

    Raises:
        ModuleNotFoundError: if tensorflow-datasets is not installed.
        ConnectionError: if the talks are not in `data_dir` and their server cannot be reached.

    Reference:
        Qi et al. 2018, "When and Why are Pre-trained Word Embeddings Useful for Neural Machine Translation?".
    """
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(TED, data_dir=data_dir)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The talks are read through tensorflow-datasets. Install it: pip install tensorflow tensorflow-datasets "
            f"importlib_resources. Received: {error}.",
            name=error.name,
        ) from error
    if not builder.is_prepared():
        movie_reviews.reach(
            TED_SOURCE, builder.data_dir, "The corpus of TED talks"
        )  # at once, where the download would retry for minutes
        builder.download_and_prepare()
    found = {}
    for name in ("train", "test"):
        rows = tfds.as_numpy(builder.as_dataset(split=name))
        pairs = [cldr_pairs.Pair(*(row[code].decode() for code in ("pt", "en")), "talk") for row in rows]
        found[name] = pairs[:count] if name == "train" else pairs
    return found
