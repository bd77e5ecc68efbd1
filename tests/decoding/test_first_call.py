"""What a first call waits for: a model that stands in a program once where prompts are one token, and a trial in one program."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.applications import Translator
from keras_tx.decoding import Beam, Sample, Sampler, generate, loop

from ..layers.execution import BACKEND

SOURCES, PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 3]], [[1], [2], [1]]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


def make_model(shake):
    keras.utils.set_random_seed(0)
    return shake(Translator(11, **SIZES))


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing, and reads prompts before the loop")
@pytest.mark.parametrize("sampler", [None, Sample(top_k=5, repetition_penalty=1.5), Beam(3, 0.6)], ids=str)
@pytest.mark.usefixtures("as_graphs")
def test_a_loop_that_reads_the_prompts_itself_gives_the_tokens_of_one_that_does_not(sampler, shake, monkeypatch):
    steps, once = [], loop.logits_step

    def counted(*arguments, **options):
        steps.append(1)
        return once(*arguments, **options)

    monkeypatch.setattr(loop, "logits_step", counted)

    def run(prompts, stop_ids=None):
        return generate(make_model(shake), prompts, 6, sampler, stop_ids, context={"source_ids": SOURCES}, seed=3)

    tokens = run(PROMPTS)
    found = len(steps)
    assert found == 1 + isinstance(sampler, Beam)  # to see what is shared, which is not computed
    stop = int(tokens[0, 2])
    stopped = run(PROMPTS, stop)
    monkeypatch.setattr(loop, "_begins_within", lambda sampler: False)
    steps.clear()
    np.testing.assert_array_equal(tokens, run(PROMPTS))
    assert len(steps) == 2
    np.testing.assert_array_equal(stopped, run(PROMPTS, stop))


@pytest.mark.usefixtures("as_graphs")
def test_a_logit_that_is_no_number_is_an_error_after_one_token_too(shake):
    model = make_model(shake)
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, np.nan, "float32"))
    for sampler in (None, Beam(2)):
        with pytest.raises(ValueError, match="must give logits that are numbers"):
            generate(model, PROMPTS, 4, sampler, context={"source_ids": np.ones((3, 4), "int32")})


@dataclasses.dataclass(frozen=True)
class Searching(Sampler):
    begin, advance, result, static, settings = Beam.begin, Beam.advance, Beam.result, Beam.static, Beam.settings
    streams, width, length_penalty, length_offset = False, 3, 0.6, 5.0


@dataclasses.dataclass(frozen=True)
class Particular(Sampler):
    def choose(self, logits, settings, seen, seed):
        """Never ends for logits that are all zero, of which the model gives none."""
        (likely,) = ops.while_loop(lambda x: ops.max(ops.softmax(x)) < 0.5, lambda x: (x * 1.1,), (logits,))
        return ops.argmax(likely, axis=-1)


@pytest.mark.parametrize(("own", "ours"), [(Searching(), Beam(3, 0.6)), (Particular(), None)], ids=str)
@pytest.mark.usefixtures("as_graphs")
def test_samplers_of_ones_own_are_given_the_logits_after_the_prompt(own, ours, shake):
    model, context = make_model(shake), {"source_ids": SOURCES}
    found, expected = (generate(model, PROMPTS, 6, sampler, context=context) for sampler in (own, ours))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("as_graphs")
def test_a_model_that_gives_no_number_for_a_trial_is_not_given_padding(shake):
    keras.utils.set_random_seed(0)
    values, ids = keras.Input((None, 8), name="values"), keras.Input((None,), dtype="int32", name="ids")
    context = keras.layers.Dense(8)(ops.log(values + 1e-3))
    embedding = layers.TokenAndPositionEmbedding(11, 40, 8)
    x = layers.TransformerDecoder(16, 2)(embedding(ids), context)
    model = shake(keras.Model([values, ids], keras.layers.Dense(11)(x)))
    given = np.random.default_rng(0).uniform(0.5, 2.0, (2, 5, 8)).astype("float32")
    found = generate(model, [[1], [2]], 4, context={"values": given})
    for place in range(1, 5):
        logits = ops.convert_to_numpy(model({"values": given, "ids": found[:, :place]}))[:, -1]
        np.testing.assert_array_equal(found[:, place], logits.argmax(-1))


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere operations that run one by one are not compiled")
def test_a_trial_of_padding_is_one_program(shake, caplog):
    import jax

    model = make_model(shake)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        generate(model, PROMPTS, 4, context={"source_ids": SOURCES})
    programs = [record.message for record in caplog.records if "Finished XLA compilation" in record.message]
    assert 2 <= len(programs) <= 10, programs
