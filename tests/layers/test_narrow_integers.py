"""Ids and positions in fewer than 32 bits, or without a sign, are the numbers that they say."""

import numpy as np
import pytest

from keras_tx import layers

from .execution import COMPILES, array, compiled, tensor

X = np.random.default_rng(0).normal(size=(2, 300, 4)).astype("float32")
# layer, arguments before the integers, the integers: the largest is near what a byte holds, and what is made of it is not
CASES = {
    "a vocabulary of bytes": (lambda: layers.TokenAndPositionEmbedding(256, 3, 4), (), [[1, 127, 120]], {}),
    "ids of more than a byte": (lambda: layers.TokenAndPositionEmbedding(1000, 3, 4), (), [[1, 127, 120]], {}),
    "segments": (lambda: layers.SegmentEmbedding(256, 4), (), [[1, 127, 120]], {}),
    "positions after an offset": (
        lambda: layers.LearnedPositionEncoding(300, offset=2),
        (X[:, :3],),
        [1, 127, 126],
        {},
    ),
    "gathered places": (layers.GatherPositions, (X,), [[1, 127, 120], [0, 2, 100]], {}),
    "places in a window": (lambda: layers.WindowPositionBias(2, (1, 130), "normal"), (), [0, 127, 5], {"both": True}),
}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32"])
@pytest.mark.parametrize("name", CASES)
def test_integers_of_every_width_mean_the_same(name, dtype):
    make, before, integers, how = CASES[name]
    layer, before = make(), [tensor(each) for each in before]

    def call(integers):
        return layer(*before, positions=integers) if "offset" in name else layer(*before, *[integers] * (1 + len(how)))

    wanted = array(call(tensor(np.array(integers, "int32"))))
    assert abs(wanted).max() > 0
    given = tensor(np.array(integers), dtype)
    np.testing.assert_array_equal(array(call(given)), wanted)
    if COMPILES and dtype == "uint8" and "a vocabulary" not in name:
        np.testing.assert_array_equal(array(compiled(call)(given)), wanted)
