"""DETR folders, as models of `DETR` with a residual network for backbone.

The backbone has the names of `transformers`, whose config tells its sizes, or in the published folders those of timm, and a name
that stands for the sizes. The former are written. Whether a model has auxiliary outputs is not in a folder.
"""

from ...checkpoints import Rule
from ..detr import DETR
from ..resnet import RESNET_SIZES, resnet_backbone
from . import preprocessor
from .fields import ACTIVATION, RATE, SIZE, Field, Kind, classes, one_of, only, sizes
from .marian import attention_with_norm, block
from .recipe import Architecture, Recipe, divides
from .shown import Difference, present
from .tensors import dense, norm
from .vit import CHANNELS

_SIDES = {side: f"{side}.layers.{{i}}." for side in ("encoder", "decoder")}
_CONVOLUTIONS = "backbone.conv_encoder.model."
_BLOCK, _STEM = f"{_CONVOLUTIONS}encoder.stages.{{i}}.layers.{{j}}.", f"{_CONVOLUTIONS}embedder.embedder"
_QUERIES, _CLASSES = "query_position_embeddings.weight", "class_labels_classifier.weight"
_KERNEL = "row column in out -> out in row column"
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_OF_CONFIG, _OF_TIMM = {"when": {"_timm": False}}, {"when": {"_timm": True}}
_STRIDE = Kind("null or 32", lambda value: value in (None, 32), write=None)


def _units():
    """Yields the name of each convolution, that of its norm, and the path that both begin with."""
    yield f"{_STEM}.convolution", f"{_STEM}.normalization", "stem"
    path = "stage_{i}_block_{j}"
    yield f"{_BLOCK}layer.{{k}}.convolution", f"{_BLOCK}layer.{{k}}.normalization", f"{path}_{{k}}"
    yield f"{_BLOCK}shortcut.convolution", f"{_BLOCK}shortcut.normalization", f"{path}_shortcut"
    yield f"{_CONVOLUTIONS}conv1", f"{_CONVOLUTIONS}bn1", "stem"
    for stage in range(4):
        start, path = f"{_CONVOLUTIONS}layer{stage + 1}.{{j}}", f"stage_{stage}_block_{{j}}"
        for number in range(3):
            yield f"{start}.conv{number + 1}", f"{start}.bn{number + 1}", f"{path}_{number}"
        yield f"{start}.downsample.0", f"{start}.downsample.1", f"{path}_shortcut"


def _convolutions():
    for convolution, normalization, path in _units():
        yield Rule(f"{convolution}.weight", f"{path}_conv/kernel", _KERNEL)
        for tensor, weight in _NORM.items():
            yield Rule(f"{normalization}.{tensor}", f"{path}_norm/{weight}")


def _build(backbone=None, depths=None, hidden_sizes=None, embedding_size=None, bottleneck=None, **arguments):
    """A DETR on the residual network of a name's sizes, or of those that were told one by one."""
    told = {"depths": depths, "hidden_sizes": hidden_sizes, "embedding_size": embedding_size, "bottleneck": bottleneck}
    network = resnet_backbone(**backbone or told, input_shape=arguments["input_shape"])
    return DETR(backbone=network, **{name: value for name, value in arguments.items() if not name.startswith("_")})


def _resnet(layers):
    """The arguments of the residual network whose layers a model calls."""
    blocks, convolutions = [], []
    for layer in layers.all:
        kind = type(layer).__name__
        if kind == "Conv2D":
            convolutions.append(layer)
        elif kind == "Add":
            blocks.append(convolutions)
            convolutions = []
    if not blocks or len(blocks[0]) < 3:
        raise Difference("another backbone than a residual network")
    stem, *blocks[0] = blocks[0]
    stages = []
    for number, found in enumerate(blocks):
        if not number or any(max(layer.strides) > 1 for layer in found):
            stages.append([])
        stages[-1].append(max(layer.filters for layer in found))
    return {
        "depths": tuple(map(len, stages)),
        "hidden_sizes": tuple(stage[0] for stage in stages),
        "embedding_size": stem.filters,
        "bottleneck": sum(max(layer.kernel_size) > 1 for layer in blocks[0]) == 1,
    }


def _of_resnet(name):
    return lambda layers: _resnet(layers)[name]


def _output_shape(layers):
    shape = getattr(layers.model.output, "shape", ())
    if len(shape) != 4:
        raise Difference("other outputs than logits and boxes of each decoder block")
    return shape


def _last_stage(found):
    last = f"stage{len(found['depths'])}"
    rule = f"a list that ends with {last!r}, the last stage"
    return Kind(rule, lambda value: isinstance(value, list) and value[-1:] == [last], null_is_absent=True)


def _ends_with(last):
    """A list of the stages by their numbers, of which the last one is read."""
    rule = f"a list that ends with {last}, the last stage"
    return Kind(
        rule, lambda value: isinstance(value, list) and value[-1:] in ([last], [-1]), write=None, null_is_absent=True
    )


def _only(key, value):
    """The field of a setting that has one value, which is read and written."""
    return Field(f"_{key}", f"backbone_config.{key}", only(value), value, shown=lambda layers: value, **_OF_CONFIG)


