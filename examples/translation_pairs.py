"""Pairs of texts to learn a translation from: babel's, those of an interface, or of TED talks by download."""

import cldr_pairs
import interface_pairs
import interface_text
import movie_reviews

TED = "ted_hrlr_translate/pt_to_en"
TED_SOURCE = "http://www.phontron.com/data/qi18naacl-dataset.tar.gz"


class AsTheyAre:
    """The form of texts that are translated whole and as they are; `interface_text` is another."""

    PLACEHOLDERS = ()

    @staticmethod
    def prepare(text):
        return [text], [None]

    @staticmethod
    def restore(translated, names):
        return translated[0]

    @staticmethod
    def training_rows(source, target):
        return [(source, target)]


FORMS = {"cldr": AsTheyAre, "interface": interface_text, "ted": AsTheyAre}


def load(dataset, target="es", count=60_000, validation=False):
    """Returns the pairs to train on, those to choose baselines by or `None`, and a dict of those that are held out.

    Args:
        dataset: "cldr", "interface" or "ted".
        target: str, a language of babel for "cldr", of Home Assistant for "interface".
        count: int, how many pairs to train on at most.
        validation: bool, whether what is held out is what settings are chosen by: other draws with other unseen values, other
            components.

    Raises:
        ValueError: for "ted" with `validation`: its talks are read for these two parts alone.
    """
    if dataset == "cldr":
        chosen_by = {"seed": 1, "unseen": cldr_pairs.UNSEEN_IN_VALIDATION} if validation else {}
        parts = cldr_pairs.make_pairs(target, count, **chosen_by)
        return parts.pop("train"), None, parts
    if dataset == "interface":
        parts = interface_pairs.load(target, count)
        name = "validation" if validation else "test"
        return parts["train"], parts["validation"], {name: parts[name]}
    if validation:
        raise ValueError(f"`validation` must be False for the talks of TED. Received: validation={validation!r}.")
    parts = load_ted(count)
    return parts.pop("train"), None, parts


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
