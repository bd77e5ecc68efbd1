"""FNet folders, as models of `FNet` and of the heads of BERT.

As BERT's, with a linear map after the embeddings and a Fourier transform in place of attention. Padding is mixed as other tokens
are, so `pad_token_id` is not read, and is written as published.
"""

from ..fnet import FNet
from . import bert
from .fields import Field, only
from .shown import no_padding_id
from .tensors import dense, norm

_ABSENT = "num_heads", "attention_dropout", "padding_id"
_DEFAULTS = {"activation": "gelu_new", "num_segments": 4}


def _field(field):
    return field._replace(default=_DEFAULTS.get(field.argument, field.default))


RECIPE = bert.RECIPE._replace(
    name="FNet",
    wiring="`FNet` and its heads do",
    build=bert.with_heads(FNet),
    marks={**bert.RECIPE.marks, "FourierMixing": ...},
    architectures={name.replace("Bert", "FNet"): each for name, each in bert.RECIPE.architectures.items()},
    fields=(
        *(_field(field) for field in bert.RECIPE.fields if field.argument not in _ABSENT),
        Field("padding_id", None, only(None), None, shown=no_padding_id),  # no config has it
    ),
    demands={"tie_word_embeddings": True},
    checks=(),
    rules=(
        *(rule for rule in bert.RECIPE.rules if ".attention." not in rule.tensors[0]),
        *norm("encoder.layer.{i}.fourier.output.LayerNorm", "encoder_{i}/attention_norm"),
        *dense("embeddings.projection", "embedding_projection"),
    ),
    prefix="fnet.",
    root="fnet",
    constants=lambda layers, arguments: {"pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2},
)