RECIPE = Recipe(
    name="DETR",
    wiring="`DETR` does",
    build=_build,
    marks={"LearnedQueries.num_queries": ..., "SinusoidalGridPositions.max_wavelength": ...},
    architectures={
        "DetrForObjectDetection": Architecture({}, _CLASSES, (
            *dense("class_labels_classifier", "logits"),
            *(rule for number in range(3) for rule in dense(f"bbox_predictor.layers.{number}", f"box_{number}")),
        )),
    },
    fields=(
        Field("num_queries", "num_queries", SIZE, shown="LearnedQueries.num_queries", axis=(_QUERIES, 0)),
        Field("hidden_dim", "d_model", SIZE, shown="LearnedQueries.hidden_dim", axis=(_QUERIES, 1)),
        Field("num_layers", "encoder_layers", SIZE, shown="encoder", blocks=_SIDES["encoder"]),
        Field("num_decoder_layers", "decoder_layers", SIZE, shown="decoder", blocks=_SIDES["decoder"]),
        Field("num_heads", ("encoder_attention_heads", "decoder_attention_heads"), SIZE, shown="encoder.attention.num_heads"),
        Field("intermediate_dim", ("encoder_ffn_dim", "decoder_ffn_dim"), SIZE, shown="encoder.feed_forward.intermediate_dim",
              axis=[(f"{start}fc1.weight", 0) for start in _SIDES.values()]),
        Field("dropout", "dropout", RATE, 0.1, shown="encoder.dropout"),
        Field("attention_dropout", "attention_dropout", RATE, 0.0, shown="encoder.attention.dropout"),
        Field("activation_dropout", "activation_dropout", RATE, 0.0, shown="encoder.feed_forward.dropout"),
        Field("activation", "activation_function", ACTIVATION, "relu", shown="encoder.feed_forward.activation"),
        Field("layer_norm_epsilon", None, only(1e-5), 1e-5, shown="encoder.attention_norm.epsilon"),  # no config has it
        Field("auxiliary_outputs", default=False, shown=lambda layers: _output_shape(layers)[1] > 1),
        Field("pixel_mask", default=True, shown=lambda layers: any(not layer.resample for layer in layers.of("PixelMask"))),
        Field("include_rescaling", default=False, shown=present("Rescaling")),
        Field("input_shape", ("num_channels", "backbone_config.num_channels"), CHANNELS, 3,
              shown=lambda layers: (None, None, layers.model.inputs[0].shape[-1])),
        Field("_timm", held=f"{_CONVOLUTIONS}conv1.weight", shown=lambda layers: False),
        Field("backbone", "backbone|backbone_config.backbone", one_of(RESNET_SIZES), "resnet50", **_OF_TIMM),
        Field("depths", "backbone_config.depths", sizes(8), shown=_of_resnet("depths"), blocks=_BLOCK, **_OF_CONFIG),
        Field("bottleneck", "backbone_config.layer_type", one_of({"bottleneck": True, "basic": False}), "bottleneck",
              shown=_of_resnet("bottleneck"), **_OF_CONFIG),
        Field("hidden_sizes", "backbone_config.hidden_sizes", sizes(8), shown=_of_resnet("hidden_sizes"), **_OF_CONFIG,
              axis=(f"{_BLOCK}layer.1.convolution.weight", 0,
                    lambda size, found, i, j: size[i] // (4 if found["bottleneck"] else 1))),
        Field("embedding_size", "backbone_config.embedding_size", SIZE, 64, shown=_of_resnet("embedding_size"),
              axis=(f"{_STEM}.convolution.weight", 0), **_OF_CONFIG),
        Field("_last", "backbone_config.out_features", _last_stage, None, **_OF_CONFIG,
              shown=lambda layers: [f"stage{len(_resnet(layers)['depths'])}"]),
        Field("_last_index", "backbone_config.out_indices", lambda found: _ends_with(len(found["depths"])), None, **_OF_CONFIG),
        Field("_last_index", "backbone_kwargs.out_indices|backbone_config.out_indices", _ends_with(4), None, **_OF_TIMM),
        Field("_stride", "backbone_kwargs.output_stride|backbone_config.output_stride", _STRIDE, None, **_OF_TIMM),
        *(_only(*each) for each in (("model_type", "resnet"), ("hidden_act", "relu"), ("downsample_in_first_stage", False),
                                    ("downsample_in_bottleneck", False))),
        *classes(None, shown=lambda layers: _output_shape(layers)[-1] - 5,
                 axis=(_CLASSES, 0, lambda count, found: count + 1)),
    ),
    demands={
        # Where it is true `transformers` hands each decoder block what the norm gave for the one before, which is not DETR.
        "auxiliary_loss": False,
        "position_embedding_type": "sine", "dilation": False, "is_encoder_decoder": True,
        "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,  # whole layers dropped in training
    },
    checks=(
        divides("num_heads", "hidden_dim"),
        ("{hidden_dim} must be a multiple of 4.", lambda found: found["hidden_dim"] % 4 == 0),
        ("{depths} and {hidden_sizes} must be of one length.",
         lambda found: found["_timm"] or len(found["depths"]) == len(found["hidden_sizes"])),
        ("{hidden_sizes} must be multiples of 4 in a bottleneck.",
         lambda found: found["_timm"] or not found["bottleneck"] or not any(size % 4 for size in found["hidden_sizes"])),
    ),
    rules=(
        *_convolutions(),
        Rule("input_projection.weight", "projection/kernel", _KERNEL),
        Rule("input_projection.bias", "projection/bias"),
        Rule(_QUERIES, "queries/queries"),
        *block(_SIDES["encoder"], "encoder_{i}"),
        *block(_SIDES["decoder"], "decoder_{i}"),
        *attention_with_norm(f"{_SIDES['decoder']}encoder_attn", "decoder_{i}/cross_attention"),
        *norm("decoder.layernorm", "norm"),
    ),
    prefix="model.",
    root="backbone",
    ignored=tuple(f"{normalization}.num_batches_tracked" for _, normalization, _ in _units()),
    constants=lambda layers, arguments: {"use_timm_backbone": False},
    files=lambda layers, arguments: preprocessor.files(layers.model, kind="DetrImageProcessor", do_pad=True),
)  # fmt: skip
