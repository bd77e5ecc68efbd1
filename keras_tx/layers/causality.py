"""Whether what stands in a decoder's slot looks ahead, which has to be what the decoder was made for."""

import keras

from . import attention_slot, cache_protocol, stepwise


def check(attention, causal):
    """Raises `ValueError` if a layer for the slot may look ahead in a causal decoder, or does not in another.

    A layer says it by an attribute `causal`. One without is told, by its mask over pairs; or has a cache, by which decoding
    compares it with its full pass; or is one of Keras' that are known.

    Args:
        attention: the layer, or `None`.
        causal: bool, of the decoder.
    """
    if attention is None:
        return
    own = getattr(attention, "causal", None)
    fits = not causal or _is_told(attention) or _is_known(attention) if own is None else bool(own) == causal
    if fits:
        return
    found = "which does not say whether it is causal" if own is None else f"whose causal={own}"
    raise ValueError(
        "`causal` must be what the layer given as `attention` is: a decoder whose positions may look ahead, as the queries of "
        "DETR do, has causal=False, and a layer of one's own whose positions do not says so by an attribute `causal = True`. "
        f"Received: causal={causal} and attention of class {type(attention).__name__}, {found}."
    )


def with_causal(config):
    """Returns the config of a decoder with `causal`: those written before there was the argument have their attention's."""
    if "causal" in config or not isinstance(config.get("attention"), dict):
        return config
    return {**config, "causal": config["attention"]["config"].get("causal", True)}


def _is_told(attention):
    return attention_slot.takes_pairs(attention) or any(
        cache_protocol.takes(attention, name) for name in ("attention_mask", "use_causal_mask")
    )


def _is_known(attention):
    if isinstance(attention, keras.layers.Conv1D):
        return attention.padding == "causal"
    if isinstance(attention, keras.layers.RNN):
        return not attention.go_backwards
    return cache_protocol.is_cached_layer(attention) or stepwise.is_stepwise(attention)
