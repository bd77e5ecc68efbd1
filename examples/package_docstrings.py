"""The docstrings that the installed packages carry, as documents of a language model: some 100,000, 56 MB, with all extras.

They are read off the syntax trees once, which takes minutes, and kept in a file; then tokenized once, and kept in shards.
"""

import ast
import json
import sys
from pathlib import Path

import numpy as np

import keras_tx
from keras_tx.backup import whole_file

_NOT_READ = {"test", "tests", "testing", "__pycache__"}
SHORTEST = 40  # characters


def folders():
    """Lists the folders of installed packages."""
    return sorted({Path(path) for path in sys.path if path.endswith(("site-packages", "dist-packages"))})


def load(cache, megabytes=None, roots=None, progress=print, one_of=1):
    """Returns docstrings as a dict from "file: number" to text, each text once.

    Args:
        cache: path of the file that keeps them, made if it is not there.
        megabytes: float, of how much text about, drawn from all files, or `None` for all.
        roots: list of folders to read, or `None` for those of installed packages.
        progress: function of a line.
        one_of: int, to read one file of so many.

    Raises:
        ValueError: where the folders hold no docstrings.
    """
    cache = Path(cache)
    if not cache.is_file():
        found = _read(roots or folders(), progress, one_of)
        if not found:
            raise ValueError(
                f"`roots` must hold packages with docstrings. Received: {[str(root) for root in roots or folders()]}."
            )
        with whole_file(cache) as beside:
            beside.write_text(json.dumps(found))
    found = json.loads(cache.read_text())
    if megabytes is None:
        return found
    names, size, kept = sorted(found), 0, {}
    for place in np.random.default_rng(0).permutation(len(names)):
        if size >= megabytes * 1e6:
            break
        text = found[names[place]]
        kept[names[place]], size = text, size + len(text)
    return kept


def _read(roots, progress, one_of):
    files = [(root, file) for root in roots for file in sorted(Path(root).rglob("*.py"))]
    files = [(root, file) for root, file in files if not _NOT_READ & set(file.relative_to(root).parts)]
    files, found, seen = files[::one_of], {}, set()
    for number, (root, file) in enumerate(files):
        if number % 2000 == 0:
            progress(f"docstrings: {number:,} of {len(files):,} files read, {sum(map(len, seen)) / 1e6:.0f} MB")
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError, RecursionError):  # templates, and files that are deliberately wrong
            continue
        for place, node in enumerate(ast.walk(tree)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = (ast.get_docstring(node) or "").strip()
                if len(text) >= SHORTEST and text not in seen:
                    seen.add(text)
                    found[f"{file.relative_to(root).as_posix()}: {place}"] = text
    return found


def encode(tokenizer, texts):
    """Yields the tokens of each text, the ids of a keras-hub `BytePairTokenizer`, by the faster package tokenizers."""
    import tokenizers

    merges = [tuple(merge.split(" ")) for merge in tokenizer.merges]
    fast = tokenizers.Tokenizer(tokenizers.models.BPE(dict(tokenizer.vocabulary), merges))
    fast.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = list(texts)
    for start in range(0, len(texts), 1000):
        for encoding in fast.encode_batch(texts[start : start + 1000]):
            yield encoding.ids


def shards(tokenizer, texts, folder):
    """Returns the token shards of texts, written if they are not there. Each document begins with id 0, which ends texts."""
    folder = Path(folder)
    if not folder.exists():
        documents = ([0, *ids] for ids in encode(tokenizer, texts))
        keras_tx.pretraining.write_shards(documents, folder, tokenizer.vocabulary_size())
    return keras_tx.pretraining.read_shards(folder)


def padded(documents, length, end_id):
    """Yields rows as `keras_tx.pretraining.pack` does, with one document or piece of a document in each."""
    for document in documents:
        yield from keras_tx.pretraining.pack([document], length, end_id=end_id)


class PaddedBatches(keras_tx.pretraining.PackedBatches):
    """Batches as `PackedBatches` makes them, of a document a row, for a model that takes no segments."""

    def rows(self, start):
        return padded(self.documents.shuffled(self.seed, start), self.length, **self.packing)

    def __getitem__(self, index):
        inputs, labels, weights = super().__getitem__(index)
        return inputs["token_ids"], labels, weights


def held_out_rows(documents, length, packed):
    """Returns inputs, labels and weights of all documents in rows, for the model that is trained on such rows."""
    rows = list(
        keras_tx.pretraining.pack(documents, length, end_id=0) if packed else padded(documents, length, end_id=0)
    )
    whole = {name: np.stack([row[name] for row in rows]) for name in ("token_ids", "segment_ids")}
    inputs, labels, weights = keras_tx.pretraining.next_tokens(whole)
    return inputs if packed else inputs["token_ids"], labels, weights
