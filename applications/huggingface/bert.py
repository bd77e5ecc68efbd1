"""BERT folders, as models of `BERT` and of its heads.

`architectures` says which model a folder holds; the tensors say what it leaves open, the pooler and next sentence.
"""

from ...checkpoints import Rule
from ..bert import BERT
from ..bert_heads import bert_classifier, bert_pretrainer
from .fields import ACTIVATION, POSITIVE, RATE, SIZE, Field, below, classes
from .recipe import Architecture, Recipe, divides
from .shown import has_output, last_rate, learned_length, padding_id
from .tensors import attention, dense, norm

_BLOCK, _PATH = "encoder.layer.{i}.", "encoder_{i}"


def encoder_fields(rate):
    """Returns the fields that the configs of BERT's kin share, with the rate of dropout that an absent one stands for."""
    return (
        Field("num_layers", "num_hidden_layers", SIZE, shown="encoder", blocks=_BLOCK),
        Field("num_heads", "num_attention_heads", SIZE, shown="encoder.attention.num_heads"),
        Field("intermediate_dim", "intermediate_size", SIZE, shown="encoder.feed_forward.intermediate_dim",
              axis=(f"{_BLOCK}intermediate.dense.weight", 0)),
        Field("dropout", "hidden_dropout_prob", RATE, rate, shown="encoder.dropout"),
        Field("attention_dropout", "attention_probs_dropout_prob", RATE, rate, shown="encoder.attention.dropout"),
        Field("activation", "hidden_act", ACTIVATION, "gelu", shown="encoder.feed_forward.activation"),
        Field("layer_norm_epsilon", "layer_norm_eps", POSITIVE, 1e-12, shown="encoder.attention_norm.epsilon"),
    )  # fmt: skip


def _old_norm(tensor, path):
    """A norm, under the names that folders converted from TensorFlow have, too; the first are written."""
    return *norm(tensor, path), *(Rule(f"{tensor}.{name}", f"{path}/{name}") for name in ("gamma", "beta"))


def with_heads(application):
    """Returns the function that builds an encoder of this application and the head that the arguments name."""

    def build(
        head=None, pooler=True, next_sentence=False, num_classes=None, classifier_dropout=0.0, pairs=True, **sizes
    ):
        encoder = application(**sizes, pooler=pooler or next_sentence or head == "classifier")
        if head == "pretrainer":
            return bert_pretrainer(encoder, next_sentence=next_sentence, activation=sizes["activation"])
        return encoder if head is None else bert_classifier(encoder, num_classes, classifier_dropout, pairs=pairs)

    return build


def _head(layers):
    if layers.of("TiedLogits"):
        return "pretrainer"
    return None if isinstance(layers.model.output, dict) else "classifier"


_PRETRAINER, _CLASSIFIER = {"head": "pretrainer"}, {"head": "classifier"}
_WORDS, _POSITIONS = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
_SEGMENTS, _NEXT = "embeddings.token_type_embeddings.weight", "cls.seq_relationship"
_HEADS = (
    *dense("cls.predictions.transform.dense", "masked_lm_transform"),
    *_old_norm("cls.predictions.transform.LayerNorm", "masked_lm_norm"),
    Rule("cls.predictions.bias", "masked_lm/bias"),
    *dense(_NEXT, "next_sentence"),
    *dense("classifier", "logits"),
)
RECIPE = Recipe(
    name="BERT",
    wiring="`BERT` and its heads do",
    build=with_heads(BERT),
    marks={"SegmentEmbedding": ...},
    architectures={
        "BertForPreTraining": Architecture({**_PRETRAINER, "next_sentence": True}, f"{_NEXT}.weight", _HEADS),
        "BertForMaskedLM": Architecture(_PRETRAINER, "cls.predictions.bias", _HEADS),
        "BertModel": Architecture({"head": None}),
        "BertForSequenceClassification": Architecture(_CLASSIFIER, "classifier.weight", _HEADS),
    },
    fields=(
        Field("head", shown=_head),
        Field("vocabulary_size", "vocab_size", SIZE, shown="tokens.vocabulary_size", axis=(_WORDS, 0)),
        Field("sequence_length", "max_position_embeddings", SIZE, shown=learned_length, axis=(_POSITIONS, 0)),
        Field("hidden_dim", "hidden_size", SIZE, shown="tokens.embedding_dim", axis=(_WORDS, 1)),
        *encoder_fields(0.1),
        Field("num_segments", "type_vocab_size", SIZE, 2, shown="SegmentEmbedding.num_segments", axis=(_SEGMENTS, 0)),
        Field("padding_id", "pad_token_id", below("vocabulary_size"), 0, shown=padding_id),
        Field("pooler", held="pooler.dense.weight", shown=has_output("pooled_output")),
        Field("next_sentence", held=f"{_NEXT}.weight", shown=has_output("next_sentence"), when=_PRETRAINER),
        *classes(_CLASSIFIER, shown="Dense[-1].units", axis=("classifier.weight", 0)),
        Field("classifier_dropout", "classifier_dropout", RATE._replace(null_is_absent=True), lambda found: found["dropout"],
              shown=last_rate, when=_CLASSIFIER),
        Field("pairs", default=True, shown=lambda layers: len(layers.model.inputs) == 2, when=_CLASSIFIER),
    ),
    demands={
        "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False, "tie_word_embeddings": True,
    },
    checks=(divides("num_heads", "hidden_dim"),),
    rules=(
        Rule(_WORDS, "embedding/token_embedding/embeddings"),
        Rule(_POSITIONS, "embedding/position_embedding/embeddings"),
        Rule(_SEGMENTS, "segment_embedding/segment_embedding/embeddings"),
        *_old_norm("embeddings.LayerNorm", "embedding_norm"),
        *attention(f"{_PATH}/attention", f"{_BLOCK}attention", "self.query", "self.key", "self.value", "output.dense"),
        *_old_norm(f"{_BLOCK}attention.output.LayerNorm", f"{_PATH}/attention_norm"),
        *dense(f"{_BLOCK}intermediate.dense", f"{_PATH}/feed_forward/intermediate"),
        *dense(f"{_BLOCK}output.dense", f"{_PATH}/feed_forward/output_dense"),
        *_old_norm(f"{_BLOCK}output.LayerNorm", f"{_PATH}/feed_forward_norm"),
        *dense("pooler.dense", "pooler"),
    ),
    prefix="bert.",
    ignored=("embeddings.position_ids",),  # 0, 1, 2 ...
    tied={"cls.predictions.decoder.weight": _WORDS, "cls.predictions.decoder.bias": "cls.predictions.bias"},
    root="bert",
)  # fmt: skip
