"""What a frozen model gives for a data set, computed once, as the data set of the model that follows it."""

import warnings

import keras
import numpy as np

from .. import arguments
from .sublayers import direct_parts, parts


class CachedOutputs(keras.utils.PyDataset):
    """Runs a model once over batches, keeps what it gives, and gives it as batches for `fit`, in a new order each epoch.

    A row costs the model's work once, however many epochs follow. Rows are kept in memory in the shape that they came in, and a
    batch has rows of one shape. Where the given batches are padded to several lengths, so are these. While rows are collected
    they take twice the memory.

    Args:
        model: `keras.Model` without trainable weights, such as the front of `split`. It runs in inference: its dropout is off. A
            warning names layers that draw random numbers in training to some other end, such as `keras.layers.RandomFlip`: what
            they do is to stand before the model, or in what follows it.
        batches: a `tf.data.Dataset`, a `keras.utils.PyDataset`, or an iterable of batches: inputs alone, or tuples `(inputs,
            targets)` or `(inputs, targets, sample_weights)`, all of them alike. It is gone through once.
        batch_size: int, rows of a batch.
        shuffle: bool, whether rows come in a new order each epoch; a batch that is not full is left out then, but never all rows
            of a shape. If not, rows of one shape come in the order given, and where all have one shape, all do; of several
            shapes, those of the shape that came first, then those of the next, but for one batch of another, which goes first.
        seed: int of at least 0, of that order, or `None`.
        dtype: name of the floating dtype that outputs are kept in, such as "float16" for half of the memory, or `None` for their
            own. They are given in the dtype that they are kept in.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        Batches like the given ones, with what the model gives in place of the inputs.

    Raises:
        ValueError: for a model with trainable weights, or with layers that are random in inference; for a `dtype` that is not
            floating; for `batches` that are not batches, that are empty or infinite, or that differ in structure; and for a
            batch whose inputs, targets and weights differ in their number of rows.

    Example:

    ```python
    encoder = keras_tx.applications.BERT(100, 16, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=16)
    front, back = keras_tx.graph.split(keras_tx.applications.bert_classifier(encoder, num_classes=2), "bert/encoder_1")
    front.trainable = False
    ids, labels = np.random.randint(1, 100, (10, 6)), np.arange(10) % 2
    training = keras_tx.graph.CachedOutputs(front, [(ids, labels)], batch_size=5, shuffle=True, verbose=0)
    back.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    back.fit(training, epochs=2, verbose=0)  # trains the last block and the head of the classifier
    ```
    """

    def __init__(self, model, batches, batch_size=32, shuffle=False, seed=0, dtype=None, verbose=1):
        super().__init__()
        _check_model(model)
        self.batch_size = arguments.positive_int("batch_size", batch_size)
        self.shuffle = arguments.flag("shuffle", shuffle)
        self.random = np.random.default_rng(arguments.integer("seed", seed, least=0, optional=True))
        self.groups = _groups(_computed(model, batches, _floating(dtype), verbose))
        _warn_of_randomness(model)
        self.on_epoch_end()

    def on_epoch_end(self):
        """Draws the batches of the next epoch."""
        self.batches = []
        for group, (_, columns) in enumerate(self.groups):
            count = len(columns[0])
            order = self.random.permutation(count) if self.shuffle else np.arange(count)
            whole = count - count % self.batch_size if self.shuffle and count >= self.batch_size else count
            self.batches += [
                (group, order[first : first + self.batch_size]) for first in range(0, whole, self.batch_size)
            ]
        if self.shuffle:
            self.batches = [self.batches[place] for place in self.random.permutation(len(self.batches))]
        # Keras takes the sizes that the first two batches share for those of all: they are of two groups, if there are two.
        other = next((place for place, (group, _) in enumerate(self.batches) if group != self.batches[0][0]), 0)
        self.batches = [self.batches[other], *self.batches[:other], *self.batches[other + 1 :]]

    @property
    def num_batches(self):
        return len(self.batches)

    def __getitem__(self, index):
        group, rows = self.batches[index]
        structure, columns = self.groups[group]
        return keras.tree.pack_sequence_as(structure, [column[rows] for column in columns])


def _check_model(model):
    """Raises `ValueError` unless `model` is a Keras model without trainable weights."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}.")
    trained = [weight.path for weight in model.trainable_weights]
    if trained:
        raise ValueError(
            "`model` must be frozen, `model.trainable = False`: what it gives is computed once. Received: "
            f"{model.name} with {len(trained)} trainable weights, {trained[0]} the first."
        )


def _warn_of_randomness(model):
    """Warns of layers that draw random numbers in training, dropout left out."""
    random = [
        f"{path} of class {type(part).__name__}"
        for path, part in parts(model)
        if _seeds(part) and not direct_parts(part) and not hasattr(part, "rate") and not hasattr(part, "dropout")
    ]
    if random:
        warnings.warn(
            f"CachedOutputs runs {model.name} in inference and once, where these layers change nothing: {random}. Put them "
            "before it, or after it.",
            stacklevel=3,
        )


def _seeds(layer):
    """Lists the states of random numbers in a layer."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def _floating(dtype):
    """Returns the dtype's name, or `None`."""
    try:
        name = None if dtype is None else keras.backend.standardize_dtype(dtype)
    except (TypeError, ValueError):
        name = ""
    if name is not None and "float" not in name:
        raise ValueError(
            f"`dtype` must be a floating one, in which outputs are kept, or None. Received: dtype={dtype!r}."
        )
    return name


