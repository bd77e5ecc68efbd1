"""BART folders: how their config and their tensors read as those of `Translator`, and the reverse.

Post-norm, one table for source and target, learned positions of which the first two rows stand unused, and a norm after
the embeddings. Decoding starts from the end id: `generate(model, [[eos]] * B, ..., stop_ids=eos, pad_id=pad,
context={"source_ids": rows})`.
"""

from ...checkpoints import Rule
from ...layers import LearnedPositionEncoding
from ..translator import Translator
from . import encoder_decoder

PREFIX, TIED = encoder_decoder.PREFIX, encoder_decoder.TIED
RULES = (
    *encoder_decoder.RULES,
    *(
        rule
        for side in ("encoder", "decoder")
        for rule in (
            Rule(f"{side}.embed_positions.weight", f"{side}/positions/position_embedding/embeddings"),
            *encoder_decoder.norm(f"{side}.layernorm_embedding", f"{side}/embedding_norm"),
        )
    ),
)
IGNORED = ("encoder.version", "decoder.version")
_ARCHITECTURE, _OFFSET = "BartForConditionalGeneration", 2
_FIXED = {"positions": "learned", "position_offset": _OFFSET, "normalize_first": False, "embedding_norm": True}

build, weights = Translator, encoder_decoder.weights


def arguments(config, checkpoint):
    """Returns the arguments of `Translator` for a folder; raises `ValueError` for what it does not do."""
    config.must_be("normalize_embedding", True, default=True)
    length = config.positive_int("max_position_embeddings")
    return {**encoder_decoder.arguments(config, checkpoint, _ARCHITECTURE), **_FIXED, "sequence_length": length}


def landmarks(arguments):
    """Yields names and shapes of tensors in which every size of `arguments` shows."""
    yield from encoder_decoder.landmarks(arguments)
    for side in ("encoder", "decoder"):
        rows = arguments["sequence_length"] + _OFFSET
        yield f"{side}.embed_positions.weight", (rows, arguments["hidden_dim"])


def recognizes(model):
    """Returns whether a model is an encoder and a decoder with learned positions."""
    return encoder_decoder.has_positions(model, LearnedPositionEncoding)


def saved(model):
    """Returns the config of a model, its weights by their paths in `Translator`, and the rules by which they are written."""
    arguments, weights = encoder_decoder.saved(model, "BART", _FIXED)
    config = {
        "architectures": [_ARCHITECTURE],
        "model_type": "bart",
        **encoder_decoder.config(arguments, weights),
        "max_position_embeddings": arguments["sequence_length"],
        # As the published models have it.
        "decoder_start_token_id": 2,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "forced_eos_token_id": 2,
    }
    return config, weights, encoder_decoder.written(RULES)
