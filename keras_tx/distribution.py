"""Weights over several devices: which axis of which weight lies on which axis of a mesh, for all models of these layers.

`keras.distribution` moves weights and batches, on JAX. It cannot know which axis of a weight is that of the heads. All
applications share the names of the layers' weights, so one map serves them all; each block then adds its devices' parts up
twice, once after the attention and once after the feed-forward network.
"""

import re

import keras

_MODEL = "model"
_WHOLE_HEADS = re.compile(r"(.*/)?(key|value)/(kernel|bias)")


def layout_map(device_mesh, shard_vocabulary=False) -> keras.distribution.LayoutMap:
    """Maps the weights of these layers onto a mesh: heads and feed-forward columns on its axis "model", the rest on every device.

    With N heads of size H, width D and F feed-forward columns, "model" splits N of the query, key and value kernels (D, N, H)
    and their biases (N, H), N of the output kernel (N, H, D), N of a table of window biases (offsets, N), F of the first
    feed-forward kernel (D, F), of a gate's, and of their biases (F,), and F of the second kernel (F, D). Biases that are added
    to a sum over devices, norms, embeddings, heads for classes and what is not of these layers are replicated. The paths end
    as those of `keras.layers.MultiHeadAttention` do, whose weights are split as well.

    The vocabulary is replicated unless asked for: an axis must divide what it splits, and published vocabularies are seldom
    divided (GPT-2's 50257 is 29 x 1733). Where it is divided, splitting it saves the memory of the table and of its
    gradients, and each device scores only its part of the vocabulary.

    Args:
        device_mesh: `keras.distribution.DeviceMesh` with an axis "model".
        shard_vocabulary: bool, whether "model" also splits the rows of token embeddings, from which tied logits are made.

    Returns:
        A `keras.distribution.LayoutMap`, for `ModelParallel` here or that of Keras. A path set in it goes before the rules:
        `layouts["stage_0_block_0/attention/attention/query/kernel"] = (None, None, None)` replicates this weight.

    Raises:
        ValueError: on a backend other than JAX, where Keras distributes nothing; unless `device_mesh` is a
            `keras.distribution.DeviceMesh` with an axis "model".

    Example:

    ```python
    mesh = keras.distribution.DeviceMesh((1, 1), ("batch", "model"), keras.distribution.list_devices()[:1])
    layouts = keras_tx.distribution.layout_map(mesh)
    layouts["decoder_0/attention/query/kernel"].axes  # (None, "model", None)
    ```

    Reference:
        Shoeybi et al. 2019, "Megatron-LM", section 3.
    """
    _check_mesh(device_mesh)
    if not isinstance(shard_vocabulary, bool):
        raise ValueError(f"`shard_vocabulary` must be a bool. Received: shard_vocabulary={shard_vocabulary!r}.")
    layouts = keras.distribution.LayoutMap(device_mesh)
    layouts[r"(.*/)?(query|key|value)/kernel"] = (None, _MODEL, None)
    layouts[r"(.*/)?(query|key|value)/bias"] = (_MODEL, None)
    layouts[r"(.*/)?attention_output/kernel"] = (_MODEL, None, None)
    layouts[r"(.*/)?position_bias/bias_table"] = (None, _MODEL)
    layouts[r"(.*/)?(intermediate|gate)/kernel"] = (None, _MODEL)
    layouts[r"(.*/)?(intermediate|gate)/bias"] = (_MODEL,)
    layouts[r"(.*/)?output_dense/kernel"] = (_MODEL, None)
    if shard_vocabulary:
        layouts[r"(.*/)?token_embedding/embeddings"] = (_MODEL, None)
    return layouts


