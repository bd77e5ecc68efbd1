"""FNet beside BERT: rows that are full, and two models that take turns on the same batches."""

import bert_beside_fnet
import bert_pretraining
import keras
import numpy as np
import pytest
from bert_text import SPECIAL, make_tokenizer

pytestmark = pytest.mark.once  # numpy, and the example as it is run


def test_short_documents_are_joined_and_none_is_lost():
    documents = [[[1, 2], [3]], [[4]], [[5] * 9], [], [[6]]]
    found = bert_beside_fnet.joined(documents, 4)
    assert found == [[[1, 2], [3], [4]], [[5] * 9], [[6]]]


def test_both_train_on_the_same_batches_and_are_measured():
    keras.utils.set_random_seed(0)
    tokenizer = make_tokenizer([*SPECIAL.values(), *"abcdefghij"])
    random = np.random.default_rng(0)
    documents = [[[[*random.integers(5, 15, 6)] for _ in range(6)] for _ in range(8)] for _ in range(2)]
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    models = {kind: bert_pretraining.build(tokenizer, size, "token", kind, length=32) for kind in ("bert", "fnet")}
    steps = []

    def compile_model(model, total):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        steps.append(total)
        model.compile("adam", dict.fromkeys(model.output, loss), weighted_metrics={"masked_lm": ["accuracy"]})

    rows = bert_beside_fnet.compare(models, documents, tokenizer, 32, 20, 2, compile_model)
    assert steps == [20, 20] == [int(model.optimizer.iterations) for model in models.values()]
    assert [*rows] == ["bert", "fnet", "ratio", "filled"]
    assert all(0 < rows[kind]["loss"] < 20 and rows[kind]["milliseconds"] > 0 for kind in models)
    assert rows["ratio"] > 0
    assert 0.5 < rows["filled"] <= 1
    assert len(bert_beside_fnet.spelled(32, 2, rows).split()) == 12
    assert "fnet" in bert_beside_fnet.heading(models)
