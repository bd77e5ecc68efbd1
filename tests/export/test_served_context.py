"""A model with a context that is exported from sentence to sentence: its options, its target's tokenizer, empty texts."""

import keras
import pytest

from keras_tx import decoding, export
from keras_tx.applications import Translator

from ..decoding.conftest import shaken

pytest.importorskip("keras_hub")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a SavedModel is written by TensorFlow alone"
)
GENERATE = {"max_new_tokens": 7, "text_input": "source_ids", "prompt": [1]}


@pytest.fixture(scope="module")
def tokenizer():
    import keras_hub

    return keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(6)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    return shaken(Translator(280, **size), seed=6, scale=1.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompt": None}, r"`prompt` must be the ids that each answer starts with.*\[start_id\].*prompt=None"),
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
        ValueError, match="`text_input` must name the input .*'source_ids', prompt=.*inputs 'source_ids', 'target_ids'"
    ):
        export.export_saved_model(model, tmp_path / "saved", tokenizer, generate={"max_new_tokens": 2})


@pytest.mark.slow
def test_texts_may_all_be_empty_and_none_at_all(tokenizer, tmp_path):
    import tensorflow as tf

    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    export.export_saved_model(Translator(256, **size), tmp_path / "saved", tokenizer, generate=GENERATE)
    served = tf.saved_model.load(str(tmp_path / "saved"))
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
