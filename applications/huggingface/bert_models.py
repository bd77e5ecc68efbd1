"""Which BERT a model is: the arguments that would build it, looked for by the classes of its layers."""

import keras

from ...layers import (
    Dropout,
    MultiHeadSelfAttention,
    SegmentEmbedding,
    SpanBoundary,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerEncoder,
)
from . import activations


def encoder_of(model):
    """Returns the encoder that a model is or stands on: the part with segments; `None` if there is none."""
    return next(
        (
            part
            for part in (model, *model.layers)
            if isinstance(part, keras.Model) and any(isinstance(layer, SegmentEmbedding) for layer in part.layers)
        ),
        None,
    )


def arguments_of(model):
    """Returns the arguments of `bert.build` for such a model; whether it is one they do not tell.

    Raises `ValueError` where a part is missing or has no place in the layout.
    """
    encoder = encoder_of(model)
    segments, embedding, block = (
        next((layer for layer in encoder.layers if isinstance(layer, kind)), None)
        for kind in (SegmentEmbedding, TokenAndPositionEmbedding, TransformerEncoder)
    )
    check(embedding is not None, "no TokenAndPositionEmbedding in its encoder", model)
    check(embedding.sequence_length is not None, "no learned positions", model)
    check(block is not None, "no TransformerEncoder in its encoder", model)
    own = block.num_heads is not None and type(block.attention) is MultiHeadSelfAttention
    check(own, f"an attention of its own in {block.name}", model)
    check(block.intermediate_dim is not None, f"a feed-forward network of its own in {block.name}", model)
    known = activations.name_of(block.activation)
    check(known is not None, f"activation {block.activation!r}, for which there is no name, in {block.name}", model)
    comparisons = [entry for entry in encoder.get_config()["layers"] if entry["class_name"] == "NotEqual"]
    padding = [value for entry in comparisons for value in entry["inbound_nodes"][0]["args"] if type(value) is int]
    check(len(padding) == 1, "no mask of the ids that are not padding", model)
    found = {
        "head": None,
        "encoder": {
            "vocabulary_size": embedding.vocabulary_size,
            "sequence_length": embedding.sequence_length,
            "num_layers": sum(isinstance(layer, TransformerEncoder) for layer in encoder.layers),
            "num_heads": block.num_heads,
            "hidden_dim": embedding.embedding_dim,
            "intermediate_dim": block.intermediate_dim,
            "num_segments": segments.num_segments,
            "dropout": block.dropout,
            "attention_dropout": block.attention.dropout,
            "activation": block.activation,
            "layer_norm_epsilon": block.layer_norm_epsilon,
            "padding_id": padding[0],
            "pooler": _has_output(encoder, "pooled_output"),
        },
    }
    if encoder is model:
        return found
    check(not any(isinstance(layer, SpanBoundary) for layer in model.layers), "a span-boundary head", model)
    logits = next((layer for layer in model.layers if isinstance(layer, TiedLogits)), None)
    if logits is not None:
        tables = embedding, embedding.token_embedding
        check(logits.embedding in tables, "logits tied to another embedding", model)
        found.update(head="pretrainer", next_sentence=_has_output(model, "next_sentence"), activation=block.activation)
        return found
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    check(len(dense) == 1, "no TiedLogits, and not one Dense, after its encoder", model)
    rates = [layer.rate for layer in model.layers if isinstance(layer, Dropout)]
    rate = rates[0] if rates else 0.0
    return {
        **found,
        "head": "classifier",
        "num_classes": dense[0].units,
        "dropout": rate,
        "pairs": len(model.inputs) == 2,
    }


def _has_output(model, name):
    return isinstance(model.output, dict) and name in model.output


def check(is_right, received, model):
    """Raises the refusal of a model that has what is not right."""
    if not is_right:
        raise refusal(received, model)


def refusal(received, model):
    """Returns the error for a model that is no BERT, saying what it has."""
    return ValueError(
        f"`model` must be a BERT to be saved as one, wired as `BERT` and its heads do. Received: {model.name} with {received}."
    )
