"""BERT folders: how their config and their tensors read as those of `BERT` and its heads, and the reverse.

`architectures` says which model a folder holds. Linear maps are stored (outputs, inputs), the heads of attention side by
side. The tensors of the encoder have a prefix where there is a head.
"""

import keras

from ... import graph
from ...checkpoints import Rule
from ...layers import TiedLogits
from ..bert import BERT
from ..bert_heads import bert_classifier, bert_pretrainer
from . import activations, adapters, bert_models, likeness

PREFIX = "bert."  # of the encoder's tensors where the model was saved with a head
_HEADS = {"pretrainer": bert_pretrainer, "classifier": bert_classifier}
_ARCHITECTURES = {  # the head, and whether it must predict the next sentence
    "BertModel": (None, False),
    "BertForPreTraining": ("pretrainer", True),
    "BertForMaskedLM": ("pretrainer", False),
    "BertForSequenceClassification": ("classifier", False),
}
_SWAPPED = "in out -> out in"


def _dense(tensor, path, pattern=_SWAPPED, bias_pattern=None):
    return Rule(f"{tensor}.weight", f"{path}/kernel", pattern), Rule(f"{tensor}.bias", f"{path}/bias", bias_pattern)


def _norm(tensor, path):
    names = (
        ("weight", "gamma"),
        ("bias", "beta"),
    )  # those converted from TensorFlow have the second; the first is written
    return tuple(Rule(f"{tensor}.{name}", f"{path}/{pair[1]}") for pair in names for name in pair)


_BLOCK = "encoder.layer.{i}"
_ENCODER_RULES = (
    Rule("embeddings.word_embeddings.weight", "embedding/token_embedding/embeddings"),
    Rule("embeddings.position_embeddings.weight", "embedding/position_embedding/embeddings"),
    Rule("embeddings.token_type_embeddings.weight", "segment_embedding/segment_embedding/embeddings"),
    *_norm("embeddings.LayerNorm", "embedding_norm"),
    *(
        rule
        for part in ("query", "key", "value")
        for rule in _dense(
            f"{_BLOCK}.attention.self.{part}",
            f"encoder_{{i}}/attention/{part}",
            "hidden head size -> (head size) hidden",
            "head size -> (head size)",
        )
    ),
    *_dense(
        f"{_BLOCK}.attention.output.dense",
        "encoder_{i}/attention/attention_output",
        "head size hidden -> hidden (head size)",
    ),
    *_norm(f"{_BLOCK}.attention.output.LayerNorm", "encoder_{i}/attention_norm"),
    *_dense(f"{_BLOCK}.intermediate.dense", "encoder_{i}/feed_forward/intermediate"),
    *_dense(f"{_BLOCK}.output.dense", "encoder_{i}/feed_forward/output_dense"),
    *_norm(f"{_BLOCK}.output.LayerNorm", "encoder_{i}/feed_forward_norm"),
    *_dense("pooler.dense", "pooler"),
)
_HEAD_RULES = (
    *_dense("cls.predictions.transform.dense", "masked_lm_transform"),
    *_norm("cls.predictions.transform.LayerNorm", "masked_lm_norm"),
    Rule("cls.predictions.bias", "masked_lm/bias"),
    *_dense("cls.seq_relationship", "next_sentence"),
    *_dense("classifier", "logits"),
)
RULES = _ENCODER_RULES + _HEAD_RULES
IGNORED = ("embeddings.position_ids",)  # 0, 1, 2 ...
TIED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def arguments(config, checkpoint):
    """Returns the arguments of `build` for a folder; raises `ValueError` for what `BERT` does not do.

    Where the config names no architecture, and where it leaves a part open (the pooler; next sentence beside masked
    tokens, as bert-base-uncased has it), the tensors that are there decide.
    """
    config.must_be("position_embedding_type", "absolute", default="absolute")
    config.must_be("is_decoder", False, default=False)
    config.must_be("add_cross_attention", False, default=False)
    hidden_dim, num_heads = config.positive_int("hidden_size"), config.positive_int("num_attention_heads")
    if hidden_dim % num_heads:
        raise config.fault(
            "`num_attention_heads` must divide `hidden_size`.", num_attention_heads=num_heads, hidden_size=hidden_dim
        )
    dropout = config.rate("hidden_dropout_prob", default=0.1)
    activation = config.choice("hidden_act", activations.FUNCTIONS, default="gelu")
    vocabulary_size = config.positive_int("vocab_size")
    encoder = {
        "vocabulary_size": vocabulary_size,
        "sequence_length": config.positive_int("max_position_embeddings"),
        "num_layers": config.positive_int("num_hidden_layers"),
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": config.positive_int("intermediate_size"),
        "num_segments": config.positive_int("type_vocab_size", default=2),
        "dropout": dropout,
        "attention_dropout": config.rate("attention_probs_dropout_prob", default=0.1),
        "activation": activation,
        "layer_norm_epsilon": config.positive_float("layer_norm_eps", default=1e-12),
        "padding_id": config.row("pad_token_id", vocabulary_size, default=0),
        "pooler": "pooler.dense.weight" in checkpoint.shapes,
    }
    if config.has("architectures"):
        head, next_sentence = config.only("architectures", _ARCHITECTURES)
    else:
        head, next_sentence = "pretrainer" if "cls.predictions.bias" in checkpoint.shapes else None, False
    next_sentence |= "cls.seq_relationship.weight" in checkpoint.shapes
    found = {"head": head, "encoder": encoder}
    if head == "pretrainer":
        config.must_be("tie_word_embeddings", True, default=True)
        encoder["pooler"] |= next_sentence
        return {**found, "next_sentence": next_sentence, "activation": activation}
    if head == "classifier":
        encoder["pooler"] = True
        rate = config.rate("classifier_dropout") if config.has("classifier_dropout") else dropout
        return {**found, "num_classes": config.num_labels(), "dropout": rate, "pairs": True}
    return found


