"""One cell of `scale.py` in a process of its own: a block, trained on one batch or stepped with a cache, once for each line read.

All are post-norm blocks with heads of 64, a feed-forward network of four times the width with relu, and no dropout.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import answer_in_turn

HEAD, STEPS = 64, 16
PARTS = {
    "encoder": ("keras_tx", "keras", "keras_hub", "torch"),
    "window": ("keras_tx", "keras", "torch"),
    "step": ("keras_tx", "keras_hub", "torch"),
}


def _vectors(cell, length):
    return np.random.default_rng(0).standard_normal((cell.batch, length, cell.width)).astype("float32")


def _near(places, window):
    """Which keys are in the causal window of which queries, (T, T)."""
    distance = places[:, None] - places[None]
    return (distance >= 0) & (distance < window)


def keras_block(cell):
    """Returns the block as a layer, which may have to be told of its window."""
    import train_step

    import keras_tx

    size = {"hidden": cell.width, "heads": cell.width // HEAD, "intermediate": 4 * cell.width}
    if cell.candidate == "keras":
        return train_step.KerasBlock(size, 0.0)
    if cell.part == "encoder":
        return (train_step.our_block if cell.candidate == "keras_tx" else train_step.keras_hub_block)(size, 0.0)
    if cell.candidate == "keras_hub":
        import keras_hub

        return keras_hub.layers.TransformerDecoder(size["intermediate"], size["heads"])
    window = cell.window if cell.part == "window" else None
    attention = keras_tx.layers.MultiHeadSelfAttention(size["heads"], causal=True, window=window)
    return keras_tx.layers.TransformerDecoder(size["intermediate"], attention=attention)


def keras_training(cell):
    """Returns the training step: outputs, mean of squares, gradients of all weights, SGD."""
    import keras
    from keras import ops
    from training_steps import keras_step

    inputs = keras.Input((cell.length, cell.width))
    block, told = keras_block(cell), {}
    if (cell.part, cell.candidate) == ("window", "keras"):
        # (1, T, T), made where it is used: as a constant it would be part of the program.
        told["attention_mask"] = keras.layers.Lambda(lambda x: _near(ops.arange(ops.shape(x)[1]), cell.window)[None])(
            inputs
        )
    model = keras.Model(inputs, block(inputs, **told))
    x = _vectors(cell, cell.length)
    return keras_step(model, x, x, "mse", keras.optimizers.SGD(1e-3), cell.jit == "on")


def keras_cached(cell):
    """Returns `STEPS` cached steps in one compiled loop, as generation makes them, the last of which fills the cache."""
    from keras import ops

    block = keras_block(cell)
    block(ops.zeros((cell.batch, 1, cell.width)))
    first = cell.length - STEPS
    if cell.candidate == "keras_tx":
        own, _ = block.init_cache(cell.batch, cell.length)  # and that of a context, which there is not
        full = ops.broadcast_to(ops.arange(cell.length) < first, (cell.batch, cell.length))
        held = {"mask": full, "length": ops.convert_to_tensor(first, dtype="int32")}
        cache = own._replace(**held)

        def step(i, x, own):
            y, (own, _) = block(x, cache=(own, None))
            return y, own
    else:
        cache = ops.zeros((cell.batch, 2, cell.length, cell.width // HEAD, HEAD))

        def step(i, x, cache):
            return block(x, self_attention_cache=cache, self_attention_cache_update_index=first + i)

    def steps(x, cache):
        def body(i, x, cache):
            return (i + 1, *step(i, x, cache))

        return ops.while_loop(lambda i, *_: i < STEPS, body, (ops.zeros((), "int32"), x, cache))[1]

    return _compiled(steps, block, (ops.convert_to_tensor(_vectors(cell, 1)), cache), cell.jit == "on")


def _compiled(function, block, arguments, jit):
    """Returns the function that runs the compiled one on the arguments and waits for it."""
    import keras

    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        run = tf.function(function, jit_compile=jit)
        return lambda: run(*arguments).numpy()
    if name == "jax":
        import jax

        def stateless(values, *arguments):
            with keras.StatelessScope(state_mapping=list(zip(block.variables, values, strict=True))):
                return function(*arguments)

        run, values = jax.jit(stateless), [variable.value for variable in block.variables]
        return lambda: jax.block_until_ready(run(values, *arguments))
    import torch

    def run():
        with torch.no_grad():
            return function(*arguments)

    return run


def torch_cell(cell):
    """The same in torch with `scaled_dot_product_attention`; a window is a mask over all pairs."""
    import torch

    functional, heads, width = torch.nn.functional, cell.width // HEAD, cell.width

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.joined, self.outer = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
            self.inner, self.last = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(2))

        def forward(self, x, mask=None, cache=None, place=None):
            shape = (x.shape[0], x.shape[1], heads, HEAD)
            query, key, value = (each.reshape(shape).transpose(1, 2) for each in self.joined(x).chunk(3, -1))
            if cache is not None:
                for kept, new in zip(cache, (key, value), strict=True):
                    kept[:, :, place : place + 1] = new
                key, value = (kept[:, :, : place + 1] for kept in cache)
            y = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            x = self.norms[0](x + self.outer(y.transpose(1, 2).reshape(x.shape)))
            return self.norms[1](x + self.last(functional.relu(self.inner(x))))

    block = Block()
    if cell.part == "step":
        cache = [torch.zeros(cell.batch, heads, cell.length, HEAD) for _ in range(2)]
        first = torch.from_numpy(_vectors(cell, 1))

        def run():
            with torch.inference_mode():
                x = first
                for place in range(cell.length - STEPS, cell.length):
                    x = block(x, cache=cache, place=place)

        return run
    from training_steps import torch_step

    mask = None
    if cell.part == "window":
        mask = _near(torch.arange(cell.length), cell.window)
    x = torch.from_numpy(_vectors(cell, cell.length))
    optimizer = torch.optim.SGD(block.parameters(), 1e-3)
    return torch_step(block, lambda x: functional.mse_loss(block(x, mask), x), (x,), optimizer)


def make(cell):
    """Returns the function that runs the cell once."""
    if cell.candidate == "torch":
        return torch_cell(cell)
    return keras_cached(cell) if cell.part == "step" else keras_training(cell)


def main():
    parser = argparse.ArgumentParser()
    for name, kind in (("part", str), ("candidate", str), ("length", int), ("batch", int), ("width", int)):
        parser.add_argument(name, type=kind)
    parser.add_argument("window", type=int)
    parser.add_argument("jit")
    cell = parser.parse_args()
    # What libraries hold belongs to no candidate.
    if cell.candidate == "torch":
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
    else:
        import keras
        import train_step  # noqa: F401

        if cell.candidate == "keras_hub":
            import keras_hub  # noqa: F401

        keras.ops.zeros(())
    answer_in_turn(lambda: make(cell))


if __name__ == "__main__":
    main()
