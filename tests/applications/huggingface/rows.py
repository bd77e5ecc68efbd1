"""The parity table: a row for each folder whose outputs `transformers` computed, put together here without it."""

import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from ...checkpoints.files import file_bytes, write_shards
from ...golden import (
    make_bert,
    make_detr,
    make_encoder_decoder,
    make_fnet,
    make_gpt2,
    make_llama,
    make_mixer,
    make_t5,
    make_vision,
    seeded,
)

ATOL = 5e-5  # of float32 outputs around 3


class Row(NamedTuple):
    """A folder, and what a model of it gives."""

    config: dict
    tensors: dict  # by name, with the values of the names
    cases: list  # pairs of inputs and outputs, each a dict by name or an array


def golden(name):
    with np.load(Path(__file__).parents[2] / "golden" / f"{name}_tiny.npz") as file:
        return dict(file)


def pair(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def gpt2_shapes(config):
    """The tensors of a GPT-2 by name, as its authors' code makes them."""
    d, f = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
    found = {"wte.weight": (config["vocab_size"], d), "wpe.weight": (config["n_positions"], d), **pair("ln_f", d)}
    maps = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, f), "mlp.c_proj": (f, d)}
    for block in (f"h.{index}." for index in range(config["n_layer"])):
        found |= pair(f"{block}ln_1", d) | pair(f"{block}ln_2", d)
        for name, shape in maps.items():
            found |= {f"{block}{name}.weight": shape, f"{block}{name}.bias": shape[-1:]}
    return {f"transformer.{name}": shape for name, shape in found.items()}


def bert_shapes(config):
    """The tensors of a BERT and of the head that its config names."""
    d, f, (architecture,) = config["hidden_size"], config["intermediate_size"], config["architectures"]
    found = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        **pair("embeddings.LayerNorm", d),
    }
    for block in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            found |= pair(f"{block}.attention.{part}", d, d)
        found |= pair(f"{block}.attention.output.LayerNorm", d) | pair(f"{block}.output.LayerNorm", d)
        found |= pair(f"{block}.intermediate.dense", f, d) | pair(f"{block}.output.dense", d, f)
    if architecture != "BertForMaskedLM":
        found |= pair("pooler.dense", d, d)
    if architecture == "BertModel":
        return found
    found = {f"bert.{name}": shape for name, shape in found.items()}
    if architecture == "BertForSequenceClassification":
        return found | pair("classifier", len(config["id2label"]), d)
    found |= pair("cls.predictions.transform.dense", d, d) | pair("cls.predictions.transform.LayerNorm", d)
    found["cls.predictions.bias"] = (config["vocab_size"],)
    return found | (pair("cls.seq_relationship", 2, d) if architecture == "BertForPreTraining" else {})


def sequence_shapes(config):
    """The tensors of a Marian model or a BART."""
    d, f, norms = config["d_model"], config["encoder_ffn_dim"], []
    found = {"final_logits_bias": (1, config["vocab_size"]), "model.shared.weight": (config["vocab_size"], d)}
    for side in ("model.encoder", "model.decoder"):
        if config["model_type"] == "bart":
            found[f"{side}.embed_positions.weight"] = (config["max_position_embeddings"] + 2, d)
            norms.append(f"{side}.layernorm_embedding")
        attentions = ["self_attn"] + ["encoder_attn"] * side.endswith("decoder")
        for layer in (f"{side}.layers.{index}" for index in range(config[f"{side[6:]}_layers"])):
            for attention in attentions:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    found |= pair(f"{layer}.{attention}.{part}", d, d)
            found |= pair(f"{layer}.fc1", f, d) | pair(f"{layer}.fc2", d, f)
            norms += [f"{layer}.{attention}_layer_norm" for attention in attentions] + [f"{layer}.final_layer_norm"]
    for norm in norms:
        found |= pair(norm, d)
    return found


def filled(shapes):
    return {name: seeded.tensor(name, tuple(shape)) for name, shape in shapes.items()}


