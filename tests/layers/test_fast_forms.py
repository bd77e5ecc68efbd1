"""The forms in which products, GELU and normalization run fast are those of Keras, to rounding."""

import keras
import numpy as np
import pytest

from keras_tx.layers.dense import Dense, EinsumDense
from keras_tx.layers.normalization import LayerNormalization
from keras_tx.ops import activations

from .contract_rows import stir
from .execution import array, gradients, tensor, weighted_sum

X = np.random.default_rng(0).normal(0.5, 2.0, (3, 4, 6)).astype("float32")
LAYERS = {
    "dense": (Dense, keras.layers.Dense, {"units": 5, "activation": "tanh"}, X),
    "dense, no bias": (Dense, keras.layers.Dense, {"units": 5, "use_bias": False}, X),
    "dense of rows": (Dense, keras.layers.Dense, {"units": 5}, X[0]),
    "into heads": (
        EinsumDense,
        keras.layers.EinsumDense,
        {"equation": "btd,dhk->bthk", "output_shape": (None, 2, 3), "bias_axes": "hk"},
        X,
    ),
    "out of heads": (
        EinsumDense,
        keras.layers.EinsumDense,
        {"equation": "bthk,hkd->btd", "output_shape": (None, 5), "bias_axes": "d"},
        X.reshape(3, 4, 2, 3),
    ),
    "normalization": (LayerNormalization, keras.layers.LayerNormalization, {"epsilon": 1e-5}, X),
    "normalization, no gamma": (LayerNormalization, keras.layers.LayerNormalization, {"scale": False}, X),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_outputs_and_gradients_are_those_of_keras(name, policy):
    ours, theirs, options, x = LAYERS[name]
    layers = [made(**options, dtype=policy) for made in (ours, theirs)]
    for layer in layers:
        layer.build(x.shape)
    stir(layers[0])
    layers[1].set_weights(layers[0].get_weights())
    close = {"atol": 1e-5, "rtol": 1e-5} if policy == "float32" else {"atol": 0.03, "rtol": 0.02}
    outputs = [layer(x) for layer in layers]
    assert outputs[0].dtype == outputs[1].dtype
    np.testing.assert_allclose(array(outputs[0]), array(outputs[1]), **close)
    if policy == "float32":
        found = [
            gradients(lambda x, layer=layer: weighted_sum(layer(x)), layer.trainable_weights)(tensor(x))
            for layer in layers
        ]
        for mine, wanted in zip(*found, strict=True):
            np.testing.assert_allclose(mine, wanted, atol=1e-4)


def test_gelu_is_the_exact_one():
    x = np.linspace(-9, 9, 999).astype("float32")
    found = array(activations.fusible(keras.activations.gelu)(tensor(x)))
    np.testing.assert_allclose(found, array(keras.activations.gelu(tensor(x))), atol=1e-6)
    assert activations.fusible(keras.activations.relu) is keras.activations.relu


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs that fuse are TensorFlow's")
def test_the_first_product_of_a_feed_forward_network_fuses_with_its_bias_and_gelu():
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from keras_tx.layers import FeedForward

    layer = FeedForward(64, "gelu")
    layer.build((2, 5, 32))
    stir(layer)  # a bias of zeros would be folded away, and the pattern with it
    function = tf.function(layer).get_concrete_function(tf.TensorSpec((2, 5, 32), "float32"))
    frozen = convert_variables_to_constants_v2(function)
    with tf.compat.v1.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        trace, options = tf.compat.v1.RunMetadata(), tf.compat.v1.RunOptions(output_partition_graphs=True)
        session.run(
            frozen.outputs[0].name,
            {frozen.inputs[0].name: X[:2, :1].repeat(5, 1).repeat(6, 2)[..., :32]},
            options,
            trace,
        )
    kinds = [node.op for part in trace.partition_graphs for node in part.node]
    assert "Erf" not in kinds
    assert sum("FusedMatMul" in kind for kind in kinds) == 2, kinds
