"""What a first call waits for: a model that stands in a program once where prompts are one token, and a trial in one program."""

import keras
import numpy as np
import pytest

from keras_tx.applications import Translator
from keras_tx.decoding import Beam, Sample, generate, loop

from ..layers.execution import BACKEND

pytestmark = pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing")
SOURCES, PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 3]], [[1], [2], [1]]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


def make_model(shake):
    keras.utils.set_random_seed(0)
    return shake(Translator(11, **SIZES))


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
            generate(model, PROMPTS, 4, sampler, context={"source_ids": SOURCES})


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere operations that run one by one are not compiled")
def test_a_trial_of_padding_is_one_program(shake, caplog):
    import jax

    model = make_model(shake)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        generate(model, PROMPTS, 4, context={"source_ids": SOURCES})
    programs = [record.message for record in caplog.records if "Finished XLA compilation" in record.message]
    assert 2 <= len(programs) <= 10, programs
