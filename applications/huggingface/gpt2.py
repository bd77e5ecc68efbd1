"""GPT-2 folders, as models of `GPT`.

The tensors of linear maps are stored (inputs, outputs), and those of query, key and value side by side in one.
"""

from ...checkpoints import Rule
from ..gpt import GPT
from .fields import ACTIVATION, POSITIVE_FLOAT, POSITIVE_INT, RATE, Field, only
from .recipe import Recipe, divides
from .tensors import norm

_BLOCK = "TransformerDecoder"


def _dense(tensor, path, pattern=None):
    return Rule(f"{tensor}.weight", f"{path}/kernel", pattern), Rule(f"{tensor}.bias", f"{path}/bias")


def _constants(layers, arguments):
    # Of the published vocabulary the last token ends a text; what another one holds is not known here.
    end = 50256 if arguments["vocabulary_size"] == 50257 else None
    return {
        "architectures": ["GPT2LMHeadModel"],
        "reorder_and_upcast_attn": False,
        "bos_token_id": end,
        "eos_token_id": end,
    }


RECIPE = Recipe(
    name="GPT-2",
    wiring="`GPT` does",
    build=GPT,
    marks={f"{_BLOCK}.has_context": False},
    fields=(
        Field(
            "vocabulary_size",
            "vocab_size",
            POSITIVE_INT,
            shown="TokenAndPositionEmbedding.vocabulary_size",
            size=("wte.weight", 0),
        ),
        Field(
            "sequence_length",
            "n_positions",
            POSITIVE_INT,
            shown="TokenAndPositionEmbedding.sequence_length",
            size=("wpe.weight", 0),
        ),
        Field(
            "hidden_dim",
            "n_embd",
            POSITIVE_INT,
            shown="TokenAndPositionEmbedding.embedding_dim",
            size=("wte.weight", 1),
        ),
        Field("num_layers", "n_layer", POSITIVE_INT, shown=_BLOCK, blocks="h.{i}."),
        Field("num_heads", "n_head", POSITIVE_INT, shown=f"{_BLOCK}.attention.num_heads"),
        Field(
            "intermediate_dim",
            "n_inner",
            POSITIVE_INT,
            lambda found: 4 * found["hidden_dim"],
            shown=f"{_BLOCK}.feed_forward.intermediate_dim",
            size=("h.{i}.mlp.c_fc.weight", 1),
        ),
        Field("dropout", "resid_pdrop", RATE, 0.1, shown=f"{_BLOCK}.dropout"),
        Field("attention_dropout", "attn_pdrop", RATE, 0.1, shown=f"{_BLOCK}.attention.dropout"),
        Field(
            "embedding_dropout",
            "embd_pdrop",
            RATE,
            0.1,
            shown=lambda layers: sum(each.rate for each in layers.of("Dropout")),
        ),
        Field("activation", "activation_function", ACTIVATION, "gelu_new", shown=f"{_BLOCK}.feed_forward.activation"),
        Field("layer_norm_epsilon", "layer_norm_epsilon", POSITIVE_FLOAT, 1e-5, shown=f"{_BLOCK}.layer_norm_epsilon"),
        Field(None, "scale_attn_weights", only(True), True),
        Field(None, "scale_attn_by_inverse_layer_idx", only(False), False),
        Field(None, "add_cross_attention", only(False), False),
        Field(None, "tie_word_embeddings", only(True), True),
    ),
    checks=(divides("num_heads", "hidden_dim"),),
    rules=(
        Rule("wte.weight", "embedding/token_embedding/embeddings"),
        Rule("wpe.weight", "embedding/position_embedding/embeddings"),
        *norm("h.{i}.ln_1", "decoder_{i}/attention_norm"),
        *(
            Rule(
                f"h.{{i}}.attn.c_attn.{kind}",
                [f"decoder_{{i}}/attention/{part}/{weight}" for part in ("query", "key", "value")],
                pattern,
            )
            for kind, weight, pattern in (
                ("weight", "kernel", "hidden head size -> hidden (* head size)"),
                ("bias", "bias", "head size -> (* head size)"),
            )
        ),
        *_dense(
            "h.{i}.attn.c_proj", "decoder_{i}/attention/attention_output", "head size hidden -> (head size) hidden"
        ),
        *norm("h.{i}.ln_2", "decoder_{i}/feed_forward_norm"),
        *_dense("h.{i}.mlp.c_fc", "decoder_{i}/feed_forward/intermediate"),
        *_dense("h.{i}.mlp.c_proj", "decoder_{i}/feed_forward/output_dense"),
        *norm("ln_f", "final_norm"),
    ),
    prefix="transformer.",  # of every tensor where the model was saved with its head
    ignored=("h.{i}.attn.bias", "h.{i}.attn.masked_bias"),  # the causal mask, which needs no tensor
    tied={"lm_head.weight": "wte.weight"},
    constants=_constants,
)
