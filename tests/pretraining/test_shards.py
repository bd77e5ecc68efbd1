"""Token shards: what is written is read, in a seeded order, damage is named, and a killed training goes on as if it was not."""

import json
import tracemalloc

import keras
import numpy as np
import pytest

from keras_tx import pretraining
from keras_tx.applications import GPT
from keras_tx.backup import Backup
from keras_tx.pretraining import PackedBatches, read_shards, write_shards
from keras_tx.pretraining.permutation import permuted

RANDOM = np.random.default_rng(6)
DOCUMENTS = [RANDOM.integers(0, 50, size).tolist() for size in RANDOM.integers(0, 30, 100)]
KEPT = [each for each in DOCUMENTS if each]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shards(iter(DOCUMENTS), tmp_path_factory.mktemp("text") / "shards", 50, shard_tokens=200)


@pytest.mark.once
@pytest.mark.parametrize(("size", "width"), [(50, 2), (2**16, 2), (2**16 + 1, 4)])
def test_documents_come_back_by_number_and_in_a_seeded_order(tmp_path, size, width):
    documents = [*KEPT, [size - 1]]
    shards = read_shards(write_shards(documents, tmp_path / "a", size, shard_tokens=300), verify=True)
    assert (len(shards), shards.num_tokens) == (len(documents), sum(map(len, documents)))
    assert [each.tolist() for each in shards] == documents
    assert shards[-1].tolist() == documents[-1]
    assert sum(file.stat().st_size for file in (tmp_path / "a").glob("tokens-*")) == width * shards.num_tokens
    assert len(list((tmp_path / "a").glob("tokens-*"))) > 2
    orders = {}
    for seed in (0, 1):
        endless = shards.shuffled(seed)
        orders[seed] = [tuple(next(endless)) for _ in range(2 * len(documents))]
    first, second = orders[0][: len(documents)], orders[0][len(documents) :]
    assert sorted(first) == sorted(second) == sorted(map(tuple, documents))
    assert first != second
    assert orders[0] != orders[1]
    later = shards.shuffled(0, start=len(documents) + 7)
    assert [tuple(next(later)) for _ in range(5)] == orders[0][len(documents) + 7 :][:5]


@pytest.mark.once
def test_an_order_is_a_permutation_that_looks_random():
    for size in (1, 2, 3, 7, 64, 65, 1000):
        assert sorted(permuted(np.arange(size), size, 3)) == list(range(size))
    order = permuted(np.arange(4096), 4096, (0, 1))
    assert abs(np.corrcoef(order, np.arange(4096))[0, 1]) < 0.06
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.06


def damaged(folder, tmp_path, name, change):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(change(file.read_bytes()) if file.name == name else file.read_bytes())
    return tmp_path


def index(**changes):
    return lambda held: json.dumps({**json.loads(held), **changes}).encode()


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tokens-00001.bin", lambda held: held[:-2]),
        ("tokens-00001.bin", lambda held: held + b"ab"),
        ("ends-00000.bin", lambda held: held[:-3]),
        ("shards.json", lambda held: held[:-3]),
        ("shards.json", lambda held: b"[]"),
        ("shards.json", lambda held: b"[" * 100_000),
        ("shards.json", index(format=2)),
        ("shards.json", index(shards=[])),
        ("shards.json", index(shards=[{"tokens": -1, "documents": 1}])),
        ("shards.json", index(shards=[{"tokens": True, "documents": 1}])),
        ("shards.json", index(vocabulary_size="50")),
    ],
)
def test_a_cut_or_damaged_file_is_named(folder, tmp_path, name, change):
    with pytest.raises(ValueError, match=f"as `write_shards` wrote it. Received: .*{name}"):
        read_shards(damaged(folder, tmp_path, name, change))


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "tokens-00000.bin",
            lambda held: b"\xff\xff" + held[2:],
            "an id outside of the vocabulary of 50 in document 0",
        ),
        ("ends-00000.bin", lambda held: held[:8] + b"\0" * 8 + held[16:], "document 1 from"),
        ("ends-00000.bin", lambda held: b"\xff" * 8 + held[8:], "document 0 from"),
    ],
)
def test_altered_tokens_are_found_by_their_sum_or_when_they_make_no_sense(folder, tmp_path, name, change, message):
    damaged(folder, tmp_path, name, change)
    with pytest.raises(ValueError, match=f"{name} was cut off or altered"):
        read_shards(tmp_path, verify=True)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        list(read_shards(tmp_path))


