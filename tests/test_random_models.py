"""What has to be true of any functional model of the layers, tried on models drawn at random.

A run tries a few; `make fuzz MODELS=200` tries many, and `MODELS=200 FIRST=1000` others.
"""

import os

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, decoding

from .layers.contract_rows import reloaded
from .layers.execution import BACKEND, array, quick
from .random_models import VOCABULARY, draw

# JAX and torch try a translator, which has blocks of both kinds, and a model of images; TensorFlow each kind of model.
START, FEW = (0, 4) if BACKEND == "tensorflow" else (2, 2)
FIRST, MODELS = int(os.environ.get("FIRST", START)), int(os.environ.get("MODELS", FEW))


@pytest.fixture(scope="module", params=range(FIRST, FIRST + MODELS))
def drawn(request):
    return draw(request.param)


def joined(values):
    """What a model of these inputs is called with."""
    return values if len(values) > 1 else values[0]


def outputs(model, values):
    return array(quick(model)(joined([ops.convert_to_tensor(each) for each in values])))


def test_a_copy_and_a_file_give_the_same_numbers(drawn, tmp_path):
    values = drawn.values()
    expected = outputs(drawn.model, values)
    assert np.isfinite(expected).all(), drawn.story
    copy = keras.models.clone_model(drawn.model)
    copy.set_weights(drawn.model.get_weights())
    for other in (copy, reloaded(drawn.model, tmp_path)):
        np.testing.assert_allclose(outputs(other, values), expected, atol=1e-5, err_msg=drawn.story)


def test_a_row_does_not_depend_on_the_rows_beside_it_and_their_padding(drawn):
    values = drawn.values()
    expected = outputs(drawn.model, values)
    for row in range(3):
        alone = [each[row : row + 1] for each in values]
        if drawn.kind == "encoder":
            alone = [each[:, : np.count_nonzero(each)] for each in alone]
        found = outputs(drawn.model, alone)[0]
        cut = expected[row, : len(found)]
        np.testing.assert_allclose(found, cut, atol=1e-5, err_msg=f"{drawn.story}; row {row}")


def trained(drawn, make):
    """Returns a copy of the model, its layers made anew by a function of them, after one step of training."""
    copy = keras.models.clone_model(drawn.model, clone_function=make)
    copy.set_weights(drawn.model.get_weights())
    copy.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=BACKEND == "tensorflow", jit_compile=BACKEND == "jax")
    values = drawn.values()
    shape = copy.compute_output_shape(joined([each.shape for each in values]))
    copy.train_on_batch(joined(values), np.random.default_rng(1).normal(size=shape).astype("float32"))
    return copy.trainable_variables


def test_every_weight_learns_and_alike_if_blocks_are_computed_again(drawn):
    def other(layer):
        config = layer.get_config()
        if "recompute" in config:
            config["recompute"] = not config["recompute"]
        return type(layer).from_config(config)

    one, two = trained(drawn, lambda layer: type(layer).from_config(layer.get_config())), trained(drawn, other)
    for start, kept, recomputed in zip(drawn.model.trainable_variables, one, two, strict=True):
        moved = array(kept) - array(start)
        assert np.isfinite(moved).all(), (drawn.story, kept.path)
        # A constant added to all keys of a query changes no weight.
        assert "key" in kept.path or moved.any(), (drawn.story, kept.path)
        np.testing.assert_allclose(array(recomputed), array(kept), atol=1e-5, err_msg=f"{drawn.story}; {kept.path}")


def test_the_weights_of_attention_sum_to_one_and_asking_changes_nothing(drawn):
    values = drawn.values()
    maps, found = analysis.attention_maps(drawn.model, joined(values), return_outputs=True)
    np.testing.assert_allclose(array(found), outputs(drawn.model, values), atol=1e-5, err_msg=drawn.story)
    for path, weights in maps.items():
        sums = weights.sum(-1)
        padded = np.isclose(sums, 0, atol=1e-6)  # a query that is not real
        np.testing.assert_allclose(np.where(padded, 1, sums), 1, atol=1e-5, err_msg=f"{drawn.story}; {path}")
        assert not padded.all(), (drawn.story, path)


def test_decoding_with_a_cache_is_the_naive_loop(drawn):
    if not drawn.decodes:
        pytest.skip("it does not decode")
    prompts, count = [[3, 4, 5, 6], [7], [8, 2]], 4
    context = {} if drawn.kind == "decoder" else {"source_ids": [[4, 5, 6], [7, 8], [9]]}
    found = decoding.generate(drawn.model, prompts, count, context=context or None)
    for number, (prompt, row) in enumerate(zip(prompts, np.asarray(found).tolist(), strict=True)):
        end = len(prompt) + count
        ids = np.zeros((1, 8), "int32")  # one length, one program: what follows a position does not reach it
        ids[0, :end] = row[:end]
        assert row[: len(prompt)] == prompt, drawn.story
        given = {"token_ids": ids, **{name: np.array([rows[number]], "int32") for name, rows in context.items()}}
        logits = outputs(drawn.model, [given[each.name] for each in drawn.model.inputs])[0]
        assert logits.shape[-1] == VOCABULARY
        for place in range(len(prompt) - 1, end - 1):  # of two that are equal to rounding, either will do
            assert logits[place].max() - logits[place, row[place + 1]] < 1e-4, (drawn.story, number, place)


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_int8_weights_give_almost_the_same_and_come_back(drawn, tmp_path):
    model = keras.models.clone_model(drawn.model)
    model.set_weights(drawn.model.get_weights())
    model.quantize("int8")
    values = drawn.values()
    found, expected = outputs(model, values), outputs(drawn.model, values)
    cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.98, (drawn.story, cosine)
    np.testing.assert_allclose(outputs(reloaded(model, tmp_path), values), found, atol=1e-5, err_msg=drawn.story)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel is written by TensorFlow alone")
@pytest.mark.skipif("MODELS" not in os.environ, reason="it takes ten seconds a model; tests/export has its own")
def test_a_saved_model_gives_the_same_numbers(drawn, tmp_path):
    import tensorflow as tf

    drawn.model.export(str(tmp_path / "saved"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    for length in (7, 4):
        values = drawn.values(batch=2, length=length)
        found = served.serve(joined([tf.constant(each) for each in values]))
        np.testing.assert_allclose(array(found), outputs(drawn.model, values), atol=1e-5, err_msg=drawn.story)
