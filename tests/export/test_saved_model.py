"""SavedModels of raw text; `test_fresh_process.py` serves them without this package and keras-hub."""

import os

import keras
import numpy as np
import pytest

from keras_tx import export, layers
from keras_tx.applications import TextClassifier

TEXTS = ["a good film", "a bad film !", "", "Unheard-of words, übermäßig"]
WORDS = ["a", "good", "bad", "film", "!", "g", "##o", "##d", "u", "##n"]
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def classifier(vocabulary_size, length):
    return TextClassifier(vocabulary_size, length, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=16)


def word_piece(length):
    import keras_hub

    return keras_hub.tokenizers.WordPieceTokenizer(
        ["[PAD]", "[UNK]", *WORDS], sequence_length=length, lowercase=True, strip_accents=True, dtype="int32"
    )


def vectorization(length):
    return keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=length)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="a SavedModel is written by TensorFlow alone")
class TestOnTensorFlow:
    def test_ragged_ids_are_padded_and_cut_to_the_sequence_length(self, tmp_path):
        import tensorflow as tf

        tokenizer, model = word_piece(None), classifier(len(WORDS) + 2, 4)
        folder = export.export_saved_model(model, tmp_path / "saved", tokenizer=tokenizer, sequence_length=4)
        served = tf.saved_model.load(str(folder))
        expected = model(np.array(word_piece(4)(TEXTS)))
        np.testing.assert_allclose(served.serve(tf.constant(TEXTS)), expected, atol=1e-6)

    def test_a_text_is_cut_where_the_position_table_ends(self, tmp_path):
        import tensorflow as tf

        tokenizer = keras.layers.TextVectorization(vocabulary=WORDS)
        inputs = keras.Input((None,), dtype="int32")
        embedding = layers.TokenAndPositionEmbedding(tokenizer.vocabulary_size(), 4, 8, mask_zero=True)
        model = keras.Model(inputs, layers.MaskedMeanPooling()(embedding(inputs)))
        served = tf.saved_model.load(export.export_saved_model(model, tmp_path / "saved", tokenizer=tokenizer))
        words = [WORDS[number % len(WORDS)] for number in range(9)]
        found, expected = (served.serve(tf.constant([" ".join(each)])) for each in (words, words[:4]))
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_texts_may_all_be_empty(self, tmp_path):
        import keras_hub
        import tensorflow as tf

        tokenizer = keras_hub.tokenizers.ByteTokenizer(dtype="int32")
        served = tf.saved_model.load(
            str(export.export_saved_model(classifier(256, 6), tmp_path / "saved", tokenizer=tokenizer))
        )
        empty = served.serve(tf.constant(["", "a"]))[:1]
        np.testing.assert_allclose(served.serve(tf.constant([""])), empty, atol=1e-6)
        assert served.serve(tf.constant([], tf.string)).shape == (0, 2)

    def test_without_a_tokenizer_the_models_own_inputs_are_served(self, tmp_path):
        import tensorflow as tf

        model = classifier(9, 5)
        folder = str(export.export_saved_model(model, tmp_path / "saved"))
        served = tf.saved_model.load(folder)
        ids = np.array([[1, 2, 3, 0, 4]], "int32")
        np.testing.assert_allclose(served.serve(ids[:, :4]), model(ids[:, :4]), atol=1e-6)
        # What those find who are told no name: a server's client, and a converter.
        default = served.signatures["serving_default"]
        (name,) = default.structured_input_signature[1]
        np.testing.assert_allclose(default(**{name: tf.constant(ids)})["output_0"], model(ids), atol=1e-6)

    def test_a_converter_that_is_told_no_name_finds_what_is_served(self, tmp_path):
        import tensorflow as tf

        inputs, x = keras.Input((3,)), np.ones((1, 3), "float32")
        model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        folder = str(export.export_saved_model(model, tmp_path / "saved"))
        converted = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=converted)
        assert set(interpreter.get_signature_list()) == {"serving_default"}
        runner = interpreter.get_signature_runner()
        (name,) = runner.get_input_details()
        np.testing.assert_allclose(runner(**{name: x})["output_0"], model(x), atol=1e-6)

    def test_a_save_that_dies_leaves_the_folder_as_it_was(self, tmp_path, monkeypatch):
        import tensorflow as tf

        model, path = classifier(9, 5), tmp_path / "saved"
        export.export_saved_model(model, path)
        before = {str(p): p.read_bytes() for p in path.rglob("*") if p.is_file()}

        def die(module, folder, signatures):
            os.makedirs(folder)
            raise KeyboardInterrupt

        monkeypatch.setattr(tf.saved_model, "save", die)
        with pytest.raises(KeyboardInterrupt):
            export.export_saved_model(model, path)
        assert {str(p): p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
        assert os.listdir(tmp_path) == ["saved"]

    def test_a_second_export_replaces_the_first(self, tmp_path):
        import tensorflow as tf

        path, ids = tmp_path / "saved", np.array([[1, 2, 3]], "int32")
        for _ in range(2):
            model = classifier(9, 5)
            export.export_saved_model(model, path)
        served = tf.saved_model.load(str(path))
        np.testing.assert_allclose(served.serve(ids), model(ids), atol=1e-6)

    def test_a_tokenizer_that_cannot_be_called_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"`tokenizer` must be callable.*Received: tokenizer='words'"):
            export.export_saved_model(classifier(9, 5), tmp_path / "saved", tokenizer="words")

    def test_a_model_of_two_inputs_takes_no_tokenizer(self, tmp_path):
        a, b = keras.Input((3,)), keras.Input((3,))
        model = keras.Model([a, b], keras.layers.Add()([a, b]))
        with pytest.raises(
            ValueError, match="`model` must have one input .*keras_tensor.*`export_generator` with a `text_input`"
        ):
            export.export_saved_model(model, tmp_path / "saved", tokenizer=vectorization(3))


@pytest.mark.skipif(ON_TENSORFLOW, reason="TensorFlow is the backend that can")
def test_another_backend_is_told_how_to_export(tmp_path):
    with pytest.raises(ValueError, match=r"backend must be TensorFlow.*KERAS_BACKEND=tensorflow"):
        export.export_saved_model(classifier(9, 5), tmp_path / "saved")
