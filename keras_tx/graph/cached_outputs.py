"""What a frozen model gives for a data set, computed once, as the data set of the model that follows it."""

import keras
import numpy as np

from .. import arguments


class CachedOutputs(keras.utils.PyDataset):
    """Runs a model once over batches, keeps what it gives, and gives it as batches for `fit`, in a new order each epoch.

    A row costs the model's work once, however many epochs follow. Rows are kept in memory in the shape that they came in, and a
    batch has rows of one shape. Where the given batches are padded to several lengths, so are these.

    Args:
        model: `keras.Model` without trainable weights, such as the front of `split`. It runs in inference: its dropout is off.
        batches: a `tf.data.Dataset`, a `keras.utils.PyDataset`, or an iterable of batches: inputs alone, or tuples `(inputs,
            targets)` or `(inputs, targets, sample_weights)`. It is gone through once.
        batch_size: int, rows of a batch.
        shuffle: bool, whether rows come in a new order each epoch; a batch that is not full is left out then, but never all rows
            of a shape.
        seed: int, of that order.
        dtype: name of the floating dtype that outputs are kept in, such as "float16" for half of the memory, or `None` for their
            own. They are given in the dtype that they are kept in.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        Batches like the given ones, with what the model gives in place of the inputs.

    Raises:
        ValueError: for a model with trainable weights, whose outputs would change while it is trained; for a dtype that is not
            a floating one; and for no batches.

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
        trained = [weight.path for weight in model.trainable_weights]
        if trained:
            raise ValueError(
                "`model` must be frozen, `model.trainable = False`: what it gives is computed once. Received: "
                f"{model.name} with {len(trained)} trainable weights, {trained[0]} the first."
            )
        self.batch_size = arguments.positive_int("batch_size", batch_size)
        self.shuffle, self.random = arguments.flag("shuffle", shuffle), np.random.default_rng(seed)
        if dtype is not None and "float" not in keras.backend.standardize_dtype(dtype):
            raise ValueError(
                f"`dtype` must be a floating one, in which outputs are kept, or None. Received: dtype={dtype!r}."
            )
        self.groups = _groups(_computed(model, batches, dtype, verbose))
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


def _computed(model, batches, dtype, verbose):
    """Yields each batch with what the model gives in place of its inputs; all leaves are arrays."""
    is_sequence = isinstance(batches, keras.utils.PyDataset)
    count = batches.num_batches if is_sequence else _length(batches)
    progress = keras.utils.Progbar(count, verbose=verbose, unit_name="batch")
    for done, batch in enumerate(map(batches.__getitem__, range(count)) if is_sequence else batches, 1):
        inputs, *others = batch if isinstance(batch, tuple) else (batch,)
        outputs = keras.tree.map_structure(lambda array: _kept(array, dtype), model.predict_on_batch(inputs))
        while others and others[-1] is None:  # no targets, or no weights
            others.pop()
        others = keras.tree.map_structure(keras.ops.convert_to_numpy, others)
        yield (outputs, *others) if others else outputs
        progress.update(done, finalize=done == count)


def _groups(batches):
    """Returns a list of groups of rows of one shape: a structure with its leaves, arrays of all rows."""
    groups = {}
    for batch in batches:
        columns = keras.tree.flatten(batch)
        shapes = tuple(np.shape(column)[1:] for column in columns)
        groups.setdefault(shapes, (batch, []))[1].append(columns)
    if not groups:
        raise ValueError("`batches` must hold at least one batch. Received: none.")
    return [
        (batch, [np.concatenate(parts) for parts in zip(*columns, strict=True)]) for batch, columns in groups.values()
    ]


def _kept(array, dtype):
    array = np.asarray(array)
    is_float = "float" in keras.backend.standardize_dtype(array.dtype)
    return array.astype(dtype) if dtype is not None and is_float else array


def _length(batches):
    """Returns how many batches there are, or `None` where they do not tell."""
    try:
        return len(batches)
    except TypeError:
        return None