def _computed(model, batches, dtype, verbose):
    """Yields each batch with what the model gives in place of its inputs; all leaves are arrays."""
    count = _length(batches)
    if isinstance(batches, keras.utils.PyDataset):
        batches = map(batches.__getitem__, range(count))
    elif (
        hasattr(batches, "as_numpy_iterator") and keras.backend.backend() != "tensorflow"
    ):  # whose tensors JAX does not take
        batches = batches.as_numpy_iterator()
    progress, states, done = keras.utils.Progbar(count, verbose=verbose, unit_name="batch"), _seeds(model), 0
    before = [keras.ops.convert_to_numpy(state) for state in states]
    for done, batch in enumerate(batches, 1):
        inputs, *others = batch if isinstance(batch, tuple) else (batch,)
        _check_inputs(model, inputs)
        outputs = keras.tree.map_structure(lambda array: _kept(array, dtype), model.predict_on_batch(inputs))
        if done == 1 and any(
            not np.array_equal(old, keras.ops.convert_to_numpy(state))
            for old, state in zip(before, states, strict=True)
        ):
            raise ValueError(
                "`model` must give the same for the same inputs: what it gives is computed once. Received: "
                f"{model.name}, which draws random numbers in inference."
            )
        while others and others[-1] is None:  # no targets, or no weights
            others.pop()
        others = keras.tree.map_structure(keras.ops.convert_to_numpy, others)
        yield (outputs, *others) if others else outputs
        progress.update(done, finalize=done == count)
    if count is None and done:
        progress.update(done, finalize=True)


def _check_inputs(model, inputs):
    """Raises `ValueError` for a list of more than the model takes, of which Keras would leave out the last."""
    own = getattr(model, "inputs", None)
    if own and isinstance(inputs, (list, tuple)) and len(keras.tree.flatten(inputs)) != len(own):
        raise ValueError(
            "`batches` must hold inputs alone, or tuples (inputs, targets) or (inputs, targets, sample_weights). Received: a "
            f"{type(inputs).__name__} of {len(keras.tree.flatten(inputs))} for the {len(own)} inputs of {model.name}."
        )


def _groups(batches):
    """Returns a list of groups of rows of one shape: a structure with its leaves, arrays of all rows."""
    groups, first = {}, None
    for batch in batches:
        shapes, columns = keras.tree.map_structure(np.shape, batch), keras.tree.flatten(batch)
        form = keras.tree.map_structure(lambda _: "array", batch)
        first = form if first is None else first
        rows = {np.shape(column)[:1] for column in columns}
        if len(rows) != 1 or () in rows:
            raise ValueError(
                "`batches` must have a row in every target and weight for each row that the model gives. Received: arrays of "
                f"shapes {shapes}, those of the model first."
            )
        if form != first:
            raise ValueError(
                f"`batches` must all be alike, with targets and weights or without. Received: arrays of shapes {shapes} after "
                f"others of the structure {first}."
            )
        groups.setdefault(tuple(np.shape(column)[1:] for column in columns), []).append(columns)
    if not any(len(columns[0]) for group in groups.values() for columns in group):
        raise ValueError(
            f"`batches` must hold at least one row. Received: {'batches without rows' if groups else 'none'}."
        )
    return [(first, [np.concatenate(column) for column in zip(*group, strict=True)]) for group in groups.values()]


def _kept(array, dtype):
    array = np.asarray(array)
    is_float = "float" in keras.backend.standardize_dtype(array.dtype)
    return array.astype(dtype) if dtype is not None and is_float else array


def _length(batches):
    """Returns how many batches there are, or `None` where they do not tell; raises `ValueError` for none and for endless ones."""
    if not hasattr(batches, "__iter__") and not isinstance(batches, keras.utils.PyDataset) or hasattr(batches, "shape"):
        raise ValueError(
            "`batches` must be a tf.data.Dataset, a keras.utils.PyDataset or an iterable of batches. Received: a "
            f"{type(batches).__name__}."
        )
    count = batches.num_batches if isinstance(batches, keras.utils.PyDataset) else None
    is_endless = isinstance(batches, keras.utils.PyDataset) and count is None
    if hasattr(batches, "cardinality"):  # of tf.data: -1 without an end, -2 unknown
        count = int(batches.cardinality())
        count, is_endless = (count if count >= 0 else None), count == -1
    if is_endless:
        raise ValueError("`batches` must end: each is gone through once. Received: batches without an end.")
    if count is None:
        try:
            return len(batches)
        except TypeError:
            return None
    return count