def _rows():
    found, file = {}, golden("gpt2")
    for name, config in json.loads(str(file["configs"])).items():
        row = Row(config, filled(gpt2_shapes(config)), [(file["ids"], file[f"logits_{name}"])])
        found["gpt2" if name == "default" else f"gpt2_{name}"] = row
    file = golden("bert")
    for name, config in json.loads(str(file["configs"])).items():
        inputs = {key: file[f"{name}/{key}"] for key in ("token_ids", "segment_ids")}
        start = f"{name}/outputs/"
        outputs = {key.removeprefix(start): value for key, value in file.items() if key.startswith(start)}
        row = Row(config, filled(bert_shapes(config)), [(inputs, outputs)])
        found["bert" if name == "base" else f"bert_{name}"] = row
    file = golden("fnet")
    for name, folder in json.loads(str(file["folders"])).items():
        inputs = {key: file[f"{name}/{key}"] for key in ("token_ids", "segment_ids")}
        start = f"{name}/outputs/"
        outputs = {key.removeprefix(start): value for key, value in file.items() if key.startswith(start)}
        case = (inputs, outputs.get("logits", outputs))
        found[name] = Row(folder["config"], filled(folder["shapes"]), [case])
    file = golden("encoder_decoder")
    for name, config in json.loads(str(file["configs"])).items():
        shapes, options = sequence_shapes(config), make_encoder_decoder.CONFIGS[name]
        arrays = {each: make_encoder_decoder.values(each, shape, options) for each, shape in shapes.items()}
        inputs = {"source_ids": file[f"{name}/source"], "target_ids": file[f"{name}/target"]}
        found[name] = Row(config, arrays, [(inputs, file[f"{name}/logits"])])
    file = golden("llama")
    for name, folder in json.loads(str(file["folders"])).items():
        kind = name.partition("_")[0]
        arrays = {each: make_llama.values(each, tuple(shape), kind) for each, shape in folder["shapes"].items()}
        found[name] = Row(folder["config"], arrays, [(file["ids"], file[f"{name}/logits"])])
    file = golden("t5")
    for name, folder in json.loads(str(file["folders"])).items():
        arrays = {each: make_t5.values(each, tuple(shape)) for each, shape in folder["shapes"].items()}
        inputs = {"source_ids": file["source"], "target_ids": file["target"]}
        found[name] = Row(folder["config"], arrays, [(inputs, file[f"{name}/logits"])])
    file = golden("vision")
    for name, folder in json.loads(str(file["folders"])).items():
        sizes = make_vision.CONFIGS[name][2]
        cases = [(make_vision.images(name, size), file[f"{name}/{size[0]}x{size[1]}"]) for size in sizes]
        found[name] = Row(folder["config"], filled(folder["shapes"]), cases)
    file = golden("mixer")
    for name, folder in json.loads(str(file["folders"])).items():
        arrays = {each: make_mixer.values(each, tuple(shape)) for each, shape in folder["shapes"].items()}
        found[name] = Row(folder["config"], arrays, [(make_mixer.images(name), file[name])])
    file = golden("detr")
    for name, folder in json.loads(str(file["folders"])).items():
        arrays = {each: make_detr.values(each, tuple(shape)) for each, shape in folder["shapes"].items()}
        masks = {"whole": None, "padded": make_detr.MASK}
        cases = [
            ({"images": make_detr.images(mask), "pixel_mask": mask}, file[f"{name}/{kind}"])
            for kind, mask in masks.items()
        ]
        found[name] = Row(folder["config"], arrays, cases)
    return found


ROWS = _rows()
OF_TRANSFORMERS = [name for name in ROWS if not name.startswith("timm")]  # which is not there when tests run
# Arguments of small applications.
_SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
GPT_SIZES = {"vocabulary_size": 11, "sequence_length": 8, **_SIZES}
BERT_SIZES = {**_SIZES, "vocabulary_size": 23, "sequence_length": 10, "num_heads": 3, "hidden_dim": 12}
TRANSLATOR_SIZES = {"source_vocabulary_size": 11, **_SIZES, "num_layers": 1}
VIT_SIZES = {**_SIZES, "patch_size": 4, "image_size": 16, "num_classes": 3, "num_heads": 3, "hidden_dim": 12}
SWIN_SIZES = {
    "num_layers": (1, 2),
    "num_heads": (1, 2),
    "hidden_dim": 8,
    "window_size": 3,
    "mlp_ratio": 2,
    "num_classes": 3,
    "mask_padding": False,
}


def write(folder, name, config=None, arrays=None, dtype="F32", num_shards=1):
    """Writes the folder of a row, or one like it; `config` is what changes, `...` for a key that goes. Returns its path."""
    config = {key: value for key, value in {**ROWS[name].config, **(config or {})}.items() if value is not ...}
    arrays = ROWS[name].tensors if arrays is None else arrays
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if num_shards == 1:
        (folder / "model.safetensors").write_bytes(file_bytes(arrays, dict.fromkeys(arrays, dtype)))
    else:
        parts = np.array_split(list(arrays), num_shards)
        write_shards(folder, [{name: arrays[name] for name in part} for part in parts])
    return str(folder)


