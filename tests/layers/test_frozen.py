"""What is frozen stays frozen: whole layers, parts of layers and layers in slots, through every way to copy a model."""

import keras
import numpy as np
import pytest

from keras_tx import graph, layers

from .contract_rows import INTERMEDIATE, LENGTH, WIDTH, find, joint_model, joint_numbers, reloaded
from .contract_table import ROWS
from .execution import array

TRAINED = [row for row in ROWS if row.trainable]
ADAPTED = [row for row in TRAINED if row.inner and row.variant in ("", "slots")]


def flags(model):
    """Which parts of a model are trainable, which of its weights, and which of them an optimizer gets."""
    parts = {
        path.split("/", 1)[1]: part.trainable
        for path, part in graph.parts(model)
        if not isinstance(part, keras.layers.InputLayer)
    }
    weights = [(weight.path, weight.trainable) for weight in model.weights]
    return parts, weights, [weight.path for weight in model.trainable_weights]


def copies(model, folder):
    return {"reloaded": reloaded(model, folder), "clone": keras.models.clone_model(model)}


def layers_of(model, rows):
    return [model.get_layer(f"layer_{number}") for number in range(len(rows))]


def freeze_layers(model):
    for layer in layers_of(model, ADAPTED):
        layer.trainable = False


def freeze_a_part(model):
    for row, layer in zip(ADAPTED, layers_of(model, ADAPTED), strict=True):
        find(layer, row.inner[0]).trainable = False


def thaw_a_part(model):
    freeze_layers(model)
    for row, layer in zip(ADAPTED, layers_of(model, ADAPTED), strict=True):
        find(layer, row.inner[-1]).trainable = True


@pytest.mark.parametrize("freeze", [freeze_layers, freeze_a_part, thaw_a_part])
def test_copies_are_as_frozen_as_the_model(freeze, tmp_path):
    model = joint_model(ADAPTED)
    total = len(model.trainable_weights)
    freeze(model)
    assert len(model.trainable_weights) < total
    again = copies(model, tmp_path)
    again["copy of a copy"] = keras.Model.from_config(again["reloaded"].get_config())
    for name, copy in again.items():
        for ours, theirs in zip(flags(model), flags(copy), strict=True):
            assert theirs == ours, name
    copy = again["clone"]
    for layer in copy.layers:
        layer.trainable = True
    assert len(copy.trainable_weights) == total  # thawed as any layer of Keras


def test_constructors_freeze_what_they_make():
    for row in TRAINED:
        layer = row.make(trainable=False)
        layer.build(*row.shapes())
        parts, weights, _ = flags(layer)
        assert not any(parts.values()), row
        assert len(weights) >= row.trainable, row
        assert not any(trainable for _, trainable in weights), row
        layer.trainable = True
        assert len(layer.trainable_weights) == row.trainable, row


def test_layers_frozen_before_they_are_built_stay_frozen():
    for row in TRAINED:
        layer = row.make()
        layer.trainable = False
        layer.build(*row.shapes())
        assert not any(trainable for _, trainable in flags(layer)[1]), row


def test_a_copy_can_be_thawed_before_it_is_built():
    layer = layers.TransformerEncoder(INTERMEDIATE, 2)
    layer.build((None, LENGTH, WIDTH))
    layer.attention.query.trainable = False
    copy = layers.TransformerEncoder.from_config(layer.get_config())
    copy.trainable = True
    copy.build((None, LENGTH, WIDTH))
    assert len(copy.trainable_weights) == 16


@keras.saving.register_keras_serializable(package="test_frozen")
class TwoDense(keras.layers.Layer):
    """A layer of a caller's own, which makes its parts when it is built and tells nobody what became of them."""

    def build(self, input_shape):
        self.first = keras.layers.Dense(WIDTH, name="dense")
        self.second = keras.layers.Dense(WIDTH, name="more")
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_layers_in_slots_stay_frozen(tmp_path):
    inputs = keras.Input((LENGTH, WIDTH))
    frozen = layers.MultiHeadSelfAttention(2, name="frozen", trainable=False)
    block = layers.TransformerEncoder(attention=frozen, feed_forward=TwoDense(name="own"), name="layer")
    model = keras.Model(inputs, block(inputs))
    block.feed_forward.second.trainable = False
    assert len(model.trainable_weights) == 4 + 2  # the norms and one of the two dense layers
    for name, copy in copies(model, tmp_path).items():
        assert flags(copy) == flags(model), name


def test_either_end_of_a_table_freezes_it(tmp_path):
    ids = keras.Input((None,), dtype="int32")
    for end in ("embedding", "logits", "constructor"):
        embedding = layers.TokenAndPositionEmbedding(7, 4, 4, name="embedding")
        logits = layers.TiedLogits(embedding, True, name="logits", trainable=end != "constructor")
        model = keras.Model(ids, logits(embedding(ids)))
        if end != "constructor":
            model.get_layer(end).trainable = False
        assert len(model.trainable_weights) == (1 if end == "embedding" else 0)
        for copy in copies(model, tmp_path).values():
            assert flags(copy) == flags(model), end


def test_an_optimizer_fits_what_is_reloaded(tmp_path):
    """Adam goes on from its state, and moves what it moved before."""
    rows = [
        row for row in ADAPTED if row.layer in (layers.PatchEmbedding, layers.TransformerEncoder) and not row.variant
    ]
    model = joint_model(rows)
    for row, layer in zip(rows, layers_of(model, rows), strict=True):
        layer.trainable = False
        find(layer, row.inner[0]).trainable = True
    model.compile("adam", "mse", run_eagerly=keras.backend.backend() == "torch")
    numbers = joint_numbers(rows)
    targets = [np.zeros(output.shape, "float32") for output in model(numbers)]
    model.train_on_batch(numbers, targets)
    path = tmp_path / "model.keras"
    model.save(path)
    copy = keras.models.load_model(path)
    ours, theirs = ([array(each) for each in one.optimizer.variables] for one in (model, copy))
    assert len(ours) == len(theirs) == 2 + 2 * len(model.trainable_weights)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(other, mine)
    before = {weight.path: array(weight) for weight in copy.weights}
    copy.train_on_batch(numbers, targets)
    moved = {path for path, weight in before.items() if not np.array_equal(weight, array(find_weight(copy, path)))}
    assert moved <= {weight.path for weight in model.trainable_weights}
    assert len(moved) > len(rows)


def find_weight(model, path):
    return next(weight for weight in model.weights if weight.path == path)


def test_a_config_names_parts_as_every_backend_does():
    block = layers.TransformerEncoder(INTERMEDIATE, 2)
    block(keras.Input((LENGTH, WIDTH)))
    block.attention.query.trainable = False
    config = block.get_config()
    assert config["parts"] == {"attention/query": {"trainable": False}}
    note = "_self_unconditional_dependency_names/"  # as TensorFlow wrote it
    for parts in (config["parts"], {f"{note}attention/{note}query": {"trainable": False}}):
        again = layers.TransformerEncoder.from_config({**config, "parts": parts})
        again(keras.Input((LENGTH, WIDTH)))
        assert not again.attention.query.trainable
        assert again.attention.key.trainable
