"""What GPTQ and AWQ are to be told of a model: what stands before its blocks, and the chain that they form."""

import inspect
import types

import keras
from keras import ops

from . import graph
from .layers import SegmentEmbedding, TokenAndPositionEmbedding, TransformerDecoder, TransformerEncoder

_BLOCKS = (TransformerEncoder, TransformerDecoder)
_EMBEDDINGS = (TokenAndPositionEmbedding, keras.layers.Embedding)


def layer_structure(model) -> dict:
    """Returns the `quantization_layer_structure` that Keras asks for in the modes "gptq" and "awq".

    Keras calibrates a model block by block: it embeds windows of token ids, sends them through the first block, quantizes that
    block's matrices by what reached each of them, and sends what the quantized block gives through the next. The windows are
    taken to hold no padding, so masks over positions are left out, and segments are 0.

    A model of `keras_tx.applications` calls this itself, by `get_quantization_layer_structure`, until it is saved and loaded or
    cloned.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` whose `TransformerEncoder` and `TransformerDecoder` blocks
            form one chain, in it or in a model nested in it, from an input of token ids on.

    Returns:
        Dict of "pre_block_layers", a list of one functional model from int32 ids (B, T) to what the first block reads
        (B, T, D), and "sequential_blocks", the list of the layers of the chain.

    Raises:
        ValueError: if the model has no graph or no blocks; has blocks in several models, as an encoder-decoder, or off one
            chain, or that are called twice, or that read other tensors beside the one before; or takes no token ids, as a
            model of images. What is in the way is named.

    Example:

    ```python
    inputs = keras.Input((None,), dtype="int32")
    x = keras_tx.layers.TokenAndPositionEmbedding(20, 8, 16)(inputs)
    x = keras_tx.layers.TransformerEncoder(32, num_heads=2, name="block")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x))
    structure = keras_tx.quantization.layer_structure(model)
    [block.name for block in structure["sequential_blocks"]]  # ["block"]
    ```

    Reference:
        Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"; Lin et al.
        2024, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration".
    """
    holder = _holder(graph.without_optional_inputs(model))
    calls = graph.call_origins(holder)
    blocks = [path for path, (origin, _, _) in calls.items() if isinstance(origin.operation, _BLOCKS)]
    _check_once(model, [calls[path][0].operation for path in blocks])
    for path in blocks:
        _check_arguments(model, calls[path][0])
    chain = [calls[blocks[0]][0]]
    for path in blocks[1:]:
        chain += _between(model, chain[-1], calls[path][0])
    _, args, kwargs = calls[blocks[0]]
    first = _arguments(chain[0].operation, args, kwargs)["inputs"]
    return {
        "pre_block_layers": [_from_ids(model, holder, calls, _tensors_read(chain[0]), first)],
        "sequential_blocks": [origin.operation for origin in chain],
    }


def with_layer_structure(model) -> keras.Model:
    """Gives a model the method by which Keras asks for its `layer_structure`, and returns the model."""
    model.get_quantization_layer_structure = types.MethodType(lambda model, mode=None: layer_structure(model), model)
    return model


def _holder(model):
    """Returns the model, or the one nested in it, among whose layers the blocks are."""
    calls = graph.layer_calls(model)
    places = {path.rpartition("/")[0] for path, layer in calls.items() if isinstance(layer, _BLOCKS)}
    if not places:
        raise _refused(model, f"has no TransformerEncoder or TransformerDecoder among its layers {list(calls)}")
    if len(places) > 1:
        raise _refused(
            model, f"has blocks in {sorted(place or model.name for place in places)}, and Keras calibrates one chain"
        )
    for name in filter(None, places.pop().split("/")):
        model = graph.functional_of(model).get_layer(name.partition("#")[0])
    return model


def _check_once(model, blocks):
    for block in blocks:
        if sum(other is block for other in blocks) > 1:
            raise _refused(model, f"calls {block.name} several times, and its first call would quantize it for all")


def _check_arguments(model, origin):
    for name, value in _arguments(origin.operation, origin.args, origin.kwargs).items():
        tensors = [leaf for leaf in keras.tree.flatten(value) if isinstance(leaf, graph.Origin)]
        if tensors and name not in ("inputs", "mask"):
            raise _refused(
                model, f"has {origin.operation.name}, which reads `{name}` too, and Keras hands a block one tensor"
            )


def _arguments(layer, args, kwargs):
    return inspect.signature(layer.call).bind(*args, **kwargs).arguments


def _tensors_read(origin):
    """Lists the origins of the tensors that a layer is called with; of a block, beside its mask."""
    args = origin.args, origin.kwargs
    if isinstance(origin.operation, _BLOCKS):
        args = _arguments(origin.operation, *args)["inputs"]
    return [each for each in keras.tree.flatten(args) if isinstance(each, graph.Origin)]


def _between(model, last, block):
    """Lists the calls after one block up to the next, which stand in a row."""
    found = [block]
    while (read := _tensors_read(found[0])) != [last]:
        if len(read) != 1 or not isinstance(read[0].operation, keras.Layer) or isinstance(read[0].operation, _BLOCKS):
            raise _refused(
                model, f"has {block.operation.name}, which does not follow {last.operation.name} by layers of one input"
            )
        found.insert(0, read[0])
    return found


def _from_ids(model, holder, calls, origins, first):
    """Returns the model from token ids to a tensor of the graph."""
    names = sorted(_names(origins))
    functional = graph.functional_of(holder)
    tensors = functional.input
    if not isinstance(tensors, dict):
        tensors = dict(zip(graph.input_names(holder), functional.inputs, strict=True))
    readers = {name: [] for name in names}
    for origin, _, _ in calls.values():
        for each in keras.tree.flatten((origin.args, origin.kwargs)):
            if isinstance(each, graph.Origin) and each.operation is None and each.path in readers:
                readers[each.path].append(origin.operation)
    ids = [
        name for name in names if not (readers[name] and all(isinstance(x, SegmentEmbedding) for x in readers[name]))
    ]
    embedded = [name for name in ids if any(isinstance(layer, _EMBEDDINGS) for layer in readers[name])]
    if len(ids) != 1 or not ("int" in tensors[ids[0]].dtype or embedded):
        raise _refused(model, f"reads {ids} before its blocks, and Keras calibrates with windows of token ids alone")
    before = keras.Model({name: tensors[name] for name in names}, first)
    windows = keras.Input((None,), dtype="int32", name=ids[0])
    x = before({name: windows if name == ids[0] else ops.zeros_like(windows) for name in names})
    return keras.Model(windows, x, name="before_the_blocks")


def _names(origins):
    """The names of the inputs that something depends on."""
    names = set()
    for origin in keras.tree.flatten(origins):
        if isinstance(origin, graph.Origin):
            names |= {origin.path} if origin.operation is None else _names((origin.args, origin.kwargs))
    return names


def _refused(model, reason):
    return ValueError(
        f"`model` must be one chain of blocks of token ids for GPTQ and AWQ. Received: {model.name}, which {reason}."
    )
