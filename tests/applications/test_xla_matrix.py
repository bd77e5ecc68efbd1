"""Every application under XLA, in every precision: it trains and predicts in few compilations, to the same loss."""

import keras
import numpy as np
import pytest

from keras_tx import applications

from ..layers.execution import COMPILES, array

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "dropout": 0.1}
IMAGE = {"input_shape": (None, None, 3), "num_classes": 3}
# How far the loss of any step may be from that in float32, as a fraction of the loss before training.
TOLERANCE = 0.03
# float16 overflows where bfloat16 does not; what bfloat16 rounds, blocks of both kinds and windows round.
ROUNDED_MORE = ("translator", "swin")
STEPS, BATCH = 6, 4


def ids(random, length):
    return random.integers(1, 20, (BATCH, length))


def classifier(random, length):
    return applications.TextClassifier(20, 12, **SIZES), ids(random, length), random.integers(0, 2, BATCH)


def gpt(random, length):
    tokens = ids(random, length + 1)
    return applications.GPT(20, 12, **SIZES), tokens[:, :-1], tokens[:, 1:]


def bert(random, length):
    model = applications.bert_classifier(applications.BERT(20, 12, **SIZES), 3)
    return model, ids(random, length), random.integers(0, 3, BATCH)


def translator(random, length):
    source, target = ids(random, length), ids(random, length + 1)
    inputs = {"source_ids": source, "target_ids": target[:, :-1]}
    return applications.Translator(20, **SIZES), inputs, target[:, 1:]


def t5(random, length):
    _, inputs, labels = translator(random, length)
    return applications.T5(20, **SIZES, gated=True, tied=False), inputs, labels


def vit(random, length):
    model = applications.ViT(4, **SIZES, image_size=12, **IMAGE)
    return model, random.uniform(0, 255, (BATCH, 4 * length, 16, 3)).astype("float32"), random.integers(0, 3, BATCH)


def swin(random, length):
    model = applications.Swin(2, (1, 1), (2, 2), 8, window_size=2, dropout=0.1, **IMAGE)
    return model, random.uniform(0, 255, (BATCH, 4 * length, 16, 3)).astype("float32"), random.integers(0, 3, BATCH)


CASES = {function.__name__: function for function in (classifier, gpt, bert, translator, t5, vit, swin)}


def counted(model):
    """Notes each run of the model's Python code: under XLA each is a compilation of its own."""
    runs, call = [], model.call
    model.call = lambda *args, **kwargs: runs.append(1) or call(*args, **kwargs)
    return runs


def made(name, length, policy="float32"):
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, inputs, labels = CASES[name](np.random.default_rng(0), length)
    finally:
        keras.config.set_dtype_policy(before)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.01)
    if policy == "mixed_float16":
        # Keras would begin with a scale of 2**15, and skip the first steps until nothing overflows.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=128.0)
    model.compile(optimizer, loss, jit_compile=COMPILES)
    return model, inputs, labels


def trained(name, policy):
    """The losses of some steps on one batch, the model, and how often its code ran."""
    model, inputs, labels = made(name, 5, policy)
    runs = counted(model)
    history = model.fit(inputs, labels, batch_size=BATCH, epochs=STEPS, shuffle=False, verbose=0).history["loss"]
    return history, model, len(runs)


@pytest.mark.parametrize("name", CASES)
def test_it_trains_in_every_precision_to_the_same_loss_and_predicts(name):
    exact, model, runs = trained(name, "float32")
    assert np.isfinite(exact).all()
    assert min(exact[1:]) < exact[0]
    if COMPILES:
        assert model.jit_compile is True
        assert runs <= 2, f"{runs} compilations for one shape"  # one of them may be Keras' own look at the outputs
    for policy in ("mixed_float16", "mixed_bfloat16") if name in ROUNDED_MORE else ("mixed_float16",):
        losses, _, _ = trained(name, policy)
        assert np.isfinite(losses).all(), policy
        np.testing.assert_allclose(losses, exact, rtol=0, atol=TOLERANCE * exact[0], err_msg=policy)

    runs = counted(model)
    for length, most in ((5, 1), (5, 1), (7, 2), (5, 3)):
        _, inputs, _ = CASES[name](np.random.default_rng(length), length)
        outputs = model.predict(inputs, verbose=0)
        if COMPILES:
            assert len(runs) <= most, f"{len(runs)} compilations"
        np.testing.assert_allclose(outputs, array(model(inputs, training=False)), rtol=1e-4, atol=1e-5)
        runs.clear() if not COMPILES else runs.pop()  # the eager call above
