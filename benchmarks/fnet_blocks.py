"""One block of FNet for `train_step.py`: ours, keras-hub's, and transformers' in torch.

Post-norm, relu, biases. With dropout ours drops both branches, the others the feed-forward network's alone.
"""

import numpy as np

import keras_tx

WIDTHS = {"hidden": 768, "intermediate": 3072}
SIZES = {
    "fnet-128": {"batch": 16, "length": 128, **WIDTHS},
    "fnet-512": {"batch": 4, "length": 512, **WIDTHS},
    "fnet-2048": {"batch": 1, "length": 2048, **WIDTHS},
}


def ours(size, dropout):
    mixing = keras_tx.layers.FourierMixing()
    return keras_tx.layers.TransformerEncoder(size["intermediate"], attention=mixing, dropout=dropout)


def keras_hub(size, dropout):
    import keras_hub

    return keras_hub.layers.FNetEncoder(size["intermediate"], dropout=dropout)


BLOCKS = {"keras_tx": ours, "keras_hub": keras_hub}


def transformers_steps(size, dropout, inputs):
    """Returns a forward step and a training step (outputs, loss, gradients of weights and inputs) of the block in torch."""
    import torch
    import transformers
    from transformers.models.fnet.modeling_fnet import FNetLayer

    config = transformers.FNetConfig(
        hidden_size=size["hidden"],
        intermediate_size=size["intermediate"],
        hidden_act="relu",
        hidden_dropout_prob=dropout,
        layer_norm_eps=1e-5,
    )
    block, x = FNetLayer(config), torch.tensor(inputs, requires_grad=True)
    weights = [x, *block.parameters()]

    def forward():
        block.eval()
        with torch.no_grad():
            return np.asarray(block(x)[0])

    def train():
        block.train()
        return torch.autograd.grad(block(x)[0].square().mean(), weights)[0].numpy()

    return forward, train
