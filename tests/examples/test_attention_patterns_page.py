"""The page of heads holds all that it shows, and nothing in a word can end its script."""

import json
import re

import attention_patterns
import numpy as np
import pytest

from keras_tx.analysis import AttentionPatterns

pytestmark = pytest.mark.once  # text and numpy alone


def test_the_page_stands_alone_and_holds_the_weights_of_the_words():
    maps = {"encoder_0": np.random.default_rng(0).random((2, 3, 5, 5)).astype("float32")}
    patterns = AttentionPatterns({}, {"encoder_0": ["self", "broad", "null"]}, {}, maps, {})
    words = ["[CLS]", "</script>", "[SEP]"]
    page = attention_patterns.page(patterns, words, row=1)
    assert page.count("</script>") == 1
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org/2000/svg)", page)
    data = json.loads(re.search(r"const data = (.*), step = ", page)[1])
    assert data["words"] == words
    assert data["layers"][0]["labels"] == ["self", "broad", "null"]
    np.testing.assert_allclose(data["layers"][0]["weights"], maps["encoder_0"][1, :, :3, :3], atol=6e-4)


def test_sentences_are_counted_by_the_full_stops_before():
    ids = np.array([[1, 7, 9, 7, 7, 9, 2]])
    assert attention_patterns.sentences(ids, 9).tolist() == [[0, 0, 0, 1, 1, 1, 2]]
