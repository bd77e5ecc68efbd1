"""Marian folders (the OPUS translators): how their config and their tensors read as those of `Translator`, and the reverse.

Post-norm, one table for source and target, sinusoidal positions with all sines first. Decoding starts from the padding
id: `generate(model, [[pad]] * B, ..., stop_ids=eos, pad_id=pad, context={"source_ids": rows})`, each row ended by eos.
"""

from ...layers import SinusoidalPositionEncoding
from ..translator import Translator
from . import encoder_decoder

PREFIX, RULES, TIED = encoder_decoder.PREFIX, encoder_decoder.RULES, encoder_decoder.TIED
IGNORED = ("encoder.embed_positions.weight", "decoder.embed_positions.weight")  # the sines, which need no tensor
_ARCHITECTURE = "MarianMTModel"
_FIXED = {"positions": "sinusoidal_halves", "normalize_first": False, "embedding_norm": False}

build, landmarks, weights = Translator, encoder_decoder.landmarks, encoder_decoder.weights


def arguments(config, checkpoint):
    """Returns the arguments of `Translator` for a folder; raises `ValueError` for what it does not do."""
    config.must_be("normalize_embedding", False, default=False)
    config.must_be("share_encoder_decoder_embeddings", True, default=True)
    return {**encoder_decoder.arguments(config, checkpoint, _ARCHITECTURE), **_FIXED}


def recognizes(model):
    """Returns whether a model is an encoder and a decoder with sinusoidal positions."""
    return encoder_decoder.has_positions(model, SinusoidalPositionEncoding)


def saved(model):
    """Returns the config of a model, its weights by their paths in `Translator`, and the rules by which they are written."""
    arguments, weights = encoder_decoder.saved(model, "Marian model", _FIXED)
    padding = arguments["padding_id"]
    # As the published models have it; what a vocabulary with padding at 0 ends a sentence with is not known here.
    end = 0 if padding else None
    config = {
        "architectures": [_ARCHITECTURE],
        "model_type": "marian",
        **encoder_decoder.config(arguments, weights),
        "decoder_vocab_size": arguments["source_vocabulary_size"],
        "share_encoder_decoder_embeddings": True,
        "max_position_embeddings": 1024,
        "decoder_start_token_id": padding,
        "bos_token_id": None,
        "eos_token_id": end,
        "forced_eos_token_id": end,
    }
    return config, weights, encoder_decoder.written(RULES)
