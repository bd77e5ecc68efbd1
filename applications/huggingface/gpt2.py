"""GPT-2 folders, as models of `GPT`.

The tensors of linear maps are stored (inputs, outputs), and those of query, key and value side by side in one.
"""

from ...checkpoints import Rule
from ..gpt import GPT
from .fields import ACTIVATION, POSITIVE, RATE, SIZE, Field
from .recipe import Recipe, divides
from .shown import last_rate, learned_length
from .tensors import dense, norm

_PARTS = ("query", "key", "value")
_BLOCK, _PATH = "h.{i}.", "decoder_{i}"


def _constants(layers, arguments):
    # Of the published vocabulary the last token ends a text; what another one holds is not known here.
    end = 50256 if arguments["vocabulary_size"] == 50257 else None
    head = {"architectures": ["GPT2LMHeadModel"], "reorder_and_upcast_attn": False}
    return {**head, "bos_token_id": end, "eos_token_id": end}


RECIPE = Recipe(
    name="GPT-2",
    wiring="`GPT` with learned positions does",
    build=GPT,
    marks={"decoder.has_context": False},
    fields=(
        Field("vocabulary_size", "vocab_size", SIZE, shown="tokens.vocabulary_size", axis=("wte.weight", 0)),
        Field("sequence_length", "n_positions", SIZE, shown=learned_length, axis=("wpe.weight", 0)),
        Field("hidden_dim", "n_embd", SIZE, shown="tokens.embedding_dim", axis=("wte.weight", 1)),
        Field("num_layers", "n_layer", SIZE, shown="decoder", blocks=_BLOCK),
        Field("num_heads", "n_head", SIZE, shown="decoder.attention.num_heads"),
        Field("intermediate_dim", "n_inner", SIZE, lambda found: 4 * found["hidden_dim"],
              shown="decoder.feed_forward.intermediate_dim", axis=(f"{_BLOCK}mlp.c_fc.weight", 1)),
        Field("dropout", "resid_pdrop", RATE, 0.1, shown="decoder.dropout"),
        Field("attention_dropout", "attn_pdrop", RATE, 0.1, shown="decoder.attention.dropout"),
        Field("embedding_dropout", "embd_pdrop", RATE, 0.1, shown=last_rate),
        Field("activation", "activation_function", ACTIVATION, "gelu_new", shown="decoder.feed_forward.activation"),
        Field("layer_norm_epsilon", "layer_norm_epsilon", POSITIVE, 1e-5, shown="decoder.attention_norm.epsilon"),
    ),
    demands={
        "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    checks=(divides("num_heads", "hidden_dim"),),
    rules=(
        Rule("wte.weight", "embedding/token_embedding/embeddings"),
        Rule("wpe.weight", "embedding/position_embedding/embeddings"),
        *norm(f"{_BLOCK}ln_1", f"{_PATH}/attention_norm"),
        Rule(f"{_BLOCK}attn.c_attn.weight", [f"{_PATH}/attention/{part}/kernel" for part in _PARTS],
             "hidden head size -> hidden (* head size)"),
        Rule(f"{_BLOCK}attn.c_attn.bias", [f"{_PATH}/attention/{part}/bias" for part in _PARTS], "head size -> (* head size)"),
        *dense(f"{_BLOCK}attn.c_proj", f"{_PATH}/attention/attention_output", "head size hidden -> (head size) hidden"),
        *norm(f"{_BLOCK}ln_2", f"{_PATH}/feed_forward_norm"),
        *dense(f"{_BLOCK}mlp.c_fc", f"{_PATH}/feed_forward/intermediate", None),
        *dense(f"{_BLOCK}mlp.c_proj", f"{_PATH}/feed_forward/output_dense", None),
        *norm("ln_f", "final_norm"),
    ),
    prefix="transformer.",
    ignored=("h.{i}.attn.bias", "h.{i}.attn.masked_bias"),  # the causal mask, which needs no tensor
    tied={"lm_head.weight": "wte.weight"},
    constants=_constants,
)  # fmt: skip