@pytest.mark.once
def test_what_cannot_be_written_leaves_no_folder(tmp_path):
    for documents, message in (
        ([[1], [50]], "document 1"),
        ([], "no document"),
        ([[], []], "no document"),
        (["a"], "text"),
    ):
        with pytest.raises(ValueError, match=message):
            write_shards(documents, tmp_path / "a", 50)
        assert not list(tmp_path.iterdir())
    (tmp_path / "b").mkdir()
    with pytest.raises(
        ValueError, match="`folder` must be .* nothing is yet.*`read_shards`.* Received: folder=.*, which"
    ):
        write_shards([[1]], tmp_path / "b", 50)
    with pytest.raises(ValueError, match="without shards.json"):
        read_shards(tmp_path / "b")


@pytest.mark.once
def test_memory_does_not_grow_with_the_text(tmp_path):
    """8 million tokens, 16 MB of them, are written and read in a tenth of that."""
    document = np.arange(1000) % 50
    tracemalloc.start()
    shards = read_shards(write_shards((document for _ in range(8000)), tmp_path / "a", 50, shard_tokens=10**6))
    batches = PackedBatches(shards, length=512, batch_size=8, steps=100)
    for number in range(100):
        batches[number]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shards.num_tokens == 8_000_000
    assert peak < 1.6e6


def test_a_training_that_goes_on_sees_the_batches_of_one_that_was_not_killed(folder, tmp_path):
    def trained(epochs, place):
        keras.utils.set_random_seed(0)
        model = GPT(50, 16, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, packed=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=keras.backend.backend() == "tensorflow")
        batches = PackedBatches(read_shards(folder), length=16, batch_size=2, steps=3, end_id=0)
        callbacks = [batches.follow(), Backup(tmp_path / place)]
        model.fit(batches, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
        assert batches.epoch == epochs - 1  # whose batches are others than those of the first
        return [keras.ops.convert_to_numpy(weight) for weight in model.weights]

    whole = trained(3, "whole")
    first = trained(1, "cut")
    for each, other in zip(whole, trained(3, "cut"), strict=True):
        np.testing.assert_allclose(each, other, atol=1e-6)
    assert any(np.abs(each - other).max() > 1e-3 for each, other in zip(whole, first, strict=True))


@pytest.mark.once
def test_batches_depend_on_seed_epoch_and_number_alone(folder):
    shards = read_shards(folder)
    batches = PackedBatches(shards, length=20, batch_size=3)
    assert batches.num_batches == shards.num_tokens // 60
    held = [batches[number] for number in range(4)]
    assert np.array_equal(batches[1][1], held[1][1])
    assert np.array_equal(batches[3][2], held[3][2])
    batches.start_epoch(2)
    assert not np.array_equal(batches[0][1], held[0][1])
    batches.start_epoch(0)
    assert np.array_equal(batches[0][0]["token_ids"], held[0][0]["token_ids"])
    for wrong in (batches.num_batches, -1):
        with pytest.raises(IndexError, match=f"Received: number {wrong}"):
            batches[wrong]
    with pytest.raises(
        ValueError, match="`documents` must be what `read_shards` returns.*by `write_shards`.*class list"
    ):
        PackedBatches([[1, 2]], 20, 3)
    for wrong in ({"length": 10**6}, {"steps": 0}, {"batch_size": 0}, {"open_rows": 0}):
        with pytest.raises(ValueError, match="must"):
            PackedBatches(shards, **{"length": 20, "batch_size": 3, **wrong})
    assert pretraining.PackedBatches is PackedBatches


@pytest.mark.once
def test_what_is_written_can_be_read_and_a_number_is_an_integer(tmp_path):
    shards = read_shards(write_shards([[2**31 - 1, 0]], tmp_path / "wide", 2**31))
    np.testing.assert_array_equal(shards[np.int64(-1)], [2**31 - 1, 0])
    with pytest.raises(ValueError, match="`vocabulary_size` must be an integer from 1 to 2147483648"):
        write_shards([[2**31]], tmp_path / "wider", 2**31 + 1)
    for wrong in (0.5, "a", slice(1)):
        with pytest.raises(TypeError, match="integer"):
            shards[wrong]
