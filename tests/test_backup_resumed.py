"""Which `fit` goes on from a backup and which is refused, before anything has changed."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_tx.backup import Backup, folder_lock
from keras_tx.backup.state import describe, first_difference

from .small_fits import ROWS, Do, fit, held, made, values


def test_later_fits_of_a_model_that_went_on_train_what_they_say(tmp_path):
    fit(made(), 3, Backup(tmp_path / "a"))
    model = made()
    assert fit(model, 5, Backup(tmp_path / "a")) == [3, 4]
    assert fit(model, 2) == [0, 1]
    assert fit(model, 2, Backup(tmp_path / "b")) == [0, 1]
    assert held(tmp_path / "b") == ["epoch-2"]
    with pytest.warns(UserWarning, match="trains nothing"):
        assert fit(model, 5, Backup(tmp_path / "a")) == []
    assert fit(model, 2) == [0, 1]
    for moment in ("on_train_begin", "on_epoch_begin", "on_train_batch_end"):  # an error, once the backup is taken up
        action = Do(moment, lambda model, number: (_ for _ in ()).throw(RuntimeError("here")))
        with pytest.raises(RuntimeError, match="here"):
            fit(model, 9, Backup(tmp_path / "a"), action)
        assert fit(model, 1) == [0]
        assert held(tmp_path / "a") == ["epoch-5"]


def test_a_learning_rate_that_the_backup_puts_in_its_place_is_told(tmp_path):
    fit(made(), 1, Backup(tmp_path))
    model = made()
    model.optimizer.learning_rate = 0.003
    with pytest.warns(
        UserWarning, match=r"goes on with the learning rate of .*epoch-1.*, and not with that of .*0\.003"
    ):
        assert fit(model, 2, Backup(tmp_path)) == [1]
    assert float(model.optimizer.learning_rate) != pytest.approx(0.003)


def changed(name, **arguments):
    return lambda: getattr(keras.optimizers, name)(0.1, **arguments)


OPTIMIZERS = [
    changed("SGD"),
    changed("SGD", momentum=0.9),
    changed("RMSprop", momentum=0.9),
    changed("RMSprop", centered=True),
    changed("Adam"),
    changed("AdamW"),
    changed("Adam", amsgrad=True),
    changed("Adam", use_ema=True),
    changed("Adam", gradient_accumulation_steps=2),
    changed("Adam", gradient_accumulation_steps=4),
    changed("Adafactor"),
    changed("Lion"),
    changed("Muon"),
    lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)),
    lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.1)),
    lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)),
]


@pytest.mark.once
def test_each_optimizer_is_told_from_each_other_and_known_again():
    described = []
    for optimizer in OPTIMIZERS * 2:
        model = made(optimizer())
        model.optimizer.build(model.trainable_variables)
        described.append(describe(model))
    half = len(OPTIMIZERS)
    for place, one in enumerate(described[:half]):
        assert first_difference(one, described[half + place]) is None
        assert not [other for other in described[:half] if other is not one and not first_difference(one, other)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda: made(keras.optimizers.Adam(0.1, amsgrad=True)),
            "of its optimizer's variables, number .* is missing, and",
        ),
        (lambda: made(keras.optimizers.AdamW(0.1)), "of its optimizers, number 0 is Adam .*, and AdamW .* here"),
        (
            lambda: made(keras.optimizers.Adam(0.1), units=2),
            r"of its weights, number 0 is kernel float32 \(4, 1\) trained",
        ),
        ("frozen", "of its weights, number 0 is kernel .* trained, and kernel .* not trained here"),
        ("seeds", "seeds"),
    ],
)
def test_a_refused_backup_changes_nothing_and_stays(tmp_path, change, said):
    fit(made(keras.optimizers.Adam(0.1)), 2, Backup(tmp_path))
    model = made(keras.optimizers.Adam(0.1)) if isinstance(change, str) else change()
    if change == "frozen":
        model.layers[0].trainable = False
        model.compile(keras.optimizers.Adam(0.1), "mse")
    elif change == "seeds":
        model = made(keras.optimizers.Adam(0.1), before=[keras.layers.Dropout(0.5)])
    before = [keras.ops.convert_to_numpy(each) for each in model.weights]
    with pytest.raises(
        ValueError, match=f"A backup must be whole, and of this .* it stays as it is: .*{said}"
    ) as error:
        fit(model, 4, Backup(tmp_path))
    assert not any(word in str(error.value) for word in ("remove", "delete"))
    np.testing.assert_array_equal(before[0], keras.ops.convert_to_numpy(model.weights[0]))
    assert held(tmp_path) == ["epoch-2"]
    if change != "frozen":
        assert fit(model, 1) == [0]
    assert fit(made(keras.optimizers.Adam(0.1)), 3, Backup(tmp_path)) == [2]


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model that its first batch builds."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = keras.layers.Dense(3), keras.layers.Dense(1)

    def call(self, inputs):
        return self.out(self.hidden(inputs["rows"]) if isinstance(inputs, dict) else self.hidden(inputs))


@pytest.mark.parametrize("kind", ["sequential", "subclassed", "subclassed on a dict"])
def test_a_model_that_fit_builds_goes_on(tmp_path, kind):
    data = {"rows": ROWS} if "dict" in kind else ROWS

    def trained(epochs, *callbacks):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(3), keras.layers.Dense(1)]
        model = keras.Sequential(layers) if kind == "sequential" else Subclassed()
        model.compile(keras.optimizers.Adam(0.1), "mse")
        return fit(model, epochs, *callbacks, data=data), model

    _, wanted = trained(4)
    trained(2, Backup(tmp_path))
    epochs, model = trained(4, Backup(tmp_path))
    assert epochs == [2, 3]
    for ours, theirs in zip(values(model), values(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.once
def test_the_epoch_that_fit_asks_for_and_that_of_a_backup(tmp_path):
    assert fit(made(), 0, Backup(tmp_path)) == []
    assert fit(made(), 3, Backup(tmp_path), initial_epoch=2) == [2]  # a first training may start late
    assert held(tmp_path) == ["epoch-3"]
    assert fit(made(), 4, Backup(tmp_path), initial_epoch=2) == [3]  # the same program, started again
    model = made()
    before = values(model)[0]
    with pytest.raises(
        ValueError, match="`initial_epoch` must not be later than .* Received: initial_epoch=5, .*epoch-4"
    ):
        fit(model, 9, Backup(tmp_path), initial_epoch=5)
    np.testing.assert_array_equal(values(model)[0], before)
    with pytest.warns(UserWarning, match="holds 4 epochs of training, and `fit` was asked for no more than 0"):
        assert fit(model, 0, Backup(tmp_path)) == []
    fit(made(), 1, Backup(tmp_path / "other"))
    with pytest.raises(ValueError, match="must go on from the newest backup; .*holds 4 epochs, .* starts after 1"):
        fit(made(), 9, Backup(tmp_path), Backup(tmp_path / "other"))
    assert held(tmp_path) == ["epoch-4", "other"]


@pytest.mark.once
def test_a_backup_without_a_description_goes_on_as_far_as_keras_can_tell(tmp_path):
    fit(made(), 2, Backup(tmp_path))
    for name in ("SHA256SUMS", "description.json"):
        (tmp_path / "epoch-2" / name).unlink()
    with pytest.raises(ValueError, match="(?s)A backup must be whole, and of this model .*Skipping variable loading"):
        fit(made(keras.optimizers.Adam(0.1)), 3, Backup(tmp_path))
    assert fit(made(), 3, Backup(tmp_path)) == [2]


@pytest.mark.once
def test_a_program_of_its_own_may_call_the_callback(tmp_path):
    model = made()
    model.optimizer.build(model.trainable_variables)
    callback = Backup(tmp_path)
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0)
    assert held(tmp_path) == ["epoch-1"]


@pytest.mark.once
def test_two_trainings_in_one_folder_are_told_so(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    backup = Backup(folder)
    for other in (backup, *map(Backup, (folder, folder / ".." / "run", tmp_path / "link"))):
        with pytest.raises(ValueError, match="`callbacks` must hold one Backup for a folder. Received: 2 for "):
            fit(made(), 1, backup, other)
        assert held(folder) == []
    write = Do("on_epoch_end", lambda model, epoch: (folder / f"epoch-{epoch + 2}").mkdir())
    with pytest.raises(ValueError, match="must have a folder of its own. Received: .*epoch-2, which something else"):
        fit(made(), 2, write, backup)


HOLDER = """
import importlib.util, sys

spec = importlib.util.spec_from_file_location("folder_lock", sys.argv[1])
folder_lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folder_lock)
lock = folder_lock.FolderLock(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_folder_that_another_process_trains_into_is_refused_until_that_ends(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "run").mkdir()
    line = [sys.executable, "-c", HOLDER, folder_lock.__file__, str(tmp_path / "run")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="end the other one, or take another folder. Received: .*another process"):
            fit(made(), 1, Backup(tmp_path / "link"))
        assert held(tmp_path / "run") == []
        process.kill()
    assert fit(made(), 1, Backup(tmp_path / "link")) == [0]
