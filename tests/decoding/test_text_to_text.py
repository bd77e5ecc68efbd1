"""A user's own model, from text to text: generated, streamed, drawn and exported; `test_fresh_process.py` serves it."""

import keras
import numpy as np
import pytest
import text_tokens

from keras_tx import analysis, decoding, export

pytest.importorskip("keras_hub")
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
on_tensorflow = pytest.mark.skipif(not ON_TENSORFLOW, reason="a SavedModel is written by TensorFlow alone")
TEXTS = ["the cat sat on the mat", "a cat — a naïve one — sat", "on the mat"]
PROMPTS = ["the cat", "a", "on the mat — the cat sat on"]


@pytest.fixture(scope="module")
def tokenizer():
    return text_tokens.make_tokenizer("bpe", TEXTS * 3, 280)


@pytest.fixture(scope="module")
def model(make_own, shake, tokenizer):
    return shake(make_own(tokenizer.vocabulary_size(), 128))


def test_a_users_own_model_generates_streams_and_is_drawn(model, tokenizer, tmp_path):
    texts = decoding.generate(model, PROMPTS, 8, tokenizer=tokenizer)
    assert all(text.startswith(prompt) and len(text) > len(prompt) for text, prompt in zip(texts, PROMPTS, strict=True))
    assert PROMPTS[0] + "".join(decoding.stream(model, PROMPTS[0], 8, tokenizer=tokenizer)) == texts[0]
    ids = np.array([[5, 6, 7]], "int32")
    maps = analysis.attention_maps(model, ids)
    assert {name: maps[name].shape for name in maps} == {"attention": (1, 4, 3, 3), "inner/block": (1, 2, 3, 3)}
    analysis.plots.plot_attention(maps["inner/block"][0], ["a", "b", "c"], path=tmp_path / "heads.png")
    assert (tmp_path / "heads.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def letters():
    import keras_hub

    return keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")


@on_tensorflow
def test_a_tokenizer_of_more_tokens_than_the_model_knows_is_refused(make_own, letters, tmp_path):
    with pytest.raises(ValueError, match="`tokenizer` must have no more tokens .* of 256 tokens, embedding of 50 rows"):
        export.export_saved_model(make_own(50), tmp_path / "saved", letters, generate={"max_new_tokens": 2})


@on_tensorflow
def test_a_vectorization_that_has_learned_no_words_is_refused(make_own, tmp_path):
    with pytest.raises(
        ValueError, match=r"`tokenizer` must map a string tensor to ids; a TextVectorization must be adap"
    ):
        export.export_saved_model(make_own(50), tmp_path / "saved", keras.layers.TextVectorization())


@on_tensorflow
def test_a_tokenizer_that_gives_no_integers_is_refused(make_own, tmp_path):
    import tensorflow as tf

    with pytest.raises(ValueError, match=r"`tokenizer` must give integer ids. Received: .* which gives .*float32"):
        export.export_saved_model(make_own(50), tmp_path / "saved", lambda texts: tf.zeros((1, 2)))


@on_tensorflow
@pytest.mark.parametrize(
    ("generate", "options", "said"),
    [
        (5, {}, "`generate` must be a dict of arguments. Received: generate=5"),
        (
            {"max_new_tokens": 2, "temperature": 1},
            {},
            "`generate` must hold 'max_new_tokens', and nothing but .*temperature",
        ),
        ({"max_new_tokens": 2, "max_prompt_length": 0}, {}, "`max_prompt_length` must be a positive integer.*length=0"),
        (
            {"max_new_tokens": 2, "sampler": decoding.Beam(3, num_return=2)},
            {},
            "`sampler` must return one text for each",
        ),
        ({"max_new_tokens": 2}, {"activation": "softmax"}, "`activation`, `sequence_length` and `jit_compile` belong"),
    ],
)
def test_options_that_would_be_dropped_are_refused(model, letters, tmp_path, generate, options, said):
    with pytest.raises(ValueError, match=said):
        export.export_saved_model(model, tmp_path / "saved", letters, generate=generate, **options)


@on_tensorflow
def test_a_served_model_whose_logits_are_nan_says_so(make_own, letters, tmp_path):
    import tensorflow as tf

    broken = make_own(256, 128)
    folder = tmp_path / "saved"
    decoding.check_decodable(broken)
    broken.get_layer("head").bias.assign([np.nan] * 256)
    export.export_saved_model(broken, folder, letters, generate={"max_new_tokens": 2})
    served = tf.saved_model.load(str(folder))
    with pytest.raises(tf.errors.InvalidArgumentError, match="logits are NaN"):
        served.serve(tf.constant(["the cat"]))
