"""The fine-tuning example: batches of like length, adapters alone trained, and a classifier that serves text."""

import bert_finetuning
import keras
import numpy as np
import pytest
from bert_text import SPECIAL, make_tokenizer
from length_batches import LengthBatches

from keras_tx import adapters
from keras_tx.applications import BERT, bert_classifier
from keras_tx.export import export_saved_model


def texts_of(lengths):
    ids = np.zeros((len(lengths), 48), "int32")
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = 1 + np.arange(length)
    return ids


def batches_of(ids, labels, training):
    return LengthBatches(ids, labels, bert_finetuning.LENGTHS, bert_finetuning.BATCH, training)


@pytest.mark.parametrize("training", [False, True])
def test_batches_hold_texts_of_like_length_and_each_once(training):
    lengths = np.random.default_rng(0).integers(3, 48, 300)
    lengths[0] = 48
    batches = batches_of(texts_of(lengths), np.arange(300), training)
    seen = []
    for index in range(batches.num_batches):
        ids, labels = batches[index]
        assert ids.shape[1] in bert_finetuning.LENGTHS
        assert ids.shape[0] == bert_finetuning.BATCH or not training
        np.testing.assert_array_equal((ids != 0).sum(1), lengths[labels])  # nothing is cut
        seen += labels.tolist()
    assert len(seen) == len(set(seen))
    assert len(seen) > 300 - bert_finetuning.BATCH if training else len(seen) == 300
    widths = [batches[index][0].shape[1] for index in range(2)]
    assert widths[0] != widths[1]


def test_each_epoch_draws_other_batches():
    batches = batches_of(texts_of([5] * 100), np.arange(100), training=True)
    first = batches[0][1].tolist()
    batches.on_epoch_end()
    assert batches[0][1].tolist() != first


@pytest.fixture(scope="module")
def classifier():
    encoder = BERT(30, 16, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32)
    adapters.enable_lora(encoder, 2)
    return bert_classifier(encoder, 2)


def test_adapters_and_the_new_layer_are_all_that_is_trained(classifier):
    paths = {weight.path.split("/")[-1] for weight in classifier.trainable_weights}
    assert paths == {"lora_kernel_a", "lora_kernel_b", "kernel", "bias"}
    assert {weight.path for weight in classifier.trainable_weights if "lora" not in weight.path} == {
        "logits/kernel",
        "logits/bias",
    }
    count, total = bert_finetuning.trained_weights(classifier)
    # query and value of two blocks: (D, N, R) and (R, H); a dense layer of two classes
    assert count == 2 * 2 * (16 * 2 * 2 + 2 * 8) + 16 * 2 + 2
    assert total == classifier.count_params()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow alone writes a SavedModel")
def test_an_adapted_classifier_serves_text(classifier, tmp_path):
    import tensorflow as tf

    tokenizer = make_tokenizer([*SPECIAL.values(), *"abcdefgh"], 12)
    export_saved_model(classifier, tmp_path / "served", tokenizer=tokenizer, activation="softmax")
    module = tf.saved_model.load(tmp_path / "served")
    served = module.serve(tf.constant(["a b", "h g f e"])).numpy()
    logits = keras.ops.convert_to_numpy(classifier(np.array(tokenizer(["a b", "h g f e"]))))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(served, expected, atol=1e-6)
