"""GPT-2 folders: how their config and their tensors read as those of `GPT`, and the reverse.

The tensors of linear maps are stored (inputs, outputs), and those of query, key and value side by side in one.
"""

import keras

from ... import graph
from ...checkpoints import Rule
from ...layers import (
    Dropout,
    FeedForward,
    MultiHeadSelfAttention,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
)
from ..gpt import GPT
from . import activations, adapters

PREFIX = "transformer."  # of every tensor where the model was saved with its head
QUERY_KEY_VALUE = ("query", "key", "value")

RULES = (
    Rule("wte.weight", "embedding/token_embedding/embeddings"),
    Rule("wpe.weight", "embedding/position_embedding/embeddings"),
    Rule("h.{i}.ln_1.weight", "decoder_{i}/attention_norm/gamma"),
    Rule("h.{i}.ln_1.bias", "decoder_{i}/attention_norm/beta"),
    Rule(
        "h.{i}.attn.c_attn.weight",
        [f"decoder_{{i}}/attention/{part}/kernel" for part in QUERY_KEY_VALUE],
        "hidden head size -> hidden (* head size)",
    ),
    Rule(
        "h.{i}.attn.c_attn.bias",
        [f"decoder_{{i}}/attention/{part}/bias" for part in QUERY_KEY_VALUE],
        "head size -> (* head size)",
    ),
    Rule(
        "h.{i}.attn.c_proj.weight",
        "decoder_{i}/attention/attention_output/kernel",
        "head size hidden -> (head size) hidden",
    ),
    Rule("h.{i}.attn.c_proj.bias", "decoder_{i}/attention/attention_output/bias"),
    Rule("h.{i}.ln_2.weight", "decoder_{i}/feed_forward_norm/gamma"),
    Rule("h.{i}.ln_2.bias", "decoder_{i}/feed_forward_norm/beta"),
    Rule("h.{i}.mlp.c_fc.weight", "decoder_{i}/feed_forward/intermediate/kernel"),
    Rule("h.{i}.mlp.c_fc.bias", "decoder_{i}/feed_forward/intermediate/bias"),
    Rule("h.{i}.mlp.c_proj.weight", "decoder_{i}/feed_forward/output_dense/kernel"),
    Rule("h.{i}.mlp.c_proj.bias", "decoder_{i}/feed_forward/output_dense/bias"),
    Rule("ln_f.weight", "final_norm/gamma"),
    Rule("ln_f.bias", "final_norm/beta"),
)
IGNORED = ("h.{i}.attn.bias", "h.{i}.attn.masked_bias")  # the causal mask, which needs no tensor
TIED = {"lm_head.weight": "wte.weight"}

build = GPT


def arguments(config, checkpoint):
    """Returns the arguments of `GPT` for a folder; raises `ValueError` for what `GPT` does not do."""
    config.must_be("scale_attn_weights", True, default=True)
    config.must_be("scale_attn_by_inverse_layer_idx", False, default=False)
    config.must_be("add_cross_attention", False, default=False)
    config.must_be("tie_word_embeddings", True, default=True)
    hidden_dim, num_heads = config.positive_int("n_embd"), config.positive_int("n_head")
    if hidden_dim % num_heads:
        raise config.fault("`n_head` must divide `n_embd`.", n_head=num_heads, n_embd=hidden_dim)
    return {
        "vocabulary_size": config.positive_int("vocab_size"),
        "sequence_length": config.positive_int("n_positions"),
        "num_layers": config.positive_int("n_layer"),
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": config.positive_int("n_inner", default=4 * hidden_dim),
        "dropout": config.rate("resid_pdrop", default=0.1),
        "attention_dropout": config.rate("attn_pdrop", default=0.1),
        "embedding_dropout": config.rate("embd_pdrop", default=0.1),
        "activation": config.choice("activation_function", activations.FUNCTIONS, default="gelu_new"),
        "layer_norm_epsilon": config.positive_float("layer_norm_epsilon", default=1e-5),
    }


def landmarks(sizes):
    """Yields names and shapes of tensors in which every size of `arguments` shows, blocks included."""
    hidden_dim = sizes["hidden_dim"]
    for index in reversed(range(sizes["num_layers"])):
        yield f"h.{index}.mlp.c_fc.weight", (hidden_dim, sizes["intermediate_dim"])
    yield "wte.weight", (sizes["vocabulary_size"], hidden_dim)
    yield "wpe.weight", (sizes["sequence_length"], hidden_dim)


def recognizes(model):
    """Returns whether a model is a stack of decoder blocks, as GPT-2 is."""
    return any(isinstance(layer, TransformerDecoder) and not layer.has_context for layer in model.layers)


def saved(model):
    """Returns the config of a model, its weights by their paths in `GPT`, and the rules by which they are written.

    Raises `ValueError` if the model is not a GPT-2.
    """
    rules = [rule.prefixed(PREFIX) for rule in RULES]
    return _config(model), weights(model), rules


