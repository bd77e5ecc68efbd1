"""Checkpoint folders of the authors of ViLBERT, as models of `ViLBERT` and of its heads.

Hugging Face has no such type, so the table stands here. The published weights are pickles, which are not opened: convert them
first.
"""

import keras

from ..checkpoints import Checkpoint, Rule, read_json
from .huggingface import build
from .huggingface.bert import RECIPE as BERT_RECIPE
from .huggingface.fields import ACTIVATION, NAME, RATE, SIZE, Config, Field, Kind
from .huggingface.recipe import Architecture, Recipe, divides
from .huggingface.tensors import attention, dense, norm
from .vilbert import ViLBERT
from .vilbert_heads import vilbert_classifier, vilbert_pretrainer

_TEXT, _REGION, _CO = "encoder.layer.{i}.", "encoder.v_layer.{i}.", "encoder.c_layer.{i}."
_REGION_FEATURES = "v_embeddings.image_embeddings.weight"
_ALIGNMENT, _ANSWERS = "cls.bi_seq_relationship.weight", "vil_prediction.logit_fc.3.weight"
# Of the tasks that are not here: those of ViLBERT, then those of the same authors' twelve tasks at once.
_OTHER_HEADS = (
    "vil_logit", "vision_logit", "linguisic_logit", "vil_tri_prediction",
    *(f"vil_{task}.logit_fc.{part}" for task in ("prediction_gqa", "binary_prediction") for part in (0, 2, 3)),
)  # fmt: skip
_PRETRAINER, _CLASSIFIER = {"head": "pretrainer"}, {"head": "classifier"}


def load_vilbert(folder, dtype=None) -> keras.Model:
    """Builds the model of a checkpoint folder of the authors of ViLBERT, with its weights.

    Reads `config.json`, which is one of the files in their folder `config` ("bert_base_6layer_6conect.json"), and safetensors,
    with the names that their code gives to tensors, with or without "bert." before those of the streams. Everything is checked
    against the headers before anything is allocated. Their own files are pickles, which can run code and are refused. Where their
    origin is trusted, a pickle is converted so, with the package safetensors:

        weights = torch.load("pytorch_model_9.bin", map_location="cpu", weights_only=True)
        weights = {name.removeprefix("module."): tensor.clone() for name, tensor in weights.items()}
        safetensors.torch.save_file(weights, "folder/model.safetensors")

    Left unread are the maps `biOutput.q_dense1` and `q_dense2`, which their code makes and never calls (1,836,800 parameters in
    each co-attention), and the heads of tasks that are not here.

    Args:
        folder: str or path.
        dtype: name of a dtype or of a dtype policy, or a policy, as in `load_huggingface`.

    Returns:
        A `keras.Model`: `vilbert_classifier` for a folder with a head of answers (`vil_prediction`); `vilbert_pretrainer` with
        all of its heads for one with those of pretraining alone; else `ViLBERT`.

    Raises:
        ValueError: if the folder, its config or its tensors are missing, damaged or contradict each other, for a pickle, and by
            name for an option that is not implemented.

    Example:

    ```python
    try:
        model = keras_tx.applications.load_vilbert("no_such_folder")
    except ValueError as error:
        print(error)  # `folder` must be a folder ...
    ```

    Reference:
        Lu et al. 2019, "ViLBERT"; the code of its authors, github.com/facebookresearch/vilbert-multi-task.
    """
    checkpoint = Checkpoint(folder, RECIPE.prefix)
    values = read_json(folder, NAME)
    if len(checkpoint.shapes.get(_ANSWERS, ())) == 2:
        values = {**values, "num_labels": checkpoint.shapes[_ANSWERS][0]}  # no config tells of it
    return build(RECIPE, Config(folder, values), checkpoint, dtype)


def _build(head=None, num_region_classes=None, num_classes=None, **sizes):
    encoder = ViLBERT(**sizes)
    if head == "pretrainer":
        return vilbert_pretrainer(encoder, num_region_classes, activation=sizes["activation"])
    return encoder if head is None else vilbert_classifier(encoder, num_classes)


def _counts(read):
    """Which blocks come before each co-attention."""

    def fits(value):
        return isinstance(value, list) and all(type(each) is int and 0 <= each < 1000 for each in value)

    return Kind("a list of numbers of blocks", fits, read)


def _block(path, tensor, attend, attention_norm, intermediate, output):
    """The rules of a block, from the names of its parts below `tensor`."""
    return (
        *attention(f"{path}/attention", tensor.removesuffix("."), *attend),
        *norm(f"{tensor}{attention_norm}", f"{path}/attention_norm"),
        *dense(f"{tensor}{intermediate}.dense", f"{path}/feed_forward/intermediate"),
        *dense(f"{tensor}{output}.dense", f"{path}/feed_forward/output_dense"),
        *norm(f"{tensor}{output}.LayerNorm", f"{path}/feed_forward_norm"),
    )


_SELF = *(f"attention.self.{part}" for part in ("query", "key", "value")), "attention.output.dense"
_SELF_BLOCK = _SELF, "attention.output.LayerNorm", "intermediate", "output"
_WORDS, _POSITIONS, _SEGMENTS = (rule.tensors[0] for rule in BERT_RECIPE.rules[:3])


def _co_attention(own, other):
    """The names of the maps of the stream `own`, 1 for regions and 2 for words, which attends to the other."""
    names = f"query{own}", f"key{other}", f"value{other}"
    return *(f"biattention.{name}" for name in names), f"biOutput.dense{own}"


