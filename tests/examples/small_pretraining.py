"""A training of `bert_pretraining` small enough to be killed and started again.

`python small_pretraining.py FOLDER EPOCHS` is the process that is killed; the test itself goes on from what it left.
"""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
LETTERS = "abcdefghij"


def train(folder, epochs):
    """Trains, from the last whole epoch on if there is a backup; returns the history and the weights."""
    import bert_pretraining
    import keras
    import numpy as np
    from bert_batches import PretrainingBatches
    from bert_text import SPECIAL, make_tokenizer

    keras.utils.set_random_seed(0)
    tokenizer = make_tokenizer([*SPECIAL.values(), *LETTERS])
    random = np.random.default_rng(0)
    documents = [[[*random.integers(5, 15, 6)] for _ in range(6)] for _ in range(8)]
    batches = [PretrainingBatches(documents, tokenizer, length=32, batch=4, objective="token") for _ in range(2)]
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    model = bert_pretraining.build(tokenizer, size, "token")
    compiled = model.compile
    model.compile = lambda **options: compiled(**{**options, "jit_compile": False})  # XLA takes a third longer
    settings = {"rate": 1e-2, "epochs": epochs}
    history = bert_pretraining.train(model, *batches, settings, folder, verbose=0)
    return history, [keras.ops.convert_to_numpy(weight) for weight in model.weights]


if __name__ == "__main__":
    sys.path.insert(0, str(EXAMPLES))
    train(Path(sys.argv[1]), int(sys.argv[2]))