def changed(arrays, **by_name):
    """The arrays with some of them replaced, or taken out where `None` is given; `__` stands for a dot."""
    found = {**arrays, **{name.replace("__", "."): array for name, array in by_name.items()}}
    return {name: array for name, array in found.items() if array is not None}


def outputs(model, inputs):
    """The outputs of a model by name, in float32; all positions are asked for where masked tokens are predicted."""
    if any(tensor.name == "mask_positions" for tensor in model.inputs):
        ids = inputs["token_ids"]
        inputs = {**inputs, "mask_positions": np.arange(ids.shape[1], dtype="int32") * np.ones_like(ids)}
    found = model(inputs)
    found = found if isinstance(found, dict) else {"logits": found}
    return {name: keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")) for name, value in found.items()}


def assert_outputs(model, name, atol=ATOL, cases=None):
    """Compares the outputs of a model with those of its row, or others; what stands at padding means nothing."""
    for inputs, expected in cases or ROWS[name].cases:
        expected, found = expected if isinstance(expected, dict) else {"logits": expected}, outputs(model, inputs)
        assert set(expected) <= set(found)
        for key, value in expected.items():
            real = slice(None)
            if isinstance(inputs, dict) and "token_ids" in inputs and value.ndim == 3 and "fnet" not in name:
                real = inputs["token_ids"] != ROWS[name].config["pad_token_id"]
            np.testing.assert_allclose(found[key][real], value[real], atol=atol, err_msg=key)


def numbers(weight):
    array = keras.ops.convert_to_numpy(weight)
    return array.view(f"uint{8 * array.dtype.itemsize}")


def assert_bit_equal(model, other):
    assert [weight.path for weight in model.weights] == [weight.path for weight in other.weights]
    for weight, same in zip(model.weights, other.weights, strict=True):
        assert np.array_equal(numbers(weight), numbers(same)), weight.path


# Where `transformers` runs.


def reference(name):
    """A random model of `transformers` of a row's kind, some with other options than the row's."""
    import transformers

    transformers.set_seed(0)
    kind = name.partition("_")[0]
    if kind == "gpt2":
        options = {**make_gpt2.CONFIGS[name.partition("_")[2] or "default"], "initializer_range": 0.5}
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**options, bos_token_id=None, eos_token_id=None)
        ).eval()
    if kind == "bert":
        architecture, options = make_bert.CONFIGS[name.partition("_")[2] or "base"]
        return getattr(transformers, architecture)(transformers.BertConfig(**options, initializer_range=0.5)).eval()
    if kind == "fnet":
        architecture, options = make_fnet.CONFIGS[name]
        return getattr(transformers, architecture)(transformers.FNetConfig(**options, initializer_range=0.5)).eval()
    if name in make_llama.CONFIGS:
        return make_llama.model(name, seed=0)
    for golden_models in (make_t5, make_detr):
        if name in golden_models.CONFIGS:
            return golden_models.model(name, seed=0)
    if name == "marian":
        return make_encoder_decoder.model(name, scale_embedding=False, activation_function="relu", encoder_layers=1)
    if name == "bart":
        return make_encoder_decoder.model(name, scale_embedding=True, activation_function="gelu_new", decoder_layers=2)
    return make_vision.random_model(name)


def reference_cases(model, name):
    """The inputs of a row, and what a model of `transformers` gives for them."""
    import torch

    kind, cases = name.partition("_")[0], []
    for number, (inputs, _) in enumerate(ROWS[name].cases):
        if kind == "gpt2":
            with torch.no_grad():
                found = model(torch.tensor(np.asarray(inputs, "int64"))).logits.numpy()
        elif name in make_llama.CONFIGS:
            found = make_llama.logits(model, inputs)
        elif kind == "t5":
            found = make_t5.logits(model, *inputs.values())
        elif kind == "bert":
            found = make_bert.outputs(model, *inputs.values(), ROWS[name].config["pad_token_id"])
        elif kind == "fnet":
            found = make_fnet.outputs(model, *inputs.values())
        elif kind == "detr":
            found = make_detr.outputs(model, inputs["pixel_mask"])
        elif kind in ("marian", "bart"):
            found = make_encoder_decoder.logits(model, name, *inputs.values())
        else:
            found = make_vision.outputs(model, name, make_vision.CONFIGS[name][2][number])
        cases.append((inputs, found))
    return cases
