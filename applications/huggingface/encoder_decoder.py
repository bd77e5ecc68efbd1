"""What the folders of encoder-decoder models have in common: the tensors of their blocks, and the sizes in their configs."""

import keras

from ... import graph
from ...checkpoints import Rule
from ...layers import (
    FeedForward,
    LearnedPositionEncoding,
    MultiHeadSelfAttention,
    SinusoidalPositionEncoding,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
)
from ..translator import Translator
from . import activations, adapters, likeness

PREFIX = "model."  # of all tensors but the bias of the logits
_EPSILON = 1e-5  # of every norm; the configs do not hold it
_PROJECTIONS = {"q": "query", "k": "key", "v": "value"}


def _pair(tensor, path, names=("weight", "bias"), weights=("kernel", "bias"), patterns=(None, None)):
    return [
        Rule(f"{tensor}.{name}", f"{path}/{weight}", pattern)
        for name, weight, pattern in zip(names, weights, patterns, strict=True)
    ]


def norm(tensor, path):
    """Returns the rules of a layer normalization."""
    return _pair(tensor, path, weights=("gamma", "beta"))


def _attention(tensor, path):
    into = ("hidden head size -> (head size) hidden", "head size -> (head size)")
    rules = [
        rule
        for short, name in _PROJECTIONS.items()
        for rule in _pair(f"{tensor}.{short}_proj", f"{path}/{name}", patterns=into)
    ]
    out = ("head size hidden -> hidden (head size)", None)
    return rules + _pair(f"{tensor}.out_proj", f"{path}/attention_output", patterns=out)


def _block(side):
    tensor, path, swapped = f"{side}.layers.{{i}}", f"{side}/{side}_{{i}}", ("in out -> out in", None)
    cross = []
    if side == "decoder":
        cross = _attention(f"{tensor}.encoder_attn", f"{path}/cross_attention")
        cross += norm(f"{tensor}.encoder_attn_layer_norm", f"{path}/cross_attention_norm")
    return [
        *_attention(f"{tensor}.self_attn", f"{path}/attention"),
        *norm(f"{tensor}.self_attn_layer_norm", f"{path}/attention_norm"),
        *cross,
        *_pair(f"{tensor}.fc1", f"{path}/feed_forward/intermediate", patterns=swapped),
        *_pair(f"{tensor}.fc2", f"{path}/feed_forward/output_dense", patterns=swapped),
        *norm(f"{tensor}.final_layer_norm", f"{path}/feed_forward_norm"),
    ]


BIAS = "final_logits_bias"
RULES = (
    Rule("shared.weight", "embedding/token_embedding/embeddings"),
    Rule(BIAS, "logits/bias", "tokens -> 1 tokens"),
    *_block("encoder"),
    *_block("decoder"),
)
TIED = dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight")


def arguments(config, checkpoint, architecture):
    """Returns the arguments of `Translator` for a folder, but for those of its positions."""
    if config.has("architectures"):
        config.only("architectures", {architecture: None})
    config.must_be("normalize_before", False, default=False)
    config.must_be("add_final_layer_norm", False, default=False)
    config.must_be("tie_word_embeddings", True, default=True)
    width = config.positive_int("d_model")
    sizes = {}
    for name, key in (("num_heads", "attention_heads"), ("intermediate_dim", "ffn_dim")):
        values = {f"{side}_{key}": config.positive_int(f"{side}_{key}") for side in ("encoder", "decoder")}
        if len(set(values.values())) > 1:
            raise config.fault(f"`encoder_{key}` and `decoder_{key}` must be the same.", **values)
        sizes[name] = next(iter(values.values()))
    if width % sizes["num_heads"]:
        raise config.fault(
            "`encoder_attention_heads` must divide `d_model`.",
            encoder_attention_heads=sizes["num_heads"],
            d_model=width,
        )
    for key in ("encoder_layerdrop", "decoder_layerdrop"):
        if config.rate(key, default=0.0):
            raise config.fault(f"`{key}`, used in training, must be 0.", **{key: config.rate(key)})
    vocabulary_size = config.positive_int("vocab_size")
    return {
        "source_vocabulary_size": vocabulary_size,
        "num_layers": config.positive_int("encoder_layers"),
        "num_decoder_layers": config.positive_int("decoder_layers"),
        "hidden_dim": width,
        **sizes,
        "dropout": config.rate("dropout", default=0.1),
        "attention_dropout": config.rate("attention_dropout", default=0.0),
        "activation_dropout": config.rate("activation_dropout", default=0.0),
        "activation": config.choice("activation_function", activations.FUNCTIONS, default="gelu"),
        "scale_embeddings": config.flag("scale_embedding", default=False),
        "logits_bias": BIAS in checkpoint.shapes,
        "padding_id": config.row("pad_token_id", vocabulary_size),
    }


def landmarks(arguments):
    """Yields names and shapes of tensors in which every size of `arguments` shows, blocks included."""
    width = arguments["hidden_dim"]
    for side, key in (("encoder", "num_layers"), ("decoder", "num_decoder_layers")):
        for index in reversed(range(arguments[key])):
            yield f"{side}.layers.{index}.fc1.weight", (arguments["intermediate_dim"], width)
    yield "shared.weight", (arguments["source_vocabulary_size"], width)


