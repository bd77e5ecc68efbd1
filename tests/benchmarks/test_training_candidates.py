"""The candidates whose training is timed: the same model, the same arrays and the same loss on each side."""

import math

import generate
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import training_candidates as candidates
import vision_candidates as vision

from keras_tx import applications

pytestmark = pytest.mark.once  # the peers are of other packages
# The first loss of new weights, which know nothing; of two rows it is another by up to a third where logits are drawn wide.
FIRST_LOSS = {
    "bert": math.log(1200) + math.log(2),
    "gpt": math.log(1200),
    "vit": math.log(10),
    "swin": math.log(10),
    "translator": math.log(1200),
}


@pytest.fixture
def eager():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which would wait for each other on a machine that has other work
    tf.config.run_functions_eagerly(True)  # programs that run a few times are not worth their compilation
    yield
    tf.config.run_functions_eagerly(False)
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of masks, in keras-hub's Swin
@pytest.mark.parametrize("name", candidates.MODELS)
def test_all_sides_begin_at_the_same_loss_and_learn(name, eager):
    for candidate in candidates.CANDIDATES[:3]:
        if candidate == "keras_hub" and name in candidates.WITHOUT_KERAS_HUB:
            continue
        keras.utils.set_random_seed(0)
        torch.manual_seed(0)
        step = candidates.MODELS[name](candidate, 2, False, True)
        losses = [step() for _ in range(6)]
        assert 0.7 * FIRST_LOSS[name] < losses[0] < 2 * FIRST_LOSS[name], candidate
        assert np.mean(losses[-3:]) < np.mean(losses[:3]), candidate


@pytest.mark.filterwarnings("ignore::UserWarning")  # of masks, in keras-hub's Swin
def test_models_of_all_sides_have_as_many_weights():
    import transformers

    counts = {
        name: [
            make(name, candidates.TINY[name]).count_params() for make in (vision.keras_tx_model, vision.keras_hub_model)
        ]
        for name in ("vit", "swin")
    }
    size = candidates.TINY["gpt"]
    counts["gpt"] = [generate.GPT(**size).count_params(), generate.keras_hub_gpt2(size).count_params()]
    peers = {name: vision.transformers_model(name, candidates.TINY[name]) for name in ("vit", "swin")}
    peers["gpt"] = transformers.GPT2LMHeadModel(generate.gpt2_config(size))
    for name, (ours, theirs) in counts.items():
        assert ours == theirs == sum(each.numel() for each in peers[name].parameters()), name


def test_published_sizes_are_those_of_the_applications():
    vit = {"num_classes": 1000, "image_size": 224, **applications.VIT_SIZES["base_16"]}
    assert vision.SIZES["vit"] == vit
    assert vision.SIZES["swin"] == {"num_classes": 1000, "image_size": 224, **applications.SWIN_SIZES["tiny"]}


def test_an_uncompiled_step_of_keras_is_traced_once():
    traces = []

    class Counted(keras.layers.Dense):
        def call(self, x):
            traces.append(x)
            return super().call(x)

    import training_steps

    model = keras.Sequential([keras.Input((3,)), Counted(1)])
    traces.clear()
    x = np.ones((2, 3), "float32")
    step = training_steps.keras_step(model, x, x[:, :1], "mse", keras.optimizers.AdamW(0.1), False)
    losses = [step(), step(), step()]
    assert losses[2] < losses[0]
    assert len(traces) == 1
