"""Checkpoint folders in the layout of Hugging Face, read into our applications and written from them."""

import contextlib
import inspect
from pathlib import Path

import keras

from ... import graph
from ...checkpoints import Checkpoint, json_bytes, load_weights, read_json, save_weights
from . import (
    adapters,
    bart,
    bert,
    deit,
    detr,
    fnet,
    generation,
    gpt2,
    llama,
    marian,
    mixer,
    phi,
    structure,
    swin,
    t5,
    vit,
)
from .fields import NAME, Config, Field, one_of

# By the `model_type` of a config.json, which one of timm does not have. A model is written as the last type whose marks it has.
RECIPES = {
    "gpt2": gpt2.RECIPE,
    "bert": bert.RECIPE,
    "fnet": fnet.RECIPE,
    "marian": marian.RECIPE,
    "bart": bart.RECIPE,
    "t5": t5.RECIPE,
    "vit": vit.RECIPE,
    "deit": deit.RECIPE,
    "swin": swin.RECIPE,
    "timm": mixer.RECIPE,
    "detr": detr.RECIPE,
    "phi3": phi.PHI3,
    "llama": llama.LLAMA,
    "mistral": llama.MISTRAL,
    "qwen2": llama.QWEN2,
    "qwen3": llama.QWEN3,
    "smollm3": llama.SMOLLM3,
    "gemma": llama.GEMMA,
    "olmo2": llama.OLMO2,
    "phi": phi.PHI,
}


def load_huggingface(folder, dtype=None, packed=False) -> keras.Model:
    """Builds the model of a checkpoint folder, with its weights.

    Reads `config.json` and safetensors: one file, or shards with their index, in F32, F16 or BF16. Everything is checked
    against the headers before anything is allocated. In the scope of a `keras.distribution` each device is sent its part of
    each tensor. Nothing is downloaded, no pickle is opened, and no code in the folder is run.

    Args:
        folder: str or path.
        dtype: name of a dtype or of a dtype policy, or a policy, such as "bfloat16" or "mixed_bfloat16"; `None` for the
            one that new layers have. A number that does not fit float16 is an error.
        packed: bool, whether a `GPT` or a `Llama` takes `segment_ids` too, to be trained on rows of several documents.

    Returns:
        A `keras.Model`. For `model_type` "gpt2" that of `GPT`; for "llama", "mistral", "qwen2", "qwen3", "smollm3", "phi",
        "phi3", "gemma" and "olmo2" that of `Llama`; for "marian" and "bart" that of `Translator`; for "t5" that of `T5`. For
        "bert" what `architectures` names: `BERT` for "BertModel", with a pooler if the folder has one; `bert_pretrainer` for
        "BertForPreTraining" and "BertForMaskedLM", with next sentence if the folder has its head; `bert_classifier` with
        `pairs=True` for "BertForSequenceClassification". Where it names none, the tensors decide between the first two. For
        "fnet" in the same way `FNet`, without a `padding_id`, and BERT's heads on it. For "vit" that of `ViT`, for "deit" that
        of `ViT` with a distillation token, for "swin" that of `Swin` with `mask_padding=False`, each with a head where there
        is one; for "detr" that of `DETR` with a `pixel_mask`, on a residual network. These take images of any size, channels
        last, with their pixels rescaled and normalized as the folder's processor does it, which is not read here; the pooler of
        a "ViTModel" is left out. A folder of timm, which has no
        `model_type` but an `architecture` of "mixer_s32_224", "mixer_s16_224", "mixer_b32_224", "mixer_b16_224",
        "mixer_l32_224" or "mixer_l16_224", gives that of `Mixer`, for images of the size that the folder says, normalized by
        the `mean` and `std` of its `pretrained_cfg`. Each rate of dropout in the config
        goes to the layers that it is for, and `save_huggingface` writes it again; layers dropped at random
        (`encoder_layerdrop` and `decoder_layerdrop`) are refused.

    Raises:
        ValueError: if the folder, its config or its tensors are missing, damaged or contradict each other; and by name
            for a type of model, an activation or an option that is not implemented.

    Example:

    ```python
    model = keras_tx.applications.GPT(
        vocabulary_size=256, sequence_length=64, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=128
    )
    keras_tx.applications.save_huggingface(model, folder)
    again = keras_tx.applications.load_huggingface(folder)
    logits = again(np.array([[10, 20, 30]]))  # (1, 3, 256)
    ```
    """
    config = Config(folder)
    recipe = _recipe(config)
    if packed and "packed" not in inspect.signature(recipe.build).parameters:
        raise ValueError(f"`packed` must be False but for a GPT or a Llama. Received: packed=True for a {recipe.name}.")
    options = {"packed": True} if packed else {}
    return build(recipe, config, Checkpoint(folder, recipe.prefix), dtype, **options)


def _recipe(config):
    """The table of a folder's type, of which a folder of timm says the `architecture` alone."""
    if config.values(["architecture"]) and not config.values(["model_type"]):
        return RECIPES["timm"]
    typed = {name: recipe for name, recipe in RECIPES.items() if recipe.typed}
    return Field("", "model_type", one_of(typed)).read(config, {}, {})


