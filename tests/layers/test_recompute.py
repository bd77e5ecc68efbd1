"""`recompute=True` changes what training keeps in memory, and nothing that it computes."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .execution import BACKEND, COMPILES, array, gradients, tensor, weighted_sum

WIDTH, LENGTH = 16, 6


def block(kind, recompute, **kwargs):
    keras.utils.set_random_seed(3)
    build = getattr(layers, kind)
    made = build(32, 4, dropout=0.3, recompute=recompute, name="block", **kwargs)
    context = [(2, LENGTH + 2, WIDTH)] if kind == "TransformerDecoder" else []
    made.build((2, LENGTH, WIDTH), *context)
    return made


def operands(kind):
    random = np.random.default_rng(0)
    inputs = {"inputs": random.normal(size=(2, LENGTH, WIDTH)), "mask": random.random((2, LENGTH)) < 0.8}
    if kind == "TransformerDecoder":
        inputs["context"] = random.normal(size=(2, LENGTH + 2, WIDTH))
        inputs["context_mask"] = random.random((2, LENGTH + 2)) < 0.8
    return {name: tensor(each, "bool" if "mask" in name else "float32") for name, each in inputs.items()}


# A norm that does one thing in training and another outside of it, and changes state.
PARTS = {"norm": keras.layers.BatchNormalization(), "normalize_branch": True, "layer_scale": 0.5}


@pytest.mark.parametrize(("kind", "parts"), [("TransformerEncoder", PARTS), ("TransformerDecoder", {})])
def test_outputs_gradients_and_seeds_are_the_same(kind, parts):
    found = []
    for recompute in (False, True):
        made, given = block(kind, recompute, **parts), operands(kind)
        bias = keras.Variable(np.linspace(-1, 1, LENGTH**2).reshape(LENGTH, LENGTH).astype("float32"))
        variables = [*made.trainable_variables, bias]

        def loss(made=made, given=given, bias=bias):
            bias = ops.convert_to_tensor(bias)
            return weighted_sum(ops.sin(made(**given, attention_bias=bias, training=True)))

        first = gradients(loss, variables)()
        with keras.StatelessScope():
            outputs = array(made(**given, training=True))
        state = [array(each) for each in made.non_trainable_variables]
        found.append([*first, outputs, *state])
    assert len(found[0]) == len(found[1])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_what_a_layer_in_a_slot_drops_is_dropped_again():
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(3)
        slot = keras.Sequential([keras.layers.Dense(32), keras.layers.Dropout(0.5), keras.layers.Dense(WIDTH)])
        made = layers.TransformerEncoder(num_heads=4, feed_forward=slot, recompute=recompute)
        made.build((2, LENGTH, WIDTH))
        keras.utils.set_random_seed(4)

        def loss(made=made):
            return weighted_sum(ops.sin(made(**operands("TransformerEncoder"), training=True)))

        found.append(gradients(loss, made.trainable_variables)())
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_a_part_of_a_wider_dtype_keeps_its_weights():
    attention = layers.MultiHeadCrossAttention(4, dtype="float32")
    made = layers.TransformerEncoder(
        32, attention=attention, norm=keras.layers.RMSNormalization(), dtype="mixed_float16"
    )
    given = operands("TransformerDecoder")
    made(**given)
    found = []
    for recompute in (False, True):
        made.recompute = recompute
        found.append(array(made(**given)))
    np.testing.assert_array_equal(*found)


def test_an_empty_batch_has_gradients_of_zero():
    made, inputs = block("TransformerEncoder", True), tensor(np.zeros((0, LENGTH, WIDTH)), "float32")
    found = gradients(lambda: ops.sum(made(inputs, training=True)), made.trainable_variables)()
    assert all(each is not None and np.abs(each).max() == 0 for each in found)


def model(recompute, dtype="float32"):
    """With masks that Keras carries, a layer of state in a slot, and a loss that a part of the block adds."""
    keras.utils.set_random_seed(5)
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(20, LENGTH, WIDTH, mask_zero=True)(ids)
    network = keras.Sequential(
        [
            keras.layers.Dense(24, "relu", activity_regularizer=keras.regularizers.L2(0.1)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(WIDTH),
        ]
    )
    x = layers.TransformerEncoder(num_heads=4, dropout=0.2, feed_forward=network, recompute=recompute, dtype=dtype)(x)
    return keras.Model(ids, keras.layers.Dense(20)(x))


def losses(made, jit_compile, epochs=2):
    ids = np.random.default_rng(1).integers(0, 20, (6, LENGTH))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.1), loss, jit_compile=jit_compile)
    return made.fit(ids, ids, batch_size=3, epochs=epochs, shuffle=False, verbose=0).history["loss"]


def test_fit_goes_the_same_way_with_state_and_added_losses_inside():
    plain, saving = model(False), model(True)
    expected, got = losses(plain, COMPILES), losses(saving, COMPILES)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    moved = [array(each) for each in saving.non_trainable_variables]
    for one, other in zip(plain.variables, saving.variables, strict=True):
        np.testing.assert_allclose(array(other), array(one), rtol=1e-4, atol=1e-5)
    assert any(np.abs(each).max() > 0 and each.dtype == np.float32 for each in moved)


def test_frozen_weights_stay_and_adapters_learn():
    made = model(True)
    made.layers[2].trainable = False
    before = [array(each) for each in made.layers[2].weights]
    losses(made, "auto", epochs=1)
    moving = {each.path for each in made.layers[2].weights if "moving" in each.path}
    for weight, old in zip(made.layers[2].weights, before, strict=True):
        assert weight.path in moving or np.array_equal(array(weight), old), weight.path


def test_an_application_takes_it_and_saves_it(tmp_path):
    import keras_tx.applications as applications

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    built = applications.GPT(11, 8, **sizes, recompute=True)
    built.save(tmp_path / "gpt.keras")
    again = keras.saving.load_model(tmp_path / "gpt.keras")
    assert again.get_layer("decoder_0").recompute
    np.testing.assert_allclose(array(again(tensor([[1, 2]]))), array(built(tensor([[1, 2]]))), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles no program to look at")
def test_the_compiled_program_does_compute_again():
    """A compiler that sees the same product twice would keep the first, and the memory with it."""
    count = {}
    for recompute in (False, True):
        given = operands("TransformerDecoder")
        made = block("TransformerDecoder", recompute)
        count[recompute] = compiled_step(made, given["inputs"], given["context"]).count(" dot(")
    assert count[True] > count[False]


def compiled_step(made, inputs, context):
    """The text of the program that gives a loss and its gradients."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True, autograph=False)
        def step(x, context):
            with tf.GradientTape() as tape:
                value = weighted_sum(ops.sin(made(x, context, training=False)))
            return value, tape.gradient(value, made.trainable_variables)

        return step.experimental_get_compiler_ir(inputs, context)(stage="optimized_hlo")
    import jax

    def value(weights, x, context):
        with keras.StatelessScope(list(zip(made.trainable_variables, weights, strict=True))):
            return weighted_sum(ops.sin(made(x, context, training=False)))

    weights = [each.value for each in made.trainable_variables]
    return jax.jit(jax.value_and_grad(value)).lower(weights, inputs, context).compile().as_text()
