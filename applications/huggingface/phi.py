"""Folders of Phi (1, 1.5, 2) and Phi-3, as models of `Llama`: parallel branches, and projections that lie in one tensor."""

from ...checkpoints import Rule
from . import rotary
from .fields import ACTIVATION, RATE, Field
from .llama import BLOCK, FINAL_NORM, PATH, PRE_NORMS, TOKENS, recipe, sizes, window
from .tensors import attention, dense, norm

_DROPOUT = Field("dropout", "resid_pdrop", RATE, 0.0, shown="decoder.dropout")
_BIASES = ("attention_bias", "output_bias", "feed_forward_bias", "logits_bias")

PHI = recipe(
    "Phi", "PhiForCausalLM", {"decoder.parallel": True, "FeedForward.gated": False},
    (
        *(field for field in sizes(False, 1e-5, "layer_norm_eps") if field.argument != "tied"),
        _DROPOUT,
        Field("activation", "hidden_act", ACTIVATION, "gelu_new", shown="decoder.feed_forward.activation"),
        *rotary.fields(1e4, 0.5),
    ),
    fixed={"norm": "layer", "parallel": True, "gated": False, "tied": False, **dict.fromkeys(_BIASES, True)},
    demands={"embd_pdrop": 0.0, "qk_layernorm": False, "tie_word_embeddings": False},
    rules=(
        TOKENS,
        *norm(f"{BLOCK}input_layernorm", f"{PATH}/attention_norm"),
        *attention(f"{PATH}/attention", f"{BLOCK}self_attn", "q_proj", "k_proj", "v_proj", "dense"),
        *dense(f"{BLOCK}mlp.fc1", f"{PATH}/feed_forward/intermediate"),
        *dense(f"{BLOCK}mlp.fc2", f"{PATH}/feed_forward/output_dense"),
        *norm("model.final_layernorm", "final_norm"),
    ),
)  # fmt: skip
PHI3 = recipe(
    "Phi-3", "Phi3ForCausalLM", {"FeedForward.gated": True, "RMSNormalization.epsilon": ...},
    (
        *sizes(False, 1e-5),
        _DROPOUT,
        Field("activation", "hidden_act", ACTIVATION, "silu", shown="decoder.feed_forward.activation"),
        window(None),
        *rotary.fields(1e4, 1.0, longest=4096),
    ),
    demands={"embd_pdrop": 0.0},
    rules=(
        TOKENS,
        *PRE_NORMS,
        Rule(f"{BLOCK}self_attn.qkv_proj.weight", [f"{PATH}/attention/{part}/kernel" for part in ("query", "key", "value")],
             "hidden head size | hidden head size | hidden head size -> (head size + head size + head size) hidden"),
        Rule(f"{BLOCK}self_attn.o_proj.weight", f"{PATH}/attention/attention_output/kernel",
             "head size hidden -> hidden (head size)"),
        Rule(f"{BLOCK}mlp.gate_up_proj.weight", [f"{PATH}/feed_forward/{part}/kernel" for part in ("gate", "intermediate")],
             "in out -> (* out) in"),
        *dense(f"{BLOCK}mlp.down_proj", f"{PATH}/feed_forward/output_dense"),
        FINAL_NORM,
    ),
)  # fmt: skip
