"""In a compiled loop weights in eight bits are not held in floats, and would be without what keeps them in the loop."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.quantizers import AbsMaxQuantizer

from keras_tx.ops import eight_bits

BACKEND, WIDTH, LAYERS, STEPS = keras.backend.backend(), 512, 6, 4
pytestmark = pytest.mark.skipif(BACKEND == "torch", reason="torch compiles no loop")


def program(rows, rounded):
    """A loop of steps through layers of integers, and what it takes."""
    quantizer = AbsMaxQuantizer(axis=-1) if rounded else None
    random = np.random.default_rng(0)
    weights = [ops.convert_to_tensor(random.integers(-127, 128, (WIDTH, WIDTH)), "int8") for _ in range(LAYERS)]
    scale = ops.full((WIDTH,), 1000.0)

    def run(x, *weights):
        def step(_, x):
            for integers in weights:
                x = eight_bits.product(x, integers, scale, "float32", quantizer)
            return x

        return ops.fori_loop(0, STEPS, step, x)

    return run, (ops.ones((rows, WIDTH)), *weights)


def bytes_beside(run, arguments):
    """How many bytes a compiled program holds while it runs, beside what it is given and gives."""
    if BACKEND == "jax":
        import jax

        return jax.jit(run).lower(*arguments).compile().memory_analysis().temp_size_in_bytes
    import re

    import tensorflow as tf

    text = tf.function(run, jit_compile=True, autograph=False).experimental_get_compiler_ir(*arguments)("optimized_hlo")
    loops = re.findall(r"= (\(.*?\)) while\(", text)
    assert loops
    shapes = [shape for loop in loops for shape in re.findall(r"[fs](?:32|64)\[([0-9,]+)\]", loop)]
    return 4 * sum(int(np.prod([int(size) for size in shape.split(",")])) for shape in shapes)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_loop_holds_no_copy_of_all_weights_in_floats(rows, rounded, monkeypatch):
    all_in_floats = 4 * LAYERS * WIDTH**2
    assert bytes_beside(*program(rows, rounded)) < 0.3 * all_in_floats
    monkeypatch.setattr(eight_bits, "_never", lambda step: ops.convert_to_tensor(False))
    assert bytes_beside(*program(rows, rounded)) > 0.9 * all_in_floats
