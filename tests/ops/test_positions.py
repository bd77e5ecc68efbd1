"""Positions: counted over real tokens, as sine waves, and as rotations."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.ops import positions


def array(value):
    return ops.convert_to_numpy(value)


def integers(*values):
    return ops.convert_to_tensor(values, dtype="int32")


def boolean(*values):
    return ops.convert_to_tensor(np.array(values), dtype="bool")


def test_without_a_mask_positions_count_from_zero():
    np.testing.assert_array_equal(array(positions.position_ids(4)), [0, 1, 2, 3])
    np.testing.assert_array_equal(array(positions.position_ids(0)), np.zeros(0))


def test_a_start_moves_each_row_on_by_its_own():
    np.testing.assert_array_equal(array(positions.position_ids(3, start=integers(0, 5))), [[0, 1, 2], [5, 6, 7]])


def test_padding_takes_no_number():
    mask = boolean([True, True, False, True], [False, False, True, True], [False, False, False, False])
    np.testing.assert_array_equal(array(positions.position_ids(4, mask)), [[0, 1, 1, 2], [0, 0, 0, 1], [0, 0, 0, 0]])
    moved = positions.position_ids(4, mask, integers(10, 20, 30))
    np.testing.assert_array_equal(array(moved), [[10, 11, 11, 12], [20, 20, 20, 21], [30, 30, 30, 30]])


def test_advanced_counts_the_tokens_or_the_real_ones():
    start = integers(3, 0)
    np.testing.assert_array_equal(array(positions.next_position(start, 4)), [7, 4])
    mask = boolean([True, False, True], [False, False, False])
    np.testing.assert_array_equal(array(positions.next_position(start, 3, mask)), [5, 0])


def test_counting_in_two_parts_gives_what_counting_at_once_gives():
    mask = np.random.default_rng(0).random((4, 9)) < 0.6
    mask[:, :2] = True  # a row that starts with padding repeats position 0, and has none to repeat before its start
    whole = array(positions.position_ids(9, boolean(*mask)))
    start = positions.next_position(integers(0, 0, 0, 0), 5, boolean(*mask[:, :5]))
    second = array(positions.position_ids(4, boolean(*mask[:, 5:]), start))
    np.testing.assert_array_equal(second[mask[:, 5:]], whole[:, 5:][mask[:, 5:]])
    np.testing.assert_array_equal(array(positions.next_position(start, 4, boolean(*mask[:, 5:]))), mask.sum(1))


@pytest.mark.parametrize("dim", [1, 2, 7, 8, 64])
@pytest.mark.parametrize("max_wavelength", [10.0, 10_000.0])
def test_the_sine_table_is_the_formula(dim, max_wavelength):
    where = np.array([0, 1, 2, 17, 511])
    expected = np.zeros((len(where), dim))
    for column in range(dim):
        angle = where / max_wavelength ** (2 * (column // 2) / dim)
        expected[:, column] = np.cos(angle) if column % 2 else np.sin(angle)
    table = positions.sine_table(integers(*where), dim, max_wavelength)
    assert keras.backend.standardize_dtype(table.dtype) == "float32"
    np.testing.assert_allclose(array(table), expected, atol=5e-5)  # 511 radians, of which float32 keeps 3e-5


@pytest.mark.parametrize("dim", [1, 7, 8])
def test_the_sine_table_in_halves_holds_the_same_numbers(dim):
    where = integers(0, 1, 17)
    whole, halves = (array(positions.sine_table(where, dim, interleaved=each)) for each in (True, False))
    np.testing.assert_array_equal(halves, np.concatenate([whole[:, 0::2], whole[:, 1::2]], axis=-1))


def test_the_sine_table_keeps_the_axes_of_the_positions():
    table = array(positions.sine_table(integers([0, 1, 2], [5, 6, 7]), 6))
    assert table.shape == (2, 3, 6)
    np.testing.assert_allclose(table[1], array(positions.sine_table(integers(5, 6, 7), 6)), atol=1e-6)
    assert positions.sine_table(positions.position_ids(0), 6).shape == (0, 6)


def rotated(x, where, **kwargs):
    return array(positions.rotate(ops.convert_to_tensor(x.astype("float32")), where, **kwargs))


def test_rotating_multiplies_complex_numbers_by_a_phase():
    x = np.random.default_rng(1).normal(size=(2, 5, 3, 8))
    where = np.array([0, 1, 2, 30, 400])
    phase = np.exp(1j * where[:, None, None] * 100.0 ** (-np.arange(4) / 4))
    expected = (x[..., :4] + 1j * x[..., 4:]) * phase
    got = rotated(x, integers(*where), max_wavelength=100.0)
    np.testing.assert_allclose(got, np.concatenate([expected.real, expected.imag], -1), atol=1e-4)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_part_of_a_head_is_rotated_in_halves_or_side_by_side_and_scaled(interleaved):
    x = np.random.default_rng(1).normal(size=(2, 5, 3, 9))
    where = np.array([0, 1, 2, 30, 400])
    scaling = {"type": "longrope", "factor": 1.0, "original_max_position_embeddings": 8, "attention_factor": 1.5}
    scaling |= {"short_factor": [2.0, 3.0, 4.0], "long_factor": [1.0, 1.0, 1.0]}
    first, second = (x[..., 0:6:2], x[..., 1:6:2]) if interleaved else (x[..., :3], x[..., 3:6])
    turned = 1.5 * (first + 1j * second) * np.exp(1j * where[:, None, None] * 100.0 ** (-np.arange(3) / 3) / [2, 3, 4])
    expected = x.copy()
    if interleaved:
        expected[..., 0:6:2], expected[..., 1:6:2] = turned.real, turned.imag
    else:
        expected[..., :3], expected[..., 3:6] = turned.real, turned.imag
    settings = {"max_wavelength": 100.0, "rotary_dim": 6, "interleaved": interleaved, "scaling": scaling}
    np.testing.assert_allclose(rotated(x, integers(*where), **settings), expected, atol=1e-4)
    layer = layers.RotaryEmbedding(**settings)
    np.testing.assert_allclose(array(layer(x.astype("float32"), integers(*where))), expected, atol=1e-4)


def test_position_zero_does_not_rotate():
    x = np.random.default_rng(2).normal(size=(1, 3, 2, 4)).astype("float32")
    np.testing.assert_array_equal(rotated(x, integers(0, 0, 0)), x)


@pytest.mark.parametrize("shift", [1, 7, 100])
def test_the_product_of_rotated_vectors_depends_on_their_distance_alone(shift):
    query, key = np.random.default_rng(3).normal(size=(2, 1, 6, 1, 16))

    def products(moved_by):
        where = integers(*(np.arange(6) + moved_by))
        return np.einsum("btnh,bsnh->ts", rotated(query, where), rotated(key, where))

    np.testing.assert_allclose(products(shift), products(0), atol=5e-4)
    assert np.abs(products(0) - np.einsum("btnh,bsnh->ts", query, key)).max() > 0.1


def test_each_row_may_have_positions_of_its_own():
    x = np.random.default_rng(4).normal(size=(2, 3, 1, 4))
    both = rotated(x, integers([0, 1, 2], [7, 8, 9]))
    np.testing.assert_allclose(both[1], rotated(x, integers(7, 8, 9))[1], atol=1e-6)
    np.testing.assert_allclose(both[0], rotated(x, integers(0, 1, 2))[0], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rotating_keeps_the_dtype_and_takes_the_angles_in_float32(dtype):
    # At 2001 the angle of the fastest pair is lost in a half float, which tells 2000 from 2001 (float16) or 2008 (bfloat16).
    x = ops.cast(ops.ones((1, 1, 1, 8)), dtype)
    got = positions.rotate(x, integers(2001))
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    expected = rotated(np.ones((1, 1, 1, 8)), integers(2001))
    np.testing.assert_allclose(array(ops.cast(got, "float32")), expected, atol=2e-2)