def _config(model):
    embedding, dropout, blocks, _ = _parts(model)
    block = blocks[0]
    # Of the published vocabulary the last token ends a text; what another one holds is not known here.
    end = 50256 if embedding.vocabulary_size == 50257 else None
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": embedding.vocabulary_size,
        "n_positions": embedding.sequence_length,
        "n_embd": embedding.embedding_dim,
        "n_layer": len(blocks),
        "n_head": block.attention.num_heads,
        "n_inner": block.feed_forward.intermediate_dim,
        "activation_function": activations.name_of(block.feed_forward.activation),
        "layer_norm_epsilon": block.layer_norm_epsilon,
        "attn_pdrop": block.attention.dropout,
        "embd_pdrop": dropout.rate if dropout is not None else 0.0,
        "resid_pdrop": block.dropout,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": keras.backend.standardize_dtype(embedding.token_embedding.embeddings.dtype),
    }


def weights(model):
    """Returns the weights of a model by the paths that they have in `GPT`, whatever its layers are called."""
    embedding, _, blocks, norm = _parts(model)
    found = _named("embedding", embedding, 2)
    for index, block in enumerate(blocks):
        for part, depth in (("attention", 2), ("attention_norm", 1), ("feed_forward", 2), ("feed_forward_norm", 1)):
            found.update(_named(f"decoder_{index}/{part}", getattr(block, part), depth))
    return {**found, **_named("final_norm", norm, 1)}


def _named(path, layer, depth):
    return {"/".join([path, *weight.path.split("/")[-depth:]]): weight for weight in adapters.own_weights(layer)}


def _parts(model):
    """The embedding, its dropout or `None`, the blocks and the last norm, each checked."""
    layers = list(graph.layer_calls(model).values())
    _check(len(model.inputs) == len(model.outputs) == 1, "several inputs or outputs", model)
    _check(not any(isinstance(layer, keras.Model) for layer in model.layers), "a model inside it", model)
    _check(len({id(layer) for layer in layers}) == len(layers), "a layer that is called twice", model)
    classes = [type(layer) for layer in layers]
    has_dropout = len(classes) > 1 and classes[1] in (Dropout, keras.layers.Dropout)
    dropout = layers.pop(1) if has_dropout else None
    _check(not has_dropout or dropout.noise_shape is None, "dropout of another shape", model)
    embedding, *blocks, norm, logits = layers if len(layers) > 3 else [None] * 4
    _check(isinstance(embedding, TokenAndPositionEmbedding), "no TokenAndPositionEmbedding at its start", model)
    _check(
        all(isinstance(block, TransformerDecoder) for block in blocks), "other layers than TransformerDecoder", model
    )
    _check(isinstance(norm, keras.layers.LayerNormalization), "no LayerNormalization after its blocks", model)
    _check(isinstance(logits, TiedLogits), "no TiedLogits at its end", model)
    _check(logits.embedding in (embedding, embedding.token_embedding), "logits tied to another embedding", model)
    _check(not logits.use_bias, "logits with a bias", model)
    _check(embedding.sequence_length is not None, "no learned positions", model)
    _check(not embedding.mask_zero, "a padding id (mask_zero)", model)
    _check(norm.scale and norm.center and not norm.rms_scaling, "a last norm of another kind", model)
    _check(len(getattr(model, "operations", model.layers)) == len(model.layers), "operations between its layers", model)
    for block in blocks:
        _check_block(block, model)
    rates = {(block.dropout, block.attention.dropout) for block in blocks}
    _check(len(rates) == 1, "blocks with several rates of dropout", model)
    _check({block.layer_norm_epsilon for block in blocks} == {norm.epsilon}, "norms with several epsilons", model)
    _check(len({block.attention.num_heads for block in blocks}) == 1, "blocks with several numbers of heads", model)
    _check(len({block.feed_forward.intermediate_dim for block in blocks}) == 1, "blocks of several widths", model)
    _check(len({block.feed_forward.activation for block in blocks}) == 1, "blocks with several activations", model)
    return embedding, dropout, blocks, norm


def _check_block(block, model):
    attention, network = block.attention, block.feed_forward
    _check(not block.has_context, f"cross-attention in {block.name}", model)
    _check(block.normalize_first, f"the norm last in {block.name}", model)
    _check(type(attention) is MultiHeadSelfAttention, f"another attention in {block.name}", model)
    _check(attention.causal, f"attention that looks ahead in {block.name}", model)
    _check(attention.rotary is None, f"rotary positions in {block.name}", model)
    _check(attention.num_key_value_heads in (None, attention.num_heads), f"shared key heads in {block.name}", model)
    _check(attention.num_heads * attention.head_dim == attention.hidden_dim, f"another key_dim in {block.name}", model)
    _check(type(network) is FeedForward and not network.gated, f"another feed-forward network in {block.name}", model)
    _check(network.dropout == 0, f"dropout inside the feed-forward network of {block.name}", model)
    _check(attention.use_bias and network.use_bias, f"linear maps without biases in {block.name}", model)
    known = activations.name_of(network.activation)
    _check(known is not None, f"activation {network.activation!r}, for which there is no name, in {block.name}", model)


def _check(is_right, received, model):
    if not is_right:
        raise ValueError(
            f"`model` must be a GPT-2 to be saved as one, wired as `GPT` does. Received: {model.name} with {received}."
        )
