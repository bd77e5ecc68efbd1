"""The page of heads holds all that it shows, nothing in a word can end its script, and a causal model is drawn as it reads."""

import json
import re

import attention_patterns
import numpy as np
import pytest
import smollm2

from keras_tx.analysis import AttentionPatterns
from keras_tx.applications import GPT

pytestmark = pytest.mark.once  # text, pictures and one small model


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


class Words:
    """A tokenizer of marks and of words, cut after five letters, which begin with a space but at the start, as byte pairs do."""

    def __init__(self, texts):
        self.tokens = sorted({word for text in texts for word in self.split(text)})

    def split(self, text):
        return [word.replace(" ", "\u0120") for word in re.findall(r" ?\w{1,5}|[.,]", text)]

    def tokenize(self, text):
        return np.array([self.tokens.index(word) for word in self.split(text)])

    def id_to_token(self, token):
        return self.tokens[token]


def test_a_causal_model_is_measured_drawn_and_put_on_a_page_without_its_weights(tmp_path, monkeypatch, capsys):
    tokenizer = Words(attention_patterns.TEXTS)
    sizes = {"num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8, "sequence_length": 32}
    model = GPT(len(tokenizer.tokens), num_layers=1, **sizes)
    monkeypatch.setattr(smollm2, "load", lambda: (model, tokenizer))
    read = attention_patterns.read_by_smollm2()
    assert read.token_ids.shape == (4, 20)  # that of the shortest text
    assert read.words[:5] == ["The", "heavy", "rain", "went", "on"]
    assert sorted(tokenizer.id_to_token(token) for token in read.punctuation) == [",", "."]
    assert tokenizer.id_to_token(read.stop) == "."
    html = tmp_path / "heads.html"
    arguments = ["--model", "smollm2", "--effects-by", "gradient", "--output", str(tmp_path), "--html", str(html)]
    monkeypatch.setattr("sys.argv", ["attention_patterns.py", *arguments])
    attention_patterns.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["model"], found["effects_by"], sum(found["heads"].values())) == ("smollm2", "gradient", 2)
    assert found["largest_effect"] >= found["least_effect"] > 0
    assert 0 < found["least_and_largest_distance"][0] <= found["least_and_largest_distance"][1] < 20
    assert "last_cosines" not in found  # of a word before its sentence there is nothing to tell
    assert "heavy" in html.read_text()
    for name in ("labels.png", "heads.png", "distances.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
