"""The summarizer: what is trained on, what was copied, and its whole job on a few docstrings."""

import json
import sys
import types

import keras
import numpy as np
import pytest
from summary_pairs import Docstring, Parts

from keras_tx import decoding

pytest.importorskip("keras_hub")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its windows are a tf.data.Dataset")
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "dropout": 0.0}
WORDS = ["red", "blue", "green", "large", "small", "old", "new", "cat", "dog", "fox"]


def pairs(count, seed=0, rest=12):
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        first, second, *others = rng.choice(WORDS, 2 + rest)
        text = " ".join([first, second, *others]) if rest else ""
        made.append(
            Docstring(
                f"zoo.{first}_{second}(of_{number})",
                text,
                f"Returns the {first} {second} {number}.",
                f"{seed}/{number}.py",
            )
        )
    return made


@pytest.fixture
def example(monkeypatch):
    import summarization

    compile_model = keras.Model.compile
    # TensorFlow's graphs are made in a fraction of the time that XLA takes to compile.
    monkeypatch.setattr(
        keras.Model, "compile", lambda *args, **options: compile_model(*args, **options | {"jit_compile": False})
    )
    monkeypatch.setattr(summarization.summary_training, "SIZE", SMALL)
    monkeypatch.setattr(summarization.summary_decoder, "SIZE", SMALL)
    monkeypatch.setattr(summarization.summary_decoder, "WINDOWS", 4)
    monkeypatch.setattr(summarization.summary_training, "VOCABULARY", 320)
    monkeypatch.setattr(summarization.summary_training, "LENGTHS", ((64, 16),))
    monkeypatch.setattr(summarization.summary_training, "TOKENS", 512)
    return summarization


def parts_of(training, held_out):
    return Parts(training, pairs(8, 1, rest=0), held_out)


def test_a_decoder_predicts_the_summary_from_the_delimiter_on(example):
    decoder, training = example.summary_decoder, example.summary_training
    made = [*pairs(6), Docstring("zoo.far(x)", "word " * 90, "Is far away.", "far.py")]
    tokenizer = training.make_tokenizer(parts_of(made, {}))
    texts, summaries = training.encoded(tokenizer, made)
    assert max(map(len, texts)) == 64
    rows = [[*text, decoder.DELIMITER, *summary[:-1]] for text, summary in zip(texts, summaries, strict=True)]
    batches = decoder.DecoderBatches(rows, summaries, [(80, 16)], 80 * 7)
    inputs, labels = batches[0]
    assert inputs["token_ids"].shape == (7, 80)
    for ids, positions, label in zip(inputs["token_ids"], inputs["positions"], labels, strict=True):
        count = (label != 0).sum()
        assert ids[positions[0]] == decoder.DELIMITER
        assert label[count - 1] == example.END
        np.testing.assert_array_equal(
            ids[positions[1:count]], label[: count - 1]
        )  # each was read when the next is predicted
        assert (ids == decoder.DELIMITER).sum() == 1


def test_a_share_is_what_copying_adds_to_the_probability(example):
    import summary_pictures

    from keras_tx.applications import Translator

    keras.utils.set_random_seed(0)
    model = Translator(20, 1, 2, 8, 16, copies=True)
    source, target = [5, 6, 5, 7], [5, 9, 6, 2]
    inputs = {"source_ids": np.array([source]), "target_ids": np.array([[1, *target[:-1]]])}
    hidden = keras.Model(model.inputs, model.get_layer("copy_logits").input[:2])
    x, logits = (keras.ops.convert_to_numpy(each)[0] for each in hidden(inputs))
    gate = model.get_layer("copy_logits").gate
    g = keras.ops.convert_to_numpy(keras.ops.sigmoid(gate(x[None])))[0, :, 0]
    mixed = keras.ops.convert_to_numpy(keras.ops.softmax(model(inputs)))[0]
    written = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    expected = [1 - (1 - g[place]) * written[place, token] / mixed[place, token] for place, token in enumerate(target)]
    shares = summary_pictures.copied_shares(model, source, target)
    np.testing.assert_allclose(shares, expected, atol=2e-5)
    assert shares[0] > 0.1
    assert shares[1] == shares[3] == 0


def test_rouge_is_one_for_equal_texts_and_zero_for_foreign_ones():
    pytest.importorskip("rouge_score")
    from summary_baselines import rouge

    made = ["the cat sat", "a dog ran off"]
    assert rouge(made, ["the cat sat", "a dog ran off"]) == {"ROUGE-1": 1.0, "ROUGE-L": 1.0}
    assert rouge(made, ["x", "y"]) == {"ROUGE-1": 0.0, "ROUGE-L": 0.0}
    half = rouge(made[:1], ["sat the"])
    assert half["ROUGE-1"] == pytest.approx(0.8)  # precision 1, recall 2/3
    assert half["ROUGE-L"] == pytest.approx(0.4)  # in order only one word: precision 1/2, recall 1/3


def test_the_consensus_is_what_has_most_words_in_common_with_what_was_drawn():
    from summary_consensus import bag, best, overlap

    drawn = ["returns the red cat", "returns a red cat", "returns the cat", "makes dogs"]
    assert best(drawn, drawn) == "returns the red cat"
    assert (
        best([*drawn, "The red cat returns."], ["the red cat returns", "red cat"]) == "returns the red cat"
    )  # the first
    assert best(["makes dogs", "red cats"], ["red dogs", "red cats"]) == "red cats"
    assert best(["", "a"], ["", "a", ""]) == "a"  # no text has nothing in common with itself
    assert overlap(bag("A cat, a dog"), bag("a a cat")) == pytest.approx(6 / 7)  # 3 words of 4 and of 3