def build(encoder, head=None, **options):
    """Builds an encoder, with a head if one is named."""
    encoder = BERT(**encoder)
    return encoder if head is None else _HEADS[head](encoder, **options)


def landmarks(arguments):
    """Yields names and shapes of tensors in which every size of `arguments` shows, blocks included."""
    sizes = arguments["encoder"]
    hidden_dim = sizes["hidden_dim"]
    for index in reversed(range(sizes["num_layers"])):
        yield f"{_BLOCK}.intermediate.dense.weight".format(i=index), (sizes["intermediate_dim"], hidden_dim)
    yield "embeddings.word_embeddings.weight", (sizes["vocabulary_size"], hidden_dim)
    yield "embeddings.position_embeddings.weight", (sizes["sequence_length"], hidden_dim)
    yield "embeddings.token_type_embeddings.weight", (sizes["num_segments"], hidden_dim)
    if arguments["head"] == "classifier":
        yield "classifier.weight", (arguments["num_classes"], hidden_dim)


def weights(model):
    """Returns the weights of a model of `build` by their paths."""
    layers = graph.layer_calls(model).values()
    return {_path(layer, weight): weight for layer in layers for weight in _own(layer)}


def recognizes(model):
    """Returns whether a model is an encoder with segments, or stands on one."""
    return bert_models.encoder_of(model) is not None


def saved(model):
    """Returns the config of a model, its weights by their paths in `build`, and the rules by which they are written.

    Raises `ValueError` if the model is not one that `build` could have made, but for names.
    """
    graph.layer_calls(model)  # which refuses a subclassed model
    arguments = bert_models.arguments_of(model)
    with graph.without_values():
        reference = build(**arguments)
    try:
        pairs = likeness.pairs(model, reference)
    except likeness.Difference as difference:
        raise bert_models.refusal(difference, model) from None
    found = {}
    for layer, known in pairs:
        own, paths = _own(layer), [_path(known, weight) for weight in _own(known)]
        bert_models.check(len(own) == len(paths), f"other weights in {layer.name}", model)
        found.update(zip(paths, own, strict=True))
    prefix = "" if arguments["head"] is None else PREFIX
    rules = [rule.prefixed(prefix) for rule in _ENCODER_RULES]
    return _config(arguments, found), found, (*rules, *_HEAD_RULES)


def _own(layer):
    """The weights of a layer; the table of tied logits is the embedding's."""
    return [layer.bias] if isinstance(layer, TiedLogits) else adapters.own_weights(layer)


def _path(layer, weight):
    """The path of a weight from the name of its layer on."""
    return layer.name + "/" + weight.path.split(layer.name + "/", 1)[1]


def _config(arguments, weights):
    sizes = arguments["encoder"]
    table = weights["embedding/token_embedding/embeddings"]
    found = {
        "architectures": [_architecture(arguments)],
        "model_type": "bert",
        "vocab_size": sizes["vocabulary_size"],
        "max_position_embeddings": sizes["sequence_length"],
        "hidden_size": sizes["hidden_dim"],
        "num_hidden_layers": sizes["num_layers"],
        "num_attention_heads": sizes["num_heads"],
        "intermediate_size": sizes["intermediate_dim"],
        "type_vocab_size": sizes["num_segments"],
        "hidden_act": activations.name_of(sizes["activation"]),
        "layer_norm_eps": sizes["layer_norm_epsilon"],
        "hidden_dropout_prob": sizes["dropout"],
        "attention_probs_dropout_prob": sizes["attention_dropout"],
        "pad_token_id": sizes["padding_id"],
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
        "dtype": keras.backend.standardize_dtype(table.dtype),
    }
    if arguments["head"] == "classifier":
        labels = [f"LABEL_{number}" for number in range(arguments["num_classes"])]
        found["classifier_dropout"] = arguments["dropout"]
        found["id2label"] = {str(number): label for number, label in enumerate(labels)}
        found["label2id"] = {label: number for number, label in enumerate(labels)}
    return found


def _architecture(arguments):
    if arguments["head"] == "pretrainer":
        return "BertForPreTraining" if arguments["next_sentence"] else "BertForMaskedLM"
    return "BertModel" if arguments["head"] is None else "BertForSequenceClassification"
