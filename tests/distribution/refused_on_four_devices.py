"""What does not fit a mesh of four devices is named; runs in the process of `on_four_devices.py`."""

import keras
import numpy as np
import pytest

from keras_tx import distribution
from keras_tx.applications import GPT
from keras_tx.layers import FeedForward

from .meshes import mesh, parallel


def test_heads_that_the_axis_does_not_divide_are_refused_by_the_name_of_the_weight():
    with (
        parallel(1, 4).scope(),
        pytest.raises(
            ValueError,
            match=r"must divide what it splits.*Received: decoder_0/attention/query/kernel of shape \(12, 3, 4\), whose axis 1 "
            r"has size 3, and 4 devices on the axis 'model'",
        ),
    ):
        GPT(12, 8, num_layers=1, num_heads=3, hidden_dim=12, intermediate_dim=32)


def test_columns_that_the_axis_does_not_divide_are_refused_by_the_name_of_the_weight():
    with (
        parallel(1, 4).scope(),
        pytest.raises(
            ValueError, match=r"Received: feed_forward/intermediate/kernel of shape \(8, 6\), whose axis 1 has"
        ),
    ):
        FeedForward(6, name="feed_forward").build((None, 8))


def test_a_path_in_the_map_makes_an_exception():
    layouts = distribution.layout_map(mesh(1, 4))
    layouts["feed_forward/intermediate/kernel"] = (None, None)
    layouts["feed_forward/intermediate/bias"] = (None,)
    layouts["feed_forward/output_dense/kernel"] = (None, None)
    with distribution.ModelParallel(layout_map=layouts).scope():
        layer = FeedForward(6, name="feed_forward")
        layer.build((None, 8))
    assert layer.intermediate.kernel.value.sharding.is_fully_replicated


def test_a_layout_of_another_rank_is_refused_by_the_name_of_the_weight():
    layer = keras.layers.Dense(4, name="query")
    with (
        parallel(1, 4).scope(),
        pytest.raises(ValueError, match=r"an axis for each of the weight's.*for query/kernel of shape \(8, 4\)"),
    ):
        layer.build((None, 8))


@pytest.mark.parametrize("given", [None, "mesh"])
def test_what_is_no_mesh_is_refused(given):
    with pytest.raises(ValueError, match="must be a DeviceMesh with an axis 'model'. Received: device_mesh="):
        distribution.layout_map(given)


@pytest.mark.parametrize("given", [None, mesh(2, 2)])
def test_what_is_no_layout_map_is_refused(given):
    with pytest.raises(ValueError, match="`layout_map` must be a keras.distribution.LayoutMap.* Received: layout_map="):
        distribution.ModelParallel(layout_map=given)


def test_a_mesh_without_a_model_axis_is_refused():
    with pytest.raises(ValueError, match=r"with an axis 'model'. Received: a mesh with axes \('data', 'heads'\)"):
        distribution.layout_map(mesh(2, 2, axes=("data", "heads")))


def test_an_axis_of_no_mesh_is_refused():
    layouts = distribution.layout_map(mesh(2, 2))
    with pytest.raises(ValueError, match="Invalid axis names for Layout"):  # by Keras
        layouts["logits/kernel"] = (None, "modell")


def test_the_axis_for_batches_is_not_that_for_heads():
    with pytest.raises(ValueError, match=r"an axis for batches beside 'model'.*Received: axis_names=\('model',\)"):
        distribution.ModelParallel(layout_map=distribution.layout_map(mesh(4, axes=("model",))))
    layouts = distribution.layout_map(mesh(2, 2, axes=("model", "data")))
    assert distribution.ModelParallel(layout_map=layouts).batch_dim_name == "data"
    with pytest.raises(ValueError, match="`batch_dim_name` must name it.*batch_dim_name='model'"):
        distribution.ModelParallel(layout_map=layouts, batch_dim_name="model")


def test_vocabularies_are_split_or_not():
    with pytest.raises(ValueError, match="`shard_vocabulary` must be a bool. Received: shard_vocabulary=1"):
        distribution.layout_map(mesh(1, 4), shard_vocabulary=1)


@pytest.mark.parametrize(
    ("rows", "size", "said"),
    [(6, 6, "must divide each batch. Received: a batch of 6 rows, and 4 devices"), (10, 8, "dimension size is 2")],
)
def test_a_batch_that_the_devices_do_not_divide_is_refused(rows, size, said):
    with parallel(4, 1).scope():
        model = GPT(12, 8, num_layers=1, num_heads=4, hidden_dim=16, intermediate_dim=32)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        ids = np.ones((rows, 4), "int32")
        with pytest.raises(ValueError, match=said):
            model.fit(ids, ids, batch_size=size, verbose=0)
