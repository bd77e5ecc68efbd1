"""A training of `bert_pretraining` small enough to be killed and started again.

    python small_pretraining.py FOLDER EPOCHS

Leaves `history.json` and `weights.npz` in the folder when it ends.
"""

import json
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
LETTERS = "abcdefghij"


def main():
    """Trains, from the last whole epoch on if there is a backup."""
    sys.path.insert(0, str(EXAMPLES))
    import bert_pretraining
    import keras
    import numpy as np
    from bert_batches import PretrainingBatches
    from bert_text import SPECIAL, make_tokenizer

    folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
    keras.utils.set_random_seed(0)
    tokenizer = make_tokenizer([*SPECIAL.values(), *LETTERS])
    random = np.random.default_rng(0)
    documents = [[[*random.integers(5, 15, 6)] for _ in range(6)] for _ in range(8)]
    batches = [PretrainingBatches(documents, tokenizer, length=32, batch=4, objective="token") for _ in range(2)]
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    model = bert_pretraining.build(tokenizer, size, "token")
    settings = {"rate": 1e-2, "epochs": epochs}
    history = bert_pretraining.train(model, *batches, settings, folder, verbose=0)
    np.savez(folder / "weights.npz", *[keras.ops.convert_to_numpy(weight) for weight in model.weights])
    (folder / "history.json").write_text(json.dumps(history))


if __name__ == "__main__":
    main()
