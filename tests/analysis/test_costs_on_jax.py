"""What is counted beside what XLA counts of the compiled program. Needs JAX, whose compiler tells."""

import keras
import numpy as np
import pytest

from keras_tx import analysis, applications, layers

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="XLA's own count is asked for by way of JAX")


def counted_by_xla(model, inputs):
    import jax

    variables = [variable.value for variable in model.variables]

    def forward(variables, inputs):
        with keras.StatelessScope(zip(model.variables, variables, strict=True)):
            return model(inputs, training=False)

    return jax.jit(forward).lower(variables, inputs).cost_analysis()["flops"]


@pytest.mark.parametrize("name", ["gpt", "packed", "bert", "vit", "swin", "mixing", "detr", "vilbert"])
def test_the_products_are_those_of_the_program(name):
    """XLA counts what goes element by element too: with it, 5 % above products and norms at these widths."""
    sizes = {"num_layers": 1, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024}
    ids = np.ones((2, 32), "int32")
    if name == "gpt":
        model, inputs = applications.GPT(300, sequence_length=32, **sizes), ids
    elif name == "packed":
        model = applications.GPT(300, sequence_length=32, packed=True, **sizes)
        inputs = {"token_ids": ids, "segment_ids": ids}
    elif name == "detr":
        stem = applications.convolutional_stem((16, 64))
        model = applications.DETR(9, stem, 10, auxiliary_outputs=False, include_rescaling=False, **sizes)
        inputs = np.zeros((1, 48, 48, 3), "float32")
    elif name == "vilbert":
        regions = {"region_dim": 256, "num_region_layers": 1, "num_region_heads": 4, "region_hidden_dim": 256}
        regions |= {"region_intermediate_dim": 256, "num_co_attention_heads": 4, "co_attention_dim": 256}
        model = applications.ViLBERT(300, 32, **sizes, **regions, text_blocks_before=(1,), region_blocks_before=(0,))
        inputs = {"token_ids": ids, "segment_ids": 0 * ids, "region_features": np.zeros((2, 20, 256), "float32")}
        inputs |= {"boxes": np.zeros((2, 20, 4), "float32"), "num_regions": np.array([20, 20])}
    elif name == "bert":
        model, inputs = applications.BERT(300, sequence_length=32, **sizes), {"token_ids": ids, "segment_ids": 0 * ids}
    elif name == "vit":
        model = applications.ViT(8, image_size=32, num_classes=10, include_rescaling=False, **sizes)
        inputs = np.zeros((2, 32, 32, 3), "float32")
    elif name == "swin":
        model = applications.Swin(4, (1, 1), (8, 16), hidden_dim=256, num_classes=10, include_rescaling=False)
        inputs = np.zeros((2, 56, 56, 3), "float32")
    else:
        inputs = keras.Input((16, 256))
        x = layers.TransformerEncoder(1024, attention=layers.FourierMixing())(inputs)
        model, inputs = keras.Model(inputs, layers.TransformerEncoder(1024, 4)(x)), np.zeros((2, 16, 256), "float32")
    assert np.isclose(analysis.count_costs(model, inputs).flops, counted_by_xla(model, inputs), rtol=0.05)
