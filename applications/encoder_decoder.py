"""What encoder-decoders have in common: two models, one for the source and one for the target, inside the one that is trained.

The tables of tokens stand outside both, because Keras loses, when it saves, that two nested models share a layer.
"""

import keras
from keras import ops

from ..quantization import with_layer_structure


def encoder_inputs(hidden_dim):
    """Returns the inputs of an encoder: vectors `embedded` (B, S, D) and a boolean `mask` (B, S)."""
    return {"embedded": keras.Input((None, hidden_dim), name="embedded"), "mask": _mask("mask")}


def decoder_inputs(hidden_dim):
    """Returns the inputs of a decoder: `embedded` (B, T, D), `context` (B, S, D) and a boolean `context_mask` (B, S)."""
    vectors = {each: keras.Input((None, hidden_dim), name=each) for each in ("embedded", "context")}
    return {**vectors, "context_mask": _mask("context_mask")}


def encoder_decoder(encoder, decoder, source_embedding, target_embedding, padding_id, score, name, copy=None):
    """Returns the model from int32 `source_ids` (B, S) and `target_ids` (B, T) to logits (B, T, V).

    Args:
        encoder: model of `encoder_inputs`.
        decoder: model of `decoder_inputs`.
        source_embedding: layer from ids to vectors.
        target_embedding: the same layer, or another.
        padding_id: int, the token of the source to which nothing attends.
        score: function from the decoder's vectors (B, T, D) to logits.
        name: str.
        copy: layer from the decoder's vectors, their logits, the encoded source and its ids to other logits, or `None`.
    """
    source_ids = keras.Input((None,), dtype="int32", name="source_ids")
    target_ids = keras.Input((None,), dtype="int32", name="target_ids")
    mask = ops.not_equal(source_ids, padding_id)  # (B, S)
    context = encoder({"embedded": source_embedding(source_ids), "mask": mask})
    x = decoder({"embedded": target_embedding(target_ids), "context": context, "context_mask": mask})
    logits = score(x) if copy is None else copy(x, score(x), context, source_ids)
    model = keras.Model({"source_ids": source_ids, "target_ids": target_ids}, logits, name=name)
    return with_layer_structure(model)


def _mask(name):
    return keras.Input((None,), dtype="bool", name=name)