class ModelParallel(keras.distribution.ModelParallel):
    """Keras' `ModelParallel`, which also says by name what does not fit the mesh, and takes grouped key heads.

    A weight that its axis does not divide is refused before it is made, by its path; Keras leaves this to JAX, which knows no
    paths. Key and value heads that the axis does not divide, fewer than query heads because these share them, are replicated, and
    so are kernels that are packed because they were quantized to int4. Those in int8 lie outputs by inputs, and are split by the
    same places of their axes, not along heads.

    Args:
        layout_map: what `layout_map` returned, or any `keras.distribution.LayoutMap`.
        batch_dim_name: str, the axis of the mesh that splits batches; `None` for the first that is not "model".
        auto_shard_dataset: bool, whether each of several processes is to read its part of a `tf.data.Dataset` that yields
            whole batches; False for data that is that process' part already.

    Raises:
        ValueError: as `layout_map`; for a mesh without an axis for batches; when a model is built, for a weight that its axis
            does not divide or whose layout is of another rank; when it is fed, for a first batch that is not divided. (Of a
            later one, such as a smaller last one, JAX says the same in its words: `IndivisibleError`, a `ValueError`.) A model
            whose first batch was refused has lost its weights, as with all distributions of Keras: load them again.

    Example:

    ```python
    mesh = keras.distribution.DeviceMesh((1, 1), ("batch", "model"), keras.distribution.list_devices()[:1])
    parallel = keras_tx.distribution.ModelParallel(layout_map=keras_tx.distribution.layout_map(mesh))
    with parallel.scope():
        model = keras_tx.applications.TextClassifier(100, sequence_length=8)
    ```

    Reference:
        Shoeybi et al. 2019, "Megatron-LM", section 3; Ainslie et al. 2023, "GQA", section 2.2.
    """

    def __init__(self, *, layout_map, batch_dim_name=None, auto_shard_dataset=True):
        if not isinstance(layout_map, keras.distribution.LayoutMap):
            raise ValueError(
                "`layout_map` must be a keras.distribution.LayoutMap, such as keras_tx.distribution.layout_map(mesh) makes. "
                f"Received: layout_map={layout_map!r}."
            )
        mesh = layout_map.device_mesh
        _check_mesh(mesh)
        batch_axes = [axis for axis in mesh.axis_names if axis != _MODEL]
        if not batch_axes or batch_dim_name not in (None, *batch_axes):
            raise ValueError(
                "The mesh must have an axis for batches beside 'model', such as DeviceMesh((1, 4), ('batch', 'model')), and "
                f"`batch_dim_name` must name it. Received: axis_names={tuple(mesh.axis_names)}, "
                f"batch_dim_name={batch_dim_name!r}."
            )
        super().__init__(
            layout_map=layout_map,
            batch_dim_name=batch_dim_name or batch_axes[0],
            auto_shard_dataset=auto_shard_dataset,
        )

    def get_variable_layout(self, variable):
        """Returns the `TensorLayout` of a variable; raises `ValueError`, naming it, if it does not fit."""
        layout = super().get_variable_layout(variable)
        axes, shape = getattr(layout, "axes", ()), tuple(variable.shape)  # a layout of the backend has no axes
        if axes and len(axes) != len(shape):
            if "int" in str(variable.dtype):  # quantized to int4, a kernel is packed into another shape
                return self._replicated(shape)
            raise ValueError(
                f"A layout must have an axis for each of the weight's. Received: layout {axes} for {variable.path} of shape "
                f"{shape}."
            )
        for place, (axis, size) in enumerate(zip(axes, shape, strict=False)):
            parts = self._parts(axis)
            if size % parts:
                if _WHOLE_HEADS.fullmatch(variable.path):
                    return self._replicated(shape)
                raise ValueError(
                    "An axis of the mesh must divide what it splits: take a mesh with fewer devices on it, or set the path of "
                    f"the weight in the layout map to {(None,) * len(shape)}. Received: {variable.path} of shape {shape}, whose "
                    f"axis {place} has size {size}, and {parts} devices on the axis {axis!r} of the mesh."
                )
        return layout

    def get_data_layout(self, data_shape):
        """Returns the `TensorLayout` of a batch of this process; raises `ValueError` if its devices do not divide it."""
        parts = max(1, self.num_model_replicas // self.num_processes)
        if len(data_shape) and data_shape[0] % parts:
            raise ValueError(
                "The devices on the batch axis of the mesh must divide each batch. Received: a batch of "
                f"{data_shape[0]} rows, and {parts} devices of this process on the axis {self.batch_dim_name!r}. Keras has taken "
                "the weights out of the model for the step: load them again before another call."
            )
        return super().get_data_layout(data_shape)

    def _replicated(self, shape):
        return keras.distribution.TensorLayout([None] * len(shape), self.device_mesh)

    def _parts(self, axis):
        return 1 if axis is None else self.device_mesh.shape[list(self.device_mesh.axis_names).index(axis)]


def _check_mesh(device_mesh):
    if keras.backend.backend() != "jax":
        raise ValueError(
            "Keras distributes weights on JAX alone; on TensorFlow, build and fit the model in the scope of a "
            f"`tf.distribute.MirroredStrategy`. Received: backend {keras.backend.backend()}."
        )
    axes = getattr(device_mesh, "axis_names", None)
    if axes is None or _MODEL not in axes:
        received = f"device_mesh={device_mesh!r}" if axes is None else f"a mesh with axes {tuple(axes)}"
        raise ValueError(f"`device_mesh` must be a DeviceMesh with an axis 'model'. Received: {received}.")
