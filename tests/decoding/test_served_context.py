"""A model with a context, from sentence to sentence in a process that has TensorFlow alone."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import text_tokens
from keras import ops

from keras_tx import decoding, export
from keras_tx.applications import GPT, Translator
from keras_tx.decoding.text import text_of

pytest.importorskip("keras_hub")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a SavedModel is written by TensorFlow alone"
)
TEXTS = ["the cat sat on the mat", "a cat — a naïve one — sat", "on the mat"]
SOURCES = ["the cat", "", "on the mat — the cat sat on", "a"]
GENERATE = {"max_new_tokens": 7, "text_input": "source_ids", "prompt": [1]}
SERVER = """
import json, sys
for name in ("keras_tx", "keras_hub", "keras_nlp"):
    sys.modules[name] = None
import tensorflow as tf
import tensorflow_text
served = tf.saved_model.load(sys.argv[1])
sources, source_ids, target_ids = (json.loads(each) for each in sys.argv[2:])
answers = served.serve(tf.constant(sources)).numpy()
ids = tf.constant(target_ids)
start = {"token_ids": ids[:, :1], "mask": tf.ones((2, 1), tf.bool), "context_ids": tf.constant(source_ids)}
out = dict(served.signatures["prefill"](**start))
pieces = [out.pop("logits")]
for column in range(1, ids.shape[1]):
    out = dict(served.signatures["step"](token_ids=ids[:, column : column + 1], **out))
    pieces.append(out.pop("logits"))
print(json.dumps([[answer.decode("utf-8", "replace") for answer in answers], tf.concat(pieces, 1).numpy().tolist()]))
"""


@pytest.fixture(scope="module")
def tokenizer():
    return text_tokens.make_tokenizer("bpe", TEXTS * 3, 280)


@pytest.fixture(scope="module")
def model(shake, tokenizer):
    keras.utils.set_random_seed(2)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    return shake(Translator(tokenizer.vocabulary_size(), **size), seed=2, scale=1.0)


@pytest.mark.slow
def test_a_process_without_keras_gives_the_answers_that_generate_gives(model, tokenizer, tmp_path):
    folder, sampler = tmp_path / "saved", decoding.Beam(3, 0.6)
    options = {**GENERATE, "sampler": sampler, "stop_ids": [2]}
    export.export_saved_model(model, folder, tokenizer, generate=options)
    source, target = np.array([[40, 41, 42], [43, 0, 0]]), np.array([[1, 50, 51], [1, 60, 61]])
    arguments = [json.dumps(each) for each in (SOURCES, source.tolist(), target.tolist())]
    command = [sys.executable, "-c", SERVER, str(folder), *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    answers, logits = json.loads(output.splitlines()[-1])

    rows = [row for row in text_tokens.encode(tokenizer, SOURCES) if row]
    found = decoding.generate(model, [[1]] * 3, 7, sampler, stop_ids=2, context={"source_ids": rows})
    assert len({tuple(row) for row in found.tolist()}) == 3
    expected = [text_of([token for token in row[1:] if token not in (0, 2)], tokenizer) for row in found.tolist()]
    assert answers == [expected[0], "", *expected[1:]]
    full = ops.convert_to_numpy(model({"source_ids": source, "target_ids": target}))
    np.testing.assert_allclose(logits, full, atol=1e-5 * np.abs(full).max())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompt": None}, "`prompts` must be rows of at least one token id"),
        ({"prompt": [999]}, r"`prompts` must hold token ids in \[0, vocabulary_size\)"),
        ({"text_input": "source"}, "`context` must hold every input of the model but one.*context of .'source'"),
        ({"pad_id": 5}, "`pad_id` must be padding that the model ignores. Received: pad_id=5"),
        ({"max_prompt_length": 0}, "`max_prompt_length` must be a positive integer.*max_prompt_length=0"),
        ({"sampler": decoding.Beam(3, num_return=2)}, "`sampler` must return one text"),
        ({"end": 2}, "`generate` must hold 'max_new_tokens', 'prompt', and nothing but .*'end': 2"),
    ],
)
def test_options_that_do_not_fit_are_named(model, tokenizer, tmp_path, changed, said):
    with pytest.raises(ValueError, match=said):
        export.export_saved_model(model, tmp_path / "saved", tokenizer, generate={**GENERATE, **changed})


def test_a_text_input_must_be_named(model, tokenizer, tmp_path):
    with pytest.raises(
        ValueError, match="its model must have one input, or `generate` name its `text_input`.*2 inputs"
    ):
        export.export_saved_model(model, tmp_path / "saved", tokenizer, generate={"max_new_tokens": 2})


@pytest.mark.slow
def test_texts_may_all_be_empty_and_none_at_all(tmp_path):
    import keras_hub
    import tensorflow as tf

    letters = keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    translator, writer = Translator(256, **size), GPT(256, sequence_length=16, **size)
    export.export_saved_model(translator, tmp_path / "translator", letters, generate=GENERATE)
    export.export_saved_model(writer, tmp_path / "writer", letters, generate={"max_new_tokens": 3})
    for name in ("translator", "writer"):
        served = tf.saved_model.load(str(tmp_path / name))
        for texts in ([""], ["", ""], []):
            assert served.serve(tf.constant(texts, tf.string)).numpy().tolist() == [b""] * len(texts)


@pytest.mark.parametrize(
    ("target_vocabulary_size", "said"),
    [
        (200, "`target_tokenizer` must have no more tokens than .* of 256 tokens, embedding of 200 rows"),
        (300, "`target_tokenizer` must spell each token of the model's target vocabulary.* fails for id 299"),
    ],
)
def test_a_target_tokenizer_of_another_vocabulary_is_refused(tokenizer, tmp_path, target_vocabulary_size, said):
    import keras_hub

    letters = keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    model = Translator(tokenizer.vocabulary_size(), **size, target_vocabulary_size=target_vocabulary_size)
    with pytest.raises(ValueError, match=said):
        export.export_saved_model(model, tmp_path / "saved", tokenizer, target_tokenizer=letters, generate=GENERATE)
