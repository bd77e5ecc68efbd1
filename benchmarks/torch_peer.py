"""A model of transformers on torch, in bfloat16 on the GPU if there is one: the peer of `accelerator.py`."""

import numpy as np
import torch


def torch_device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def torch_model(model):
    """The model in bfloat16 on the device, compiled where there is a GPU."""
    model = model.to(torch_device(), torch.bfloat16)
    return torch.compile(model) if torch_device().type == "cuda" else model


def torch_trainer(model, inputs, labels, steps):
    """A function that trains for some steps on one batch, and then reads the loss."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    inputs, labels = (torch.from_numpy(np.asarray(each)).long().to(torch_device()) for each in (inputs, labels))

    def run():
        for _ in range(steps):
            optimizer.zero_grad()
            logits = model(inputs).logits.float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
            loss.backward()
            optimizer.step()
        return loss.item()

    return run
