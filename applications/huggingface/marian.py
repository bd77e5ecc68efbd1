"""Marian folders (the OPUS translators), as models of `Translator`.

Post-norm, one table for source and target, sinusoidal positions with all sines first. Decoding starts from the padding
id: `generate(model, [[pad]] * B, ..., stop_ids=eos, pad_id=pad, context={"source_ids": rows})`, each row ended by eos.
"""

from ...checkpoints import Rule
from ..translator import Translator
from .fields import ACTIVATION, FLAG, RATE, SIZE, Field, below, only
from .recipe import Architecture, Recipe, divides
from .shown import padding_id, present
from .tensors import attention, dense, norm

_TABLE, _BIAS = "shared.weight", "final_logits_bias"
_SIDES = {side: (f"{side}.layers.{{i}}.", f"{side}/{side}_{{i}}") for side in ("encoder", "decoder")}


def attention_with_norm(tensor, path):
    """Returns the rules of an attention and of the norm after it."""
    maps = attention(path, tensor, "q_proj", "k_proj", "v_proj", "out_proj")
    return (*maps, *norm(f"{tensor}_layer_norm", f"{path}_norm"))


def block(start, path):
    """Returns the rules of an encoder block, and of a decoder block but for its cross-attention."""
    return (
        *attention_with_norm(f"{start}self_attn", f"{path}/attention"),
        *dense(f"{start}fc1", f"{path}/feed_forward/intermediate"),
        *dense(f"{start}fc2", f"{path}/feed_forward/output_dense"),
        *norm(f"{start}final_layer_norm", f"{path}/feed_forward_norm"),
    )


def _constants(layers, arguments):
    padding = arguments["padding_id"]
    # As the published models have it; what a vocabulary with padding at 0 ends a sentence with is not known here.
    end = 0 if padding else None
    ids = {"decoder_start_token_id": padding, "bos_token_id": None, "eos_token_id": end, "forced_eos_token_id": end}
    sizes = {"decoder_vocab_size": arguments["source_vocabulary_size"], "max_position_embeddings": 1024}
    return {"is_encoder_decoder": True, **sizes, **ids}


RECIPE = Recipe(
    name="Marian model",
    wiring="`Translator` does",
    build=Translator,
    marks={"decoder.has_context": True, "SinusoidalPositionEncoding": ...},
    architectures={"MarianMTModel": Architecture({}, _TABLE, (Rule(_BIAS, "logits/bias", "tokens -> 1 tokens"),))},
    fields=(
        Field("source_vocabulary_size", "vocab_size", SIZE, shown="tokens.vocabulary_size", axis=(_TABLE, 0)),
        Field("hidden_dim", "d_model", SIZE, shown="tokens.embedding_dim", axis=(_TABLE, 1)),
        Field("num_layers", "encoder_layers", SIZE, shown="encoder", blocks=_SIDES["encoder"][0]),
        Field("num_decoder_layers", "decoder_layers", SIZE, shown="decoder", blocks=_SIDES["decoder"][0]),
        Field("num_heads", ("encoder_attention_heads", "decoder_attention_heads"), SIZE, shown="encoder.attention.num_heads"),
        Field("intermediate_dim", ("encoder_ffn_dim", "decoder_ffn_dim"), SIZE, shown="encoder.feed_forward.intermediate_dim",
              axis=[(f"{start}fc1.weight", 0) for start, _ in _SIDES.values()]),
        Field("dropout", "dropout", RATE, 0.1, shown="encoder.dropout"),
        Field("attention_dropout", "attention_dropout", RATE, 0.0, shown="encoder.attention.dropout"),
        Field("activation_dropout", "activation_dropout", RATE, 0.0, shown="encoder.feed_forward.dropout"),
        Field("activation", "activation_function", ACTIVATION, "gelu", shown="encoder.feed_forward.activation"),
        Field("scale_embeddings", "scale_embedding", FLAG, False, shown=present("Rescaling")),
        Field("logits_bias", held=_BIAS, shown="TiedLogits.use_bias"),
        Field("padding_id", "pad_token_id", below("source_vocabulary_size"), shown=padding_id),
        Field("layer_norm_epsilon", None, only(1e-5), 1e-5, shown="encoder.attention_norm.epsilon"),  # no config has it
    ),
    fixed={"positions": "sinusoidal_halves", "normalize_first": False, "embedding_norm": False},
    demands={
        "normalize_before": False, "normalize_embedding": False, "add_final_layer_norm": False,
        "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True,
        "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,  # whole layers dropped in training
    },
    checks=(divides("num_heads", "hidden_dim"),),
    rules=(
        Rule(_TABLE, "embedding/token_embedding/embeddings"),
        *block(*_SIDES["encoder"]),
        *block(*_SIDES["decoder"]),
        *attention_with_norm("decoder.layers.{i}.encoder_attn", "decoder/decoder_{i}/cross_attention"),
    ),
    prefix="model.",
    ignored=("encoder.embed_positions.weight", "decoder.embed_positions.weight"),  # the sines, which need no tensor
    tied=dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), _TABLE),
    constants=_constants,
)  # fmt: skip
