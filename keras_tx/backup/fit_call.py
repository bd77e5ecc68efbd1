"""The `fit` that a callback runs in: what Keras hands to no callback, and the epoch that it starts with."""

import inspect
import weakref

import keras


class FitCall:
    """A running `fit`.

    Attributes:
        callbacks: list of all its callbacks, in their order; empty where a program of its own calls the callback.
        initial_epoch: int, that which `fit` was given.
    """

    def __init__(self, model):
        self.callbacks, self.initial_epoch = [], 0
        self._model, self._data = model, None
        found, frame = None, inspect.currentframe()
        while frame is not None:
            own = frame.f_locals.get("self")
            if found is None and isinstance(own, keras.callbacks.CallbackList):
                found = own
            elif found is not None and own is model and "initial_epoch" in frame.f_locals:
                self.callbacks, self.initial_epoch = list(found.callbacks), frame.f_locals["initial_epoch"] or 0
                self._data = frame.f_locals.get("epoch_iterator")
                break
            frame = frame.f_back

    def build_model(self):
        """Builds a model that its first batch would build, as on TensorFlow; raises `ValueError` if it cannot be built so."""
        if self._model.built:
            return
        try:  # no batch is read, which a generator would not give again
            inputs, *_ = keras.utils.unpack_x_y_sample_weight(self._data.data_adapter.get_tf_dataset().element_spec)
            self._model(
                keras.tree.map_structure(lambda spec: keras.KerasTensor(tuple(spec.shape), spec.dtype.name), inputs)
            )
        except Exception as error:  # of the model, by what it asks for
            raise ValueError(f"the model must be built before `fit`: call it once on a batch ({error})") from error


class _FirstEpoch(int):
    """The epoch that one `fit` starts with; false, and so without effect, in any other of the same model."""

    def __new__(cls, epoch, model):
        self = super().__new__(cls, epoch)
        self._model, self._history = (
            weakref.ref(model),
            getattr(model, "history", None),
        )  # each `fit` has a history of its own
        return self

    def __bool__(self):
        model = self._model()
        return int(self) > 0 and model is not None and getattr(model, "history", None) is self._history


def start_with(epoch, model):
    """Lets the `fit` that is about to start begin with this epoch."""
    model._initial_epoch = _FirstEpoch(epoch, model)


def has_started(model):
    """Takes the epoch back, which Keras would start every later `fit` with."""
    if isinstance(model._initial_epoch, _FirstEpoch):
        model._initial_epoch = None


class Epoch:
    """How much of an epoch has run, told from the batches that a callback sees."""

    def __init__(self, steps=None):
        self._steps = steps  # an epoch has so many, or `None`: as many as the data gives
        self._longest = 0
        self._seen_any = False
        self.begin()

    def begin(self):
        """Starts to count an epoch's batches."""
        self._begun, self._ended = -1, []

    def batch_begins(self, batch):
        """Counts a batch that is asked for; the data may have ended."""
        self._begun, self._seen_any = batch, True

    def batch_ends(self, batch):
        """Counts a batch that was trained on; Keras may call it from several threads, in any order."""
        self._ended.append(batch)
        self._seen_any = True

    def cut_off(self, stopped):
        """Returns in words how the epoch was cut off, or `None` if it is finished.

        Args:
            stopped: bool, whether a callback has stopped the training, by now.
        """
        if not self._seen_any:  # a program of its own, which tells of no batches
            return None
        done = max(self._ended, default=-1) + 1
        if self._steps is not None:
            return None if done >= self._steps else f"it was cut off after {done} of {self._steps} batches"
        data_ended = self._begun >= done
        if done and (data_ended or done >= self._longest > 0 or not stopped):
            self._longest = max(self._longest, done)
            return None
        return f"it was cut off after {done} batches"