def test_a_consensus_is_drawn_for_each_text(example):
    import summary_consensus

    asked = []

    def summarize(model, tokenizer, pairs, sampler, batch):
        asked.extend(pairs)
        assert sampler.temperature > 0
        assert len(pairs) == 6
        return ["a red cat", "a cat", "cats", "a dog", "dogs run", "the dog"]

    module = types.SimpleNamespace(summarize=summarize)
    others = [["a red cat", "no"], ["red", "a big dog"]]
    assert summary_consensus.summarize(module, None, None, ["x", "y"], others, count=3) == ["a red cat", "a dog"]
    assert asked == [*"xxxyyy"]


def test_baselines():
    from summary_baselines import first_sentences, first_words, name_and_words

    assert first_words(["one two  three\nfour", "x", ""], 3) == ["one two three", "x", ""]
    texts = ["One two. Three.", "Of 1.5 parts\nof it, e", "A title\n\nand more. So", "", "Kinds: a. b"]
    assert first_sentences(texts) == ["One two.", "Of 1.5 parts of it, e", "A title", "", "Kinds:"]
    pair = Docstring("a.b.LowRank.to_dense(x.y)", "dense to be, or not to be that one two three four", "", "b.py")
    assert name_and_words(pair) == "to dense be, or not be that one"


def served_here(command, **_):
    """What the process would print: the script has a test of its own."""
    import tensorflow as tf

    _, script, folder, *texts = command
    assert script.exists()
    served = tf.saved_model.load(str(folder))
    answers = served.serve(tf.constant(texts)).numpy()
    return types.SimpleNamespace(
        stdout="\n".join(json.dumps({"answer": each.decode(errors="replace")}) for each in answers)
    )


@pytest.mark.slow
def test_the_whole_job_ends_with_scores_a_picture_and_served_summaries(example, tmp_path, monkeypatch, capsys):
    pytest.importorskip("rouge_score")
    pytest.importorskip("sklearn")
    parts = parts_of(pairs(40), {"files": pairs(9, 2), "packages": pairs(5, 3)})
    monkeypatch.setattr(example.summary_pairs, "load", lambda *_: parts)
    monkeypatch.setattr(example.summary_decoder, "STEPS", 2)
    monkeypatch.setattr(
        example.summary_training, "SAMPLERS", {"beam 4": decoding.Greedy()}
    )  # which compiles in less time
    monkeypatch.setattr(example.summary_training, "OPTIMIZER", "adam")
    monkeypatch.setattr(example, "subprocess", types.SimpleNamespace(run=served_here))
    monkeypatch.setattr(sys, "argv", ["summarization.py", "--epochs", "1", "--output", str(tmp_path)])
    example.main()
    printed = capsys.readouterr().out
    for row in (
        "the text's first 14 words",
        "nearest training text",
        "Translator that copies, beam 4",
        "Translator that copies, consensus of 24",
        "GPT with a delimiter, consensus of 24",
    ):
        assert printed.count(f"\n  {row}") == 2
    assert "Unseen files, 9 docstrings" in printed
    assert "<|" not in printed  # no special token
    assert (tmp_path / "copied.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert keras.models.load_model(tmp_path / "translator.keras", compile=False).output_shape[:2] == (None, None)
    result = json.loads(printed.splitlines()[-1])
    assert (result["pairs"], result["short_pairs"], result["seeds"]) == (40, 8, 1)
    assert result["seconds"].keys() == result["parameters"].keys() == {"translator", "gpt"}
    assert result["scores"].keys() == {"files", "packages"}
    # Numbers of the names stand in no text that was trained on: the nearest text has all but them.
    assert 0.4 < result["scores"]["files"]["nearest training text's summary"]["ROUGE-1"]["mean"] < 1
    monkeypatch.setattr(sys, "argv", ["summarization.py", "--load", "--model", "gpt", "--output", str(tmp_path)])
    example.main()
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["seconds"] == {"gpt": [0]}
    for name, rows in again["scores"].items():
        assert rows == {row: result["scores"][name][row] for row in rows}


@pytest.mark.once
def test_a_table_has_means_over_seeds_and_what_lies_between(example, capsys):
    pytest.importorskip("rouge_score")
    asked = [Docstring("f(x)", "", "the red cat ran", "f.py"), Docstring("g(x)", "", "a dog", "g.py")]
    known = {"first words": ["the cat", "x"]}  # 2/3 and 0
    ours = [["the red cat ran", "a dog"], ["the red cat ran", "x"]]  # 1 and 1/2
    rows = example.report(
        "files", asked, [known | {"Translator that copies, consensus of 24": found} for found in ours]
    )
    assert rows["Translator that copies, consensus of 24"]["ROUGE-1"] == {"mean": 0.75, "least": 0.5, "most": 1.0}
    printed = capsys.readouterr().out
    assert "Unseen files, 2 docstrings" in printed
    assert "ROUGE-1 0.750 (0.500 to 1.000)" in printed
    assert "ROUGE-1 0.333  ROUGE-L" in printed
    assert "Translator that copies, consensus of 24: the red cat ran" in printed


@pytest.mark.once
def test_no_seeds_are_refused(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["summarization.py", "--seeds", "0"])
    with pytest.raises(SystemExit):
        example.main()
    assert "--seeds and --epochs must be 1 at least" in capsys.readouterr().err


@pytest.mark.once
def test_models_that_were_not_kept_are_not_asked(example, monkeypatch, capsys, tmp_path):
    (tmp_path / "gpt.keras").touch()
    options = ["--load", "--model", "gpt", "--seeds", "2", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["summarization.py", *options])
    with pytest.raises(SystemExit):
        example.main()
    assert f"kept in --output: no {tmp_path / 'gpt-1.keras'}." in capsys.readouterr().err
