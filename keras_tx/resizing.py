"""A model of window attention for windows of another size."""

import keras
from keras import ops

from . import arguments, graph
from .layers import PatchEmbedding, WindowAttention, WindowPositionBias
from .ops import resampling

_WINDOWED = {keras.saving.get_registered_name(layer) for layer in (WindowAttention, WindowPositionBias)}
_PATCHES = keras.saving.get_registered_name(PatchEmbedding)


def resize_windows(model, window_size) -> keras.Model:
    """Returns a copy of a model whose windows have another size, with tables of bias resampled to it.

    A finer map wants larger windows: a Swin trained with windows of 7 at 224 is fine-tuned with windows of 12 at 384. All
    weights are copied; a table ((2 rows - 1) (2 columns - 1), N) is resampled by cubic convolution over its offsets. A shift of
    half a window stays one, and no shift stays none, as along an axis where the window has a size of 1. A `PatchEmbedding` whose
    `min_grid_size` is one of the old windows asks for the new one.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` with layers `WindowAttention`, also in slots of blocks and in
            nested models. It is not changed.
        window_size: int, or (rows, columns), of every window of the copy.

    Returns:
        A `keras.Model` of the same class and names, not compiled.

    Raises:
        ValueError: for a size that is no positive integer, and a model that has no windows, or no graph; has windows of a
            subclass, or made by a layer of one's own; or has weights that its config does not tell of, as after `enable_lora` on
            a part of a block.

    Example:

    ```python
    inputs = keras.Input((None, None, 16))
    attention = keras_tx.layers.WindowAttention(num_heads=2, window_size=7, shift_size=3)
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(32, attention=attention)(inputs))
    larger = keras_tx.resizing.resize_windows(model, 12)
    ```

    Reference:
        Liu et al. 2021, "Swin Transformer", section 3.2 (fine-tuning with another window size).
    """
    window = arguments.extent("window_size", window_size)
    if not isinstance(model, keras.Model) or not model.built or not hasattr(model, "layers"):
        raise ValueError(f"`model` must be a built keras.Model. Received: model={model!r}.")
    tables = {id(part.bias_table): part for _, part in graph.parts(model) if isinstance(part, WindowPositionBias)}
    if not tables:
        raise ValueError(
            f"`model` must have a WindowAttention. Received: {model.name} with layers {[layer.name for layer in model.layers]}."
        )
    for path, part in graph.parts(model):
        if isinstance(part, (WindowAttention, WindowPositionBias)) and type(part) not in (
            WindowAttention,
            WindowPositionBias,
        ):
            raise ValueError(
                "`model` must have windows of WindowAttention itself, not of a subclass. Received: "
                f"{model.name}, in which {path} is of class {type(part).__name__}."
            )
    olds = {part.window_size for part in tables.values()}
    copy = type(model).from_config(_resized(model.get_config(), olds, window))
    _check_weights(model, copy, tables, window)
    for old, new in zip(model.weights, copy.weights, strict=True):
        new.assign(_resampled(old, tables[id(old)].window_size, window) if id(old) in tables else old)
    return copy


def _check_weights(model, copy, tables, window):
    """Raises `ValueError` unless the copy has the model's weights, with tables of the new size."""
    places = (2 * window[0] - 1) * (2 * window[1] - 1)
    wanted = [
        (each.path, (places, *each.shape[1:]) if id(each) in tables else tuple(each.shape)) for each in model.weights
    ]
    found = [(each.path, tuple(each.shape)) for each in copy.weights]
    if [shape for _, shape in found] != [shape for _, shape in wanted]:
        names = {path for path, _ in found}
        lost = next(
            (path for path, _ in wanted if path not in names),
            next(
                (path for (path, shape), (_, own) in zip(wanted, found, strict=False) if shape != own), "more weights"
            ),
        )
        raise ValueError(
            "`model` must have no other weights than its config tells of: resize it before `enable_lora`, and make windows in "
            f"slots of blocks, not in a layer of your own. Received: {model.name}, whose config does not give {lost}."
        )


def _resampled(table, old, new):
    """((2 rows - 1) (2 columns - 1), N) of the old window -> of the new one."""
    heads = table.shape[-1]
    table = ops.reshape(ops.convert_to_tensor(table), (2 * old[0] - 1, 2 * old[1] - 1, heads))
    return ops.reshape(resampling.resample(table, 2 * new[0] - 1, 2 * new[1] - 1), (-1, heads))


def _resized(config, olds, window):
    """The config of a model, or a part of it, with other windows than the old ones."""
    if isinstance(config, (list, tuple)):
        return type(config)(_resized(each, olds, window) for each in config)
    if not isinstance(config, dict):
        return config
    config = {key: _resized(value, olds, window) for key, value in config.items()}
    if config.get("registered_name") in _WINDOWED:
        own = dict(config["config"])
        if "shift_size" in own:
            sizes = zip(own["shift_size"], own["window_size"], window, strict=True)
            own["shift_size"] = tuple(
                new // 2 if shift and 2 * shift in (old - 1, old) else shift * new // old for shift, old, new in sizes
            )
        config["config"] = {**own, "window_size": window}
    elif config.get("registered_name") == _PATCHES and tuple(config["config"]["min_grid_size"] or ()) in olds:
        config["config"] = {**config["config"], "min_grid_size": window}
    return config
