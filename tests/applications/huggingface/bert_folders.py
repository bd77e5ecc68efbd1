"""BERT folders put together without `transformers`."""

from ...golden import make_bert, seeded
from . import folders

CONFIG = {"model_type": "bert", "architectures": ["BertModel"], "type_vocab_size": 2, **make_bert.SIZES}
# Arguments of a small `BERT`.
SMALL = {
    "vocabulary_size": 23,
    "sequence_length": 10,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 12,
    "intermediate_dim": 20,
}
PREDICTIONS = "cls.predictions"


def shapes(config, pooler=True):
    """The tensors of an encoder by name, as its authors' code makes them."""
    d, f = config["hidden_size"], config["intermediate_size"]
    found = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        **_pair("embeddings.LayerNorm", d),
    }
    for index in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{index}"
        for part in ("query", "key", "value"):
            found.update(_pair(f"{block}.attention.self.{part}", d, d))
        found.update(_pair(f"{block}.attention.output.dense", d, d))
        found.update(_pair(f"{block}.attention.output.LayerNorm", d))
        found.update(_pair(f"{block}.intermediate.dense", f, d))
        found.update(_pair(f"{block}.output.dense", d, f))
        found.update(_pair(f"{block}.output.LayerNorm", d))
    return {**found, **(_pair("pooler.dense", d, d) if pooler else {})}


def head_shapes(config):
    """The tensors of the head that a config names."""
    d, architecture = config["hidden_size"], config["architectures"][0]
    if architecture == "BertForSequenceClassification":
        return _pair("classifier", len(config["id2label"]), d)
    found = {
        **_pair(f"{PREDICTIONS}.transform.dense", d, d),
        **_pair(f"{PREDICTIONS}.transform.LayerNorm", d),
        f"{PREDICTIONS}.bias": (config["vocab_size"],),
    }
    return {**found, **(_pair("cls.seq_relationship", 2, d) if architecture == "BertForPreTraining" else {})}


def _pair(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def tensors(config):
    """The tensors of a BERT, each with the values of its full name."""
    if config["architectures"] == ["BertModel"]:
        named = shapes(config)
    else:
        pooler = config["architectures"] != ["BertForMaskedLM"]
        named = {f"bert.{name}": shape for name, shape in shapes(config, pooler).items()} | head_shapes(config)
    return {name: seeded.tensor(name, shape) for name, shape in named.items()}


def write(folder, config=None, arrays=None, dtype="F32", num_shards=1):
    """Writes a folder; returns its path as a str."""
    config = CONFIG if config is None else config
    return folders.write(folder, config, tensors(config) if arrays is None else arrays, dtype, num_shards)
