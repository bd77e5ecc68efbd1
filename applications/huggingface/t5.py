"""T5 folders (1.0, 1.1 and Flan), as models of `T5`.

Decoding starts from the padding id: `generate(model, [[0]] * B, ..., stop_ids=1, pad_id=0, context={"source_ids": rows})`, each
row ended by 1.
"""

from ...checkpoints import Rule
from ..t5 import T5
from .activations import FUNCTIONS
from .fields import FLAG, POSITIVE, RATE, SIZE, Field, Kind, below, one_of
from .recipe import Architecture, Recipe
from .shown import padding_id, present
from .tensors import dense

_TABLE, _HEAD = "shared.weight", "lm_head.weight"
_SIDES = {"encoder": ("attention", "feed_forward"), "decoder": ("attention", "cross_attention", "feed_forward")}
_BLOCK = {side: f"{side}.block.{{i}}." for side in _SIDES}
_BIAS = "{}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


def _projection(found):
    """One word for an activation and whether it gates: "relu" or "gated-gelu", where "gelu" is the approximation."""
    start = "gated-" * found["gated"]
    names = {"gelu": FUNCTIONS["gelu_new"], **{name: FUNCTIONS[name] for name in FUNCTIONS if name != "gelu"}}
    return one_of({start + name: function for name, function in (names if start else FUNCTIONS).items()})


# The name of the activation is put behind it, by the field that comes next.
_IS_GATED = Kind(
    "a string", lambda value: isinstance(value, str), lambda value: value.startswith("gated-"), "gated-".__mul__
)


def _attention(tensor, path):
    into, out = "hidden head size -> (head size) hidden", "head size hidden -> hidden (head size)"
    maps = {"q": ("query", into), "k": ("key", into), "v": ("value", into), "o": ("attention_output", out)}
    return tuple(Rule(f"{tensor}.{x}.weight", f"{path}/{part}/kernel", pattern) for x, (part, pattern) in maps.items())


def _feed_forward(tensor, path, gated):
    parts = {"wi_0": "gate", "wi_1": "intermediate"} if gated else {"wi": "intermediate"}
    parts["wo"] = "output_dense"
    return tuple(dense(f"{tensor}.{name}", f"{path}/{part}")[0] for name, part in parts.items())


def _rules(arguments):
    found = [Rule(_TABLE, "embedding/token_embedding/embeddings")]
    if arguments["untied"]:
        found.append(Rule(_HEAD, "logits/kernel", "in out -> out in"))
    for side, parts in _SIDES.items():
        found.append(Rule(_BIAS.format(side), f"{side}/{side}_position_bias/bias_table"))
        found.append(Rule(f"{side}.final_layer_norm.weight", f"{side}/{side}_final_norm/scale"))
        for number, part in enumerate(parts):
            tensor, path = f"{_BLOCK[side]}layer.{number}", f"{side}/{side}_{{i}}/{part}"
            name = {"attention": "SelfAttention", "cross_attention": "EncDecAttention"}.get(part, "DenseReluDense")
            if part == "feed_forward":
                found += _feed_forward(f"{tensor}.{name}", path, arguments["gated"])
            else:
                found += _attention(f"{tensor}.{name}", path)
            found.append(Rule(f"{tensor}.layer_norm.weight", f"{path}_norm/scale"))
    return tuple(found)


def _constants(layers, arguments):
    padding = arguments["padding_id"]
    # As the published models have it; what a vocabulary with padding elsewhere ends a text with is not known here.
    ids = {"decoder_start_token_id": padding, "eos_token_id": None if padding else 1}
    return {"tie_word_embeddings": not arguments["untied"], **ids}


RECIPE = Recipe(
    name="T5",
    wiring="`T5` does",
    build=lambda untied, **others: T5(tied=not untied, **others),
    marks={"decoder.has_context": True, "RelativePositionBias": ...},
    # The name that older configs have for the same.
    architectures=dict.fromkeys(("T5ForConditionalGeneration", "T5WithLMHeadModel"), Architecture()),
    fields=(
        Field("vocabulary_size", "vocab_size", SIZE, shown="tokens.vocabulary_size", axis=(_TABLE, 0)),
        Field("hidden_dim", "d_model", SIZE, shown="tokens.embedding_dim", axis=(_TABLE, 1)),
        Field("num_layers", "num_layers", SIZE, shown="encoder", blocks=_BLOCK["encoder"]),
        Field("num_decoder_layers", "num_decoder_layers", SIZE, lambda found: found["num_layers"], shown="decoder",
              blocks=_BLOCK["decoder"]),
        Field("num_heads", "num_heads", SIZE, shown="encoder.attention.num_heads",
              axis=[(_BIAS.format(side), 1) for side in _SIDES]),
        Field("key_dim", "d_kv", SIZE, shown="encoder.attention.head_dim",
              axis=(f"{_BLOCK['encoder']}layer.0.SelfAttention.q.weight", 0, lambda size, found, _: size * found["num_heads"])),
        Field("intermediate_dim", "d_ff", SIZE, shown="encoder.feed_forward.intermediate_dim",
              axis=[(f"{_BLOCK[side]}layer.{len(_SIDES[side]) - 1}.DenseReluDense.wo.weight", 1) for side in _SIDES]),
        Field("num_buckets", "relative_attention_num_buckets", SIZE, 32, shown="RelativePositionBias.num_buckets",
              axis=[(_BIAS.format(side), 0) for side in _SIDES]),
        Field("max_distance", "relative_attention_max_distance", SIZE, 128, shown="RelativePositionBias.max_distance"),
        Field("dropout", "dropout_rate", RATE, 0.1, shown="encoder.dropout"),
        Field("norm_epsilon", "layer_norm_epsilon", POSITIVE, 1e-6, shown="RMSNormalization.epsilon"),
        Field("gated", "feed_forward_proj", _IS_GATED, "relu", shown="encoder.feed_forward.gated"),
        Field("activation", "feed_forward_proj", _projection, "relu", shown="encoder.feed_forward.activation"),
        Field("untied", held=_HEAD, shown=lambda layers: not layers.of("TiedLogits")),
        # Configs of transformers 4 say it by whether the tables are tied.
        Field("_tied", "tie_word_embeddings", FLAG._replace(write=None), True),
        Field("scale_logits", "scale_decoder_outputs", FLAG, lambda found: found["_tied"], shown=present("Rescaling")),
        Field("padding_id", "pad_token_id", below("vocabulary_size"), 0, shown=padding_id),
    ),
    demands={"is_encoder_decoder": True},
    rules=_rules,
    ignored=("decoder.block.{i}.layer.1.EncDecAttention.relative_attention_bias.weight",),  # of no use, in old files
    tied=dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), _TABLE),
    constants=_constants,
)  # fmt: skip
