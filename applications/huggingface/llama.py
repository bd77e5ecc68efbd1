"""Folders of the Llama family, as models of `Llama`: Llama, Mistral, Qwen 2 and 3, SmolLM3, Gemma and OLMo 2.

They hold the same tensors under the same names; their configs say which parts there are, or leave it to the type.
"""

from ...checkpoints import Rule
from ..llama import Llama
from . import rotary
from .activations import FUNCTIONS
from .fields import ACTIVATION, FLAG, POSITIVE, RATE, SIZE, Field, Kind, one_of
from .recipe import Architecture, Recipe, divides
from .shown import Difference
from .tensors import attention, dense

BLOCK, PATH = "model.layers.{i}.", "decoder_{i}"
# The ids of special tokens, which a model does not know.
_UNKNOWN = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}

TOKENS = Rule("model.embed_tokens.weight", "embedding/token_embedding/embeddings")
PRE_NORMS = (
    Rule(f"{BLOCK}input_layernorm.weight", f"{PATH}/attention_norm/scale"),
    Rule(f"{BLOCK}post_attention_layernorm.weight", f"{PATH}/feed_forward_norm/scale"),
)
_MATRICES = (
    *attention(f"{PATH}/attention", f"{BLOCK}self_attn", "q_proj", "k_proj", "v_proj", "o_proj"),
    *dense(f"{BLOCK}mlp.gate_proj", f"{PATH}/feed_forward/gate"),
    *dense(f"{BLOCK}mlp.up_proj", f"{PATH}/feed_forward/intermediate"),
    *dense(f"{BLOCK}mlp.down_proj", f"{PATH}/feed_forward/output_dense"),
)
FINAL_NORM = Rule("model.norm.weight", "final_norm/scale")


def _epsilon(layers):
    """The epsilon of the last normalization, which is that of all."""
    found = [layer for layer in layers.all if hasattr(layer, "epsilon")]
    if not found:
        raise Difference("no normalization")
    return found[-1].epsilon


def sizes(tied, epsilon=1e-6, epsilon_key="rms_norm_eps") -> tuple:
    """Returns the fields that all types have; `tied` and `epsilon` are what holds where a config does not say it."""
    return (
        Field("vocabulary_size", "vocab_size", SIZE, shown="tokens.vocabulary_size", axis=("model.embed_tokens.weight", 0)),
        Field("hidden_dim", "hidden_size", SIZE, shown="tokens.embedding_dim", axis=("model.embed_tokens.weight", 1)),
        Field("num_layers", "num_hidden_layers", SIZE, shown="decoder", blocks=BLOCK),
        Field("num_heads", "num_attention_heads", SIZE, shown="decoder.attention.num_heads"),
        Field("num_key_value_heads", "num_key_value_heads", SIZE, lambda found: found["num_heads"],
              shown="decoder.attention.num_key_heads"),
        Field("intermediate_dim", "intermediate_size", SIZE, shown="decoder.feed_forward.intermediate_dim"),
        Field("norm_epsilon", epsilon_key, POSITIVE, epsilon, shown=_epsilon),
        Field("attention_dropout", "attention_dropout", RATE, 0.0, shown="decoder.attention.dropout"),
        Field("tied", "tie_word_embeddings", FLAG, tied, shown=lambda layers: bool(layers.of("TiedLogits"))),
    )  # fmt: skip


# One key says it of all four projections.
_BIASES = tuple(
    Field(name, "attention_bias", FLAG, False, shown="decoder.attention.use_bias")
    for name in ("attention_bias", "output_bias")
)
_FEED_FORWARD_BIAS = Field("feed_forward_bias", "mlp_bias", FLAG, False, shown="decoder.feed_forward.use_bias")
_HEAD_DIM = Field("key_dim", "head_dim", SIZE, lambda found: found["hidden_dim"] // found["num_heads"],
                  shown="decoder.attention.head_dim")  # fmt: skip
_ACTIVATION = Field("activation", "hidden_act", ACTIVATION, "silu", shown="decoder.feed_forward.activation")
# What Gemma's folders call "gelu" is its approximation, to this day; the exact one has its other name alone.
_GELU = FUNCTIONS["gelu_pytorch_tanh"]
_GEMMA_ACTIVATION = one_of({"gelu_pytorch_tanh": _GELU, **FUNCTIONS, "gelu": _GELU})._replace(null_is_absent=True)
_OPTIONAL_SIZE = Kind("a positive integer or null", lambda value: value is None or SIZE.fits(value))
_INTERVAL = Field("_interval", "no_rope_layer_interval", SIZE._replace(write=None), 4)
# "no_rope_layers" has 1 for a block with rotary positions.
_ROTARY_LAYERS = Field(
    "rotary_layers", "no_rope_layers",
    lambda found: Kind(
        f"a list of {found['num_layers']} zeros and ones",
        lambda value: isinstance(value, list) and len(value) == found["num_layers"] and all(each in (0, 1) for each in value),
        lambda value: [bool(each) for each in value], lambda value: [int(each) for each in value], null_is_absent=True,
    ),
    lambda found: [(index + 1) % found["_interval"] != 0 for index in range(found["num_layers"])],
    shown=lambda layers: [block.attention.rotary is not None for block in layers.of("decoder")],
)  # fmt: skip


def window(default) -> Field:
    """Returns the field of the window that all blocks have, `default` where a config does not say it; null is none."""
    return Field("window", "sliding_window", _OPTIONAL_SIZE, default, shown="decoder.attention.window")


