"""No rows and no positions: every layer gives outputs that are as empty as its inputs, eagerly and compiled."""

import inspect

import numpy as np
import pytest
from keras import ops

from keras_tx.layers import (
    ClassToken,
    ConvolutionalStem,
    LearnedQueries,
    MultiHeadCrossAttention,
    PatchEmbedding,
    TransformerDecoder,
)

from .contract_rows import built_once
from .contract_table import ROWS
from .execution import COMPILES, array, compiled, tensor

# Of an image without rows there is no patch; a class token is there with no position behind it, and queries are always.
WITH_POSITIONS = (ClassToken, ConvolutionalStem, LearnedQueries, PatchEmbedding)
LENGTHS = [(0, 3), (2, 0)]
CASES = [
    (row, batch, length)
    for row in ROWS
    for batch, length in LENGTHS
    if row.has_batch and (length or row.layer not in WITH_POSITIONS)
]
every_case = pytest.mark.parametrize(("row", "batch", "length"), CASES, ids=str)


def inputs(row, batch, length):
    """Inputs of the row with that batch size, and that length in the first argument, its positions and what shares the axis."""
    shared = all(len(shape) > 2 for _, shape in row.inputs)  # the first axis is a second batch
    numbers = zip(row.numbers(), row.inputs, strict=True)
    cut = [
        (number[:batch], shared or i == 0 or dtype in ("places", "boxes", "logits"))
        for i, (number, (dtype, _)) in enumerate(numbers)
    ]
    return [tensor(number[:, :length] if is_cut else number) for number, is_cut in cut]


@every_case
def test_empty_inputs_give_empty_outputs(row, batch, length):
    outputs = row.call(built_once(row), *inputs(row, batch, length))
    assert tuple(outputs.shape) == (batch, *row.outputs_for(length))
    assert not array(outputs).any()  # a mean over no positions is zero; all others have no numbers


@pytest.mark.parametrize("row", [row for row in ROWS if row.seeds], ids=str)
@pytest.mark.parametrize(("batch", "length"), LENGTHS)
def test_empty_inputs_give_empty_outputs_in_training(row, batch, length):
    assert not array(row.call(built_once(row), *inputs(row, batch, length), training=True)).size


@pytest.mark.parametrize(("batch", "length"), LENGTHS)
@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_empty_inputs_give_empty_outputs_when_compiled(batch, length):
    """All layers in one program, which takes a fraction of the time."""
    rows = [row for row, *size in CASES if size == [batch, length]]
    layers = [built_once(row) for row in rows]

    def call(*given):
        return [row.call(layer, *own) for row, layer, own in zip(rows, layers, given, strict=True)]

    for row, outputs in zip(rows, compiled(call)(*[inputs(row, batch, length) for row in rows]), strict=True):
        assert tuple(outputs.shape)[0] == batch, row
        assert not array(outputs).any(), row


@pytest.mark.parametrize(
    ("row", "batch", "length"),
    [case for case in CASES if "mask" in inspect.signature(case[0].layer.call).parameters],
    ids=str,
)
def test_empty_inputs_may_have_an_empty_mask(row, batch, length):
    mask = ops.ones((batch, length, *row.inputs[0][1][1:-1]), dtype="bool")
    assert not array(row.call(built_once(row), *inputs(row, batch, length), mask=mask)).any()


@pytest.mark.parametrize("mask", [None, (2, 0)])
def test_an_empty_context_gives_nothing_to_attend_to(mask):
    random = np.random.default_rng(0)
    x, context = tensor(random.normal(size=(2, 5, 8)).astype("float32")), ops.zeros((2, 0, 6))
    mask = None if mask is None else ops.ones(mask, dtype="bool")
    layer = MultiHeadCrossAttention(2)
    layer(x, ops.ones((2, 4, 6)))
    layer.attention_output.bias.assign(np.ones(8))
    outputs, scores = layer(x, context, context_mask=mask, return_attention_scores=True)
    assert tuple(scores.shape) == (2, 2, 5, 0)
    np.testing.assert_array_equal(array(outputs), np.zeros((2, 5, 8)))
    assert np.isfinite(array(TransformerDecoder(16, 2)(x, context, context_mask=mask))).all()