def build(recipe, config, checkpoint, dtype, filler=None, **options) -> keras.Model:
    """Builds the model that a config and tensors describe by the table of their type: `load_huggingface`, once they are read.

    `filler`, a function from the model and its weights by their paths to a context, gives what fills them in the place of
    `graph.fill`; `options` are further arguments of the application.
    """
    arguments = recipe.arguments(config, checkpoint)
    with _dtype_policy(dtype), graph.without_values():
        model = recipe.build(**arguments, **options)
    weights = structure.weights_by_path(model, recipe.root)
    named = {id(weight) for weight in weights.values()}
    others = [variable for variable in model.variables if id(variable) not in named]  # the states of random generators
    ignored = (*recipe.ignored, *recipe.tied_for(arguments))
    with contextlib.nullcontext(graph.fill) if filler is None else filler(model, weights) as fill:
        load_weights(weights, checkpoint, recipe.rules_for(arguments), ignored, fill)
    for variable in others:
        graph.fill(variable)
    return model


def save_huggingface(model, folder, max_shard_bytes=None, model_type=None) -> None:
    """Writes a model as a checkpoint folder, which `transformers` and `load_huggingface` read.

    It holds `config.json` and safetensors, and nothing of a tokenizer. A `generation_config.json` that is there keeps what it
    says, and gets the ids of the config that it lacks, as `transformers` reads it in place of them. The files are written
    beside and renamed: a save that is killed half-way leaves the old ones whole.

    Low-rank adapters (`enable_lora`) are merged into the kernels and tables that are written, so that the folder gives the
    outputs of the adapted model; the model itself keeps them apart.

    A model holds none of a vocabulary's special ids but the padding id of `Translator` and `T5`. So the config of these has the
    others as the published models have them, whatever folder it was loaded from: for BART `decoder_start_token_id`,
    `eos_token_id` and `forced_eos_token_id` 2 and `bos_token_id` 0; for Marian `decoder_start_token_id` the padding id, and
    `eos_token_id` and `forced_eos_token_id` 0 (null where that is the padding id); for T5 `decoder_start_token_id` the padding
    id, and `eos_token_id` 1 (null where padding is not 0). Where yours are others, write them into `config.json` before
    `transformers` generates with it, and into a `generation_config.json` if there is one, which goes first.

    Args:
        model: a model of `GPT` with learned positions, `Llama`, `BERT`, `FNet` without a `padding_id`, `bert_pretrainer`
            (without span boundaries) or `bert_classifier` on either of these, `Translator` with the options of Marian
            (`positions="sinusoidal_halves"`) or of BART, and norms of epsilon 1e-5, `T5`, `Mixer`, `ViT` or `Swin` (both without
            pooling; `Swin` with `mask_padding=False`, or for images of one size whose maps the windows divide), `DETR` on a
            `resnet_backbone` and with norms of epsilon 1e-5, or one that wires the same layers in the same way under names of
            its own. Of a `Mixer` timm fixes patch, depth and width together,
            and has no other activation or epsilon; where it takes normalized pixels, the mean and deviation of the published
            models are written, 0.5. A classifier of one input is saved as one of two. A
            model of images that rescales pixels itself is saved without this layer, and with a `preprocessor_config.json` that
            does the same; for one that does not, such a file of the folder stays as it is.
        folder: str or path; made if it is not there.
        max_shard_bytes: int, above which the tensors go into several files with an index; `None` for one file.
        model_type: str, of the types that a model may be written as, such as "phi3" for one that would be written as "llama";
            `None` for the one that says most of it.

    Raises:
        ValueError: if the model is of no type that has such a layout, naming what differs; and for quantized layers, by
            name. Save the model that was quantized, with the adapters of the quantized one assigned where there are any.

    Example:

    ```python
    model = keras_tx.applications.GPT(
        vocabulary_size=256, sequence_length=64, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=128
    )
    keras_tx.applications.save_huggingface(model, folder)
    ```
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"`model` must be a built keras.Model. Received: model={model!r}.")
    adapters.check_floats(model)
    if model_type is not None and model_type not in RECIPES:
        raise ValueError(
            f"`model_type` must be one of {', '.join(map(repr, RECIPES))}. Received: model_type={model_type!r}."
        )
    name = model_type or next((name for name, recipe in reversed(RECIPES.items()) if recipe.matches(model)), None)
    if name is None:
        raise ValueError(
            f"`model` must be of a type that has a layout of Hugging Face ({', '.join(RECIPES)}). Received: {model.name}, with "
            f"layers of classes {', '.join(sorted({type(layer).__name__ for layer in model.layers}))}."
        )
    config, weights, rules, others = RECIPES[name].to_huggingface(model)
    kind = {"model_type": name} if RECIPES[name].typed else {}
    files = {NAME: json_bytes({**kind, **config}), **others}
    if (Path(folder) / generation.NAME).exists():  # as `save_tokenizer` writes it
        files[generation.NAME] = json_bytes(generation.completed(read_json(folder, generation.NAME), config))
    save_weights(weights, folder, rules, files, max_shard_bytes, value=adapters.merged(model))


@contextlib.contextmanager
def _dtype_policy(dtype):
    """Gives layers built within a dtype policy."""
    before = keras.config.dtype_policy()
    try:
        policy = before if dtype is None else keras.dtype_policies.get(dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"`dtype` must name a dtype or a dtype policy. Received: dtype={dtype!r}.") from error
    if dtype is not None and (policy.quantization_mode is not None or "float" not in policy.variable_dtype):
        raise ValueError(f"`dtype` must be a policy of floats. Received: dtype={dtype!r}.")
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