def weights(model):
    """Returns the weights of a model of `Translator` by the paths of their layers."""
    found = {}
    for path, layer in graph.layer_calls(model).items():
        found.update((_place(path, layer, weight), weight) for weight in _own(layer) if "#" not in path)
    return found


def has_positions(model, kind):
    """Returns whether a model has decoder blocks with a context, in a model inside it, and positions of a class."""
    parts = [part for part in model.layers if isinstance(part, keras.Model)]
    layers = [layer for part in parts for layer in part.layers]
    return any(isinstance(layer, TransformerDecoder) and layer.has_context for layer in layers) and any(
        isinstance(layer, kind) for layer in layers
    )


def saved(model, name, fixed):
    """Returns the arguments that would build a model, and its weights by the paths that they have then.

    Args:
        model: `keras.Model`.
        name: str, what the model is to be, for the message.
        fixed: dict of the arguments of `Translator` that the layout demands.

    Raises:
        ValueError: if the model is not one that `Translator` could have made with them, but for names.
    """

    def check(is_right, received):
        if not is_right:
            raise ValueError(
                f"`model` must be a {name} to be saved as one, wired as `Translator` does. Received: {model.name} with "
                f"{received}."
            )

    layers = list(graph.layer_calls(model).values())

    def first(kind):
        found = next((layer for layer in layers if isinstance(layer, kind)), None)
        check(found is not None, f"no {kind.__name__}")
        return found

    embedding, logits, block = first(TokenAndPositionEmbedding), first(TiedLogits), first(TransformerEncoder)
    attention, network = block.attention, block.feed_forward
    check(type(attention) is MultiHeadSelfAttention, f"another attention in {block.name}")
    check(type(network) is FeedForward, f"another feed-forward network in {block.name}")
    check(logits.embedding in (embedding, embedding.token_embedding), "logits tied to another embedding")
    epsilon = block.layer_norm_epsilon
    check(epsilon == _EPSILON, f"layer_norm_epsilon={epsilon}, and not the {_EPSILON} that its folders stand for")
    known = activations.name_of(network.activation)
    check(known is not None, f"activation {network.activation!r}, for which there is no name, in {block.name}")
    comparisons = [entry for entry in model.get_config()["layers"] if entry["class_name"] == "NotEqual"]
    padding = [value for entry in comparisons for value in entry["inbound_nodes"][0]["args"] if type(value) is int]
    check(len(padding) == 1, "no mask of the ids that are not padding")
    found = {
        "source_vocabulary_size": embedding.vocabulary_size,
        "num_layers": sum(isinstance(layer, TransformerEncoder) for layer in layers),
        "num_decoder_layers": sum(isinstance(layer, TransformerDecoder) for layer in layers),
        "hidden_dim": embedding.embedding_dim,
        "num_heads": attention.num_heads,
        "intermediate_dim": network.intermediate_dim,
        "dropout": block.dropout,
        "attention_dropout": attention.dropout,
        "activation_dropout": network.dropout,
        "activation": network.activation,
        "scale_embeddings": any(isinstance(layer, keras.layers.Rescaling) for layer in layers),
        "logits_bias": logits.use_bias,
        "layer_norm_epsilon": epsilon,
        "padding_id": padding[0],
        **fixed,
    }
    if found.get("positions") == "learned":
        found["sequence_length"] = first(LearnedPositionEncoding).sequence_length
    else:
        first(SinusoidalPositionEncoding)
    with graph.without_values():
        reference = Translator(**found)
    try:
        pairs = likeness.pairs(model, reference)
    except likeness.Difference as difference:
        check(False, difference)
    paths = {id(layer): path for path, layer in graph.layer_calls(reference).items() if "#" not in path}
    held = {}
    for layer, known in pairs:
        own, theirs = _own(layer), [_place(paths[id(known)], known, weight) for weight in _own(known)]
        check(len(own) == len(theirs), f"other weights in {layer.name}")
        held.update(zip(theirs, own, strict=True))
    return found, held


def config(arguments, weights):
    """Returns what the configs of all such folders hold."""
    found = {
        "vocab_size": arguments["source_vocabulary_size"],
        "d_model": arguments["hidden_dim"],
        "encoder_layers": arguments["num_layers"],
        "decoder_layers": arguments["num_decoder_layers"],
        "dropout": arguments["dropout"],
        "attention_dropout": arguments["attention_dropout"],
        "activation_dropout": arguments["activation_dropout"],
        "activation_function": activations.name_of(arguments["activation"]),
        "scale_embedding": arguments["scale_embeddings"],
        "pad_token_id": arguments["padding_id"],
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "dtype": keras.backend.standardize_dtype(weights["embedding/token_embedding/embeddings"].dtype),
    }
    for side in ("encoder", "decoder"):
        found[f"{side}_attention_heads"] = arguments["num_heads"]
        found[f"{side}_ffn_dim"] = arguments["intermediate_dim"]
        found[f"{side}_layerdrop"] = 0.0
    return found


def written(rules):
    """Returns the rules with the prefixes that tensors have in a file."""
    return [rule if rule.tensors == (BIAS,) else rule.prefixed(PREFIX) for rule in rules]


def _own(layer):
    if isinstance(layer, TiedLogits):  # whose table is the embedding's
        return [] if layer.bias is None else [layer.bias]
    return [weight for weight in adapters.own_weights(layer) if weight.trainable or "seed" not in weight.path]


def _place(path, layer, weight):
    return f"{path}/{weight.path.split(layer.name + '/', 1)[1]}"
