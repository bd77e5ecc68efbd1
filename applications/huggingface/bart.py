"""BART folders, as models of `Translator`.

As Marian's, with learned positions of which the first two rows stand unused, and a norm after the embeddings. Decoding starts
from the end id: `generate(model, [[eos]] * B, ..., stop_ids=eos, pad_id=pad, context={"source_ids": rows})`.
"""

from ...checkpoints import Rule
from . import marian
from .fields import SIZE, Field
from .tensors import norm

_OFFSET, _SIDES = 2, ("encoder", "decoder")
# As the published models have them.
_IDS = {"decoder_start_token_id": 2, "bos_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": 2}
_POSITIONS = [(f"{side}.embed_positions.weight", f"{side}/positions/position_embedding/embeddings") for side in _SIDES]

RECIPE = marian.RECIPE._replace(
    name="BART",
    marks={"decoder.has_context": True, "LearnedPositionEncoding": ...},
    architectures={"BartForConditionalGeneration": marian.RECIPE.architectures["MarianMTModel"]},
    fields=(
        *marian.RECIPE.fields,
        Field("sequence_length", "max_position_embeddings", SIZE, shown="LearnedPositionEncoding.sequence_length",
              axis=[(tensor, 0, lambda length, found: length + _OFFSET) for tensor, _ in _POSITIONS]),
    ),
    fixed={"positions": "learned", "position_offset": _OFFSET, "normalize_first": False, "embedding_norm": True},
    demands={**marian.RECIPE.demands, "normalize_embedding": True},
    rules=(
        *marian.RECIPE.rules,
        *(Rule(*row) for row in _POSITIONS),
        *(rule for side in _SIDES for rule in norm(f"{side}.layernorm_embedding", f"{side}/embedding_norm")),
    ),
    ignored=("encoder.version", "decoder.version"),
    constants=lambda layers, arguments: {"is_encoder_decoder": True, **_IDS},
)  # fmt: skip