def _layer_types(found):
    """What a config may say of each block beside its window, which all of them have or none."""
    kind = "full_attention" if found.get("window") is None else "sliding_attention"
    expected = [kind] * found["num_layers"]
    rule = f"a list of {len(expected)} times {kind!r}, as the blocks are"
    return Kind(rule, lambda value: value == expected, write=None, null_is_absent=True)


_LAYER_TYPES = Field("_layer_types", "layer_types", _layer_types, None)


def is_set(value):
    """A mark: whether there is something."""
    return value is not None


def recipe(name, architecture, marks, fields, norms=PRE_NORMS, fixed=None, demands=None, **others) -> Recipe:
    """Returns the table of a type whose tensors are those of Llama, but for its norms."""
    head = (Rule("lm_head.weight", "logits/kernel", "in out -> out in"), Rule("lm_head.bias", "logits/bias"))
    return Recipe(
        name=name,
        wiring="`Llama` does",
        marks={"decoder.has_context": False, "RotaryEmbedding": ..., **marks},
        fields=(*fields, _LAYER_TYPES),
        architectures={architecture: Architecture(head="lm_head.weight", rules=head)},
        fixed={"norm": "rms", **(fixed or {})},
        demands=demands or {},
        checks=(divides("num_key_value_heads", "num_heads"),),
        ignored=(f"{BLOCK}self_attn.rotary_emb.inv_freq",),
        tied=lambda arguments: {"lm_head.weight": TOKENS.tensors[0]} if arguments["tied"] else {},
        **{
            "build": Llama,
            "rules": (TOKENS, *norms, *_MATRICES, FINAL_NORM),
            "constants": lambda layers, arguments: {**_UNKNOWN, **rotary.lengths(arguments)},
            **others,
        },
    )


_GATED = {"FeedForward.gated": True}
_NO_WINDOWS = {"use_sliding_window": False}
_HEAD_NORMS = tuple(
    Rule(f"{BLOCK}self_attn.{x[0]}_norm.weight", f"{PATH}/attention/{x}_norm/scale") for x in ("query", "key")
)
_WIDE_NORMS = tuple(
    Rule(f"{BLOCK}self_attn.{x[0]}_norm.weight", f"{PATH}/attention/{x}_norm/scale", "head size -> (head size)")
    for x in ("query", "key")
)
_BRANCH_NORMS = (
    Rule(f"{BLOCK}post_attention_layernorm.weight", f"{PATH}/attention_branch_norm/scale"),
    Rule(f"{BLOCK}post_feedforward_layernorm.weight", f"{PATH}/feed_forward_branch_norm/scale"),
)

LLAMA = recipe(
    "Llama", "LlamaForCausalLM", {**_GATED, "RMSNormalization.epsilon": ...},
    (*sizes(False), _HEAD_DIM, *_BIASES, _FEED_FORWARD_BIAS, _ACTIVATION, *rotary.fields(1e4)),
    demands={"pretraining_tp": 1},
)  # fmt: skip
MISTRAL = recipe(
    "Mistral", "MistralForCausalLM", {**_GATED, "MultiHeadSelfAttention.window": is_set},
    (*sizes(False), _HEAD_DIM, _ACTIVATION, window(4096), *rotary.fields(1e4)),
)  # fmt: skip
QWEN2 = recipe(
    "Qwen 2", "Qwen2ForCausalLM",
    {**_GATED, "MultiHeadSelfAttention.use_bias": True, "MultiHeadSelfAttention.use_output_bias": False},
    (*sizes(False), _ACTIVATION, *rotary.fields(1e4)),
    fixed={"attention_bias": True}, demands=_NO_WINDOWS,
)  # fmt: skip
QWEN3 = recipe(
    "Qwen 3", "Qwen3ForCausalLM", {**_GATED, "MultiHeadSelfAttention.query_norm": is_set},
    (*sizes(False), _HEAD_DIM, *_BIASES, _ACTIVATION, *rotary.fields(1e4)),
    norms=(*PRE_NORMS, *_HEAD_NORMS), fixed={"query_key_norm": "heads"}, demands=_NO_WINDOWS,
)  # fmt: skip
SMOLLM3 = recipe(
    "SmolLM3", "SmolLM3ForCausalLM", {**_GATED, "MultiHeadSelfAttention.rotary": None},
    (*sizes(True), *_BIASES, _FEED_FORWARD_BIAS, _ACTIVATION, _INTERVAL, _ROTARY_LAYERS, *rotary.fields(2e6)),
    demands=_NO_WINDOWS,
)  # fmt: skip
GEMMA = recipe(
    "Gemma", "GemmaForCausalLM", {**_GATED, "RMSNormalization.zero_centered": True},
    (*sizes(True), _HEAD_DIM, *_BIASES,
     Field("activation", ("hidden_act", "hidden_activation"), _GEMMA_ACTIVATION, "gelu_pytorch_tanh",
           shown="decoder.feed_forward.activation"),
     *rotary.fields(1e4)),
    build=lambda hidden_dim, packed=False, **others: Llama(
        hidden_dim=hidden_dim, embedding_scale=hidden_dim**0.5, packed=packed, **others
    ),
    fixed={"norm": "zero_centered_rms"}, demands={"use_bidirectional_attention": None},
)  # fmt: skip
OLMO2 = recipe(
    "OLMo 2", "Olmo2ForCausalLM", {**_GATED, "decoder.normalize_branch": True, "decoder.normalize_first": False},
    (*sizes(False, 1e-5), *_BIASES, _ACTIVATION, *rotary.fields(1e4)),
    norms=(*_BRANCH_NORMS, *_WIDE_NORMS),
    fixed={"normalize_first": False, "normalize_branch": True, "query_key_norm": "all"},
)  # fmt: skip