RECIPE = Recipe(
    name="ViLBERT",
    wiring="`ViLBERT` and its heads do",
    build=_build,
    marks={"RegionEmbedding": ...},
    architectures={
        "VILBertForVLTasks": Architecture(
            _CLASSIFIER,
            _ANSWERS,
            (
                *dense("vil_prediction.logit_fc.0", "answer_transform"),
                *norm("vil_prediction.logit_fc.2", "answer_norm"),
                *dense("vil_prediction.logit_fc.3", "logits"),
            ),
        ),
        "BertForMultiModalPreTraining": Architecture(
            _PRETRAINER,
            _ALIGNMENT,
            (
                *dense("cls.predictions.transform.dense", "masked_lm_transform"),
                *norm("cls.predictions.transform.LayerNorm", "masked_lm_norm"),
                Rule("cls.predictions.bias", "masked_lm/bias"),
                *dense("cls.bi_seq_relationship", "alignment"),
                *dense("cls.imagePredictions.transform.dense", "masked_regions_transform"),
                *norm("cls.imagePredictions.transform.LayerNorm", "masked_regions_norm"),
                *dense("cls.imagePredictions.decoder", "masked_regions"),
            ),
        ),
        "BertModel": Architecture({"head": None}),
    },
    fields=(
        Field("vocabulary_size", "vocab_size", SIZE, axis=(_WORDS, 0)),
        Field("sequence_length", "max_position_embeddings", SIZE, axis=(_POSITIONS, 0)),
        Field("num_segments", "type_vocab_size", SIZE, axis=(_SEGMENTS, 0)),
        Field("hidden_dim", "hidden_size", SIZE, axis=(_WORDS, 1)),
        Field("num_layers", "num_hidden_layers", SIZE, blocks=_TEXT),
        Field("num_heads", "num_attention_heads", SIZE),
        Field("intermediate_dim", "intermediate_size", SIZE, axis=(f"{_TEXT}intermediate.dense.weight", 0)),
        Field("region_dim", "v_feature_size", SIZE, axis=(_REGION_FEATURES, 1)),
        Field("region_hidden_dim", "v_hidden_size", SIZE, axis=(_REGION_FEATURES, 0)),
        Field("num_region_layers", "v_num_hidden_layers", SIZE, blocks=_REGION),
        Field("num_region_heads", "v_num_attention_heads", SIZE),
        Field("region_intermediate_dim", "v_intermediate_size", SIZE, axis=(f"{_REGION}intermediate.dense.weight", 0)),
        Field("_co_attentions", "v_biattention_id", _counts(len), blocks=_CO),
        Field("num_co_attention_heads", "bi_num_attention_heads", SIZE),
        Field("co_attention_dim", "bi_hidden_size", SIZE, axis=(f"{_CO}biattention.query1.weight", 0)),
        Field("text_blocks_before", "t_biattention_id", _counts(tuple)),
        Field("region_blocks_before", "v_biattention_id", _counts(tuple)),
        Field("dropout", ("hidden_dropout_prob", "v_hidden_dropout_prob"), RATE, 0.1),
        Field("attention_dropout", ("attention_probs_dropout_prob", "v_attention_probs_dropout_prob"), RATE, 0.1),
        Field("activation", ("hidden_act", "v_hidden_act"), ACTIVATION, "gelu"),
        Field("num_region_classes", "v_target_size", SIZE, axis=("cls.imagePredictions.decoder.weight", 0), when=_PRETRAINER),
        Field("num_classes", "num_labels", SIZE, when=_CLASSIFIER),
    ),
    demands={
        "model": "bert",  # the words of "roberta" count their positions from 2
        "fusion_method": "mul", "pooling_method": "mul", "visual_target": 0, "task_specific_tokens": False,
        "dynamic_attention": False, "with_coattention": True,
    },
    checks=(
        divides("num_heads", "hidden_dim"),
        divides("num_region_heads", "region_hidden_dim"),
        divides("num_co_attention_heads", "co_attention_dim"),
    ),
    rules=(
        *BERT_RECIPE.rules[:3],
        *norm("embeddings.LayerNorm", "embedding_norm"),
        *dense("v_embeddings.image_embeddings", "region_embedding/features"),
        *dense("v_embeddings.image_location_embeddings", "region_embedding/location"),
        *norm("v_embeddings.LayerNorm", "region_embedding_norm"),
        *_block("text_{i}", _TEXT, *_SELF_BLOCK),
        *_block("region_{i}", _REGION, *_SELF_BLOCK),
        *_block("regions_to_text_{i}", _CO, _co_attention(1, 2), "biOutput.LayerNorm1", "v_intermediate", "v_output"),
        *_block("text_to_regions_{i}", _CO, _co_attention(2, 1), "biOutput.LayerNorm2", "t_intermediate", "t_output"),
        *dense("t_pooler.dense", "pooled_text"),
        *dense("v_pooler.dense", "pooled_regions"),
    ),
    prefix="bert.",
    ignored=(
        *(f"{_CO}biOutput.q_dense{number}.{part}" for number in (1, 2) for part in ("weight", "bias")),
        *(f"cls.predictions.transform.{part}.{each}" for part in ("dense", "LayerNorm") for each in ("weight", "bias")),
        *(f"cls.imagePredictions.transform.{part}.{each}" for part in ("dense", "LayerNorm") for each in ("weight", "bias")),
        *(f"cls.{part}.{each}" for part in ("bi_seq_relationship", "imagePredictions.decoder") for each in ("weight", "bias")),
        "cls.predictions.bias",
        *(f"{head}.{each}" for head in _OTHER_HEADS for each in ("weight", "bias")),
    ),
    tied={"cls.predictions.decoder.weight": _WORDS},
    root="vilbert",
)  # fmt: skip
