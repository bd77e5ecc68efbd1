"""A training step of a whole model in Keras and in torch, for all programs that time one: forward, loss, backward, optimizer."""

import numpy as np


def keras_step(model, inputs, labels, loss, optimizer, jit, weights=None):
    """Returns the function that trains once by `train_on_batch`, as `fit` does, and returns the loss."""
    model.compile(optimizer, loss, jit_compile=jit)
    optimizer.build(model.trainable_variables)  # or TensorFlow would trace the step twice
    return lambda: float(np.ravel(model.train_on_batch(inputs, labels, weights))[0])


def torch_step(model, loss, tensors, optimizer, compiled=False):
    """Returns the function that trains once and returns the loss.

    Args:
        model: `torch.nn.Module`.
        loss: function of the tensors that gives the loss.
        tensors: tuple of what it takes.
        optimizer: of the model's parameters.
        compiled: bool, whether `torch.compile` makes one program of model and loss, and of their backward pass.
    """
    import torch

    model.train()
    loss = torch.compile(loss, dynamic=False) if compiled else loss

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss(*tensors)
        value.backward()
        optimizer.step()
        return value.item()

    return step
