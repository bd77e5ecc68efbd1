"""What a backup may hold, whatever else the callbacks do: a finished epoch, finite weights, and those to train on with."""

import contextlib
import shutil
import warnings

import keras
import numpy as np
import pytest

from keras_tx.backup import Backup

from .small_fits import BAD, ROWS, Do, fit, held, made, values


class Constant(keras.layers.Layer):
    """A layer with a weight that is never finite."""

    def build(self, shape):
        self.add_weight(shape=(2,), initializer=keras.initializers.Constant(-np.inf), trainable=False, name="mask")

    def call(self, inputs):
        return inputs


def stop(model, number):
    if number == 1:
        model.stop_training = True


def interrupt(model, number):
    if number == 1:
        raise KeyboardInterrupt


def in_both_orders(other, folder):
    yield [other, Backup(folder)]
    yield [Backup(folder), other]


@pytest.mark.parametrize(
    "other",
    [
        keras.callbacks.TerminateOnNaN,
        lambda: keras.callbacks.TerminateOnNaN(raise_error=True),
        lambda: Do("on_train_batch_end", lambda model, number: None),
    ],
    ids=["stops", "raises", "goes on"],
)
@pytest.mark.filterwarnings("ignore:Epoch .* is not backed up")
def test_nan_costs_no_good_backup(tmp_path, other):
    fit(made(), 2, Backup(tmp_path))
    for callbacks in in_both_orders(other(), tmp_path):
        with contextlib.suppress(RuntimeError):  # of TerminateOnNaN
            fit(made(), 4, *callbacks, data=BAD)
        assert held(tmp_path) == ["epoch-2"]
    model = made()
    assert fit(model, 3, Backup(tmp_path)) == [2]
    assert all(np.isfinite(each).all() for each in values(model))


def test_an_epoch_that_ends_with_nan_is_named_by_its_weight_and_constants_may_be_infinite(tmp_path):
    model = made(before=[Constant()])
    fit(model, 1, Backup(tmp_path))
    assert held(tmp_path) == ["epoch-1"]
    with pytest.warns(
        UserWarning, match="Epoch 2 is not backed up in .*, because .*kernel holds NaN or .* epoch 1, stays"
    ):
        fit(model, 2, Backup(tmp_path), data=BAD)
    state = made(keras.optimizers.SGD(0.1, gradient_accumulation_steps=9))  # its weights are finite until it applies
    with pytest.warns(UserWarning, match="accumulator holds NaN or .* there is no earlier backup"):
        fit(state, 1, Backup(tmp_path / "new"), data=BAD)
    assert all(np.isfinite(keras.ops.convert_to_numpy(each)).all() for each in state.weights)


@pytest.mark.parametrize("known", [True, False], ids=["known length", "unknown length"])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_cut_off_epoch_is_not_backed_up(tmp_path, known):
    def batches():
        for start in (0, 4, 8):
            yield ROWS[start : start + 4], ROWS[start : start + 4, :1]

    def train(epochs, *callbacks):
        if known:
            return fit(made(), epochs, *callbacks)
        return made().fit(batches(), epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks]).epoch

    train(1, Backup(tmp_path))
    assert held(tmp_path) == ["epoch-1"]
    for callbacks in in_both_orders(Do("on_train_batch_end", stop), tmp_path):
        with pytest.warns(
            UserWarning, match="Epoch 2 is not backed up in .*, because it was cut off after 2 .*batches"
        ):
            assert train(4, *callbacks) == [1]
        assert held(tmp_path) == ["epoch-1"]
    for callbacks in in_both_orders(Do("on_train_batch_end", interrupt), tmp_path):
        with pytest.raises(KeyboardInterrupt):
            train(4, *callbacks)
        assert held(tmp_path) == ["epoch-1"]


def test_a_finished_epoch_after_which_a_callback_stops_is_backed_up(tmp_path):
    for moment, order in (("on_epoch_end", 1), ("on_epoch_end", -1), ("on_test_end", 1)):
        folder = tmp_path / f"{moment}{order}"
        callbacks = [Do(moment, lambda model, number: stop(model, 1)), Backup(folder)][::order]
        assert fit(made(), 4, *callbacks, validation_data=(ROWS[:4], ROWS[:4, :1])) == [0]
        assert held(folder) == ["epoch-1"]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_that_ends_before_its_steps_is_not_backed_up(tmp_path):
    batches = ((ROWS[:4], ROWS[:4, :1]) for _ in range(5))
    with pytest.warns(UserWarning, match="Epoch 2 is not backed up .* cut off after 2 of 3 batches; .* epoch 1, stays"):
        made().fit(batches, steps_per_epoch=3, epochs=2, shuffle=False, verbose=0, callbacks=[Backup(tmp_path)])
    assert held(tmp_path) == ["epoch-1"]


def test_a_backup_holds_the_weights_to_train_on_with_and_not_averages(tmp_path):
    def optimizer():
        return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)

    wanted, resumed = made(optimizer()), made(optimizer())
    for model, epochs, *backup in (
        (wanted, 3),
        (made(optimizer()), 2, Backup(tmp_path)),
        (resumed, 3, Backup(tmp_path)),
    ):
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        fit(model, epochs, *backup, swap, validation_data=(ROWS[:4], ROWS[:4, :1]))
    for ours, theirs in zip(values(resumed), values(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    with pytest.raises(ValueError, match=r"Backup must come before SwapEMAWeights.*Received: SwapEMAWeights, Backup"):
        fit(made(optimizer()), 6, keras.callbacks.SwapEMAWeights(True), Backup(tmp_path))
    assert held(tmp_path) == ["epoch-3"]


def test_a_backup_holds_the_last_weights_and_not_the_best_that_a_callback_restores(tmp_path):
    early = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    for number, callbacks in enumerate(in_both_orders(early, tmp_path)):
        if number:
            shutil.rmtree(tmp_path / "epoch-2")
        fit(made(), 9, *callbacks)
        assert held(tmp_path) == ["epoch-2"]
    wanted, resumed = made(), made()
    with pytest.warns(UserWarning, match="trains nothing"):
        fit(resumed, 2, Backup(tmp_path))
    fit(wanted, 2)
    np.testing.assert_allclose(values(resumed)[0], values(wanted)[0], atol=1e-6)


def test_a_rate_that_callbacks_set_is_taken_up_and_is_no_reason_to_warn(tmp_path):
    def plateau():
        return keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1e9)

    def schedule():
        return keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 * 0.5**epoch)

    for number, make in enumerate((plateau, schedule)):
        folder, first, resumed, wanted = tmp_path / str(number), made(), made(), made()
        fit(first, 2, make(), Backup(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            fit(resumed, 3, make(), Backup(folder))
        fit(wanted, 3, make())
        np.testing.assert_allclose(values(resumed)[0], values(wanted)[0], atol=1e-6)
    with pytest.raises(ValueError, match=r"Backup must come after ReduceLROnPlateau.*: .*Backup, ReduceLROnPlateau"):
        fit(made(), 4, Backup(tmp_path / "0"), plateau())
    assert held(tmp_path / "0") == ["epoch-3"]
