"""Documents as token ids on disk, read through the memory map: more text than memory holds, in a seeded order."""

import bisect
import json
import operator
import os
import shutil
from pathlib import Path

import numpy as np

from .. import arguments
from ..atomic_folders import check_folder, partial, whole_folder
from .packing import check_document
from .permutation import permuted

_INDEX = "shards.json"


def write_shards(documents, folder, vocabulary_size, shard_tokens=2**26) -> Path:
    """Writes documents as token ids into a folder, which gets its name when all of it has reached the disk.

    Shard N is `tokens-N.bin`, the ids of its documents in a row, in 2 bytes each below a vocabulary of 65,536 and else in 4, and
    `ends-N.bin`, 8 bytes a document, where it ends; little endian. `shards.json` tells how many there are of each, and
    `SHA256SUMS` the sums of all files. One document at a time is held. An error leaves nothing behind; what a kill leaves, the
    next call for the same folder removes.

    Args:
        documents: iterable of documents, each a list or an array of token ids; empty ones are left out.
        folder: str or path, where nothing is yet.
        vocabulary_size: int, V, at most 2**31; ids lie in [0, V).
        shard_tokens: int, after how many tokens the next shard is begun. A document is never cut.

    Returns:
        The folder's path.

    Raises:
        ValueError: if there is something at `folder`; for a document that is no sequence of integers in [0, V), by its number;
            if there are no documents.

    Example:

    ```python
    documents = ([5, 6, 7], [8, 9], [3, 4])
    path = keras_tx.pretraining.write_shards(documents, f"{folder}/shards", vocabulary_size=10)
    shards = keras_tx.pretraining.read_shards(path)
    print(len(shards), shards.num_tokens, shards[1])  # 3 7 [8 9]
    ```
    """
    size = arguments.integer("vocabulary_size", vocabulary_size, least=1, most=2**31)
    shard_tokens = arguments.positive_int("shard_tokens", shard_tokens)
    folder = Path(folder)
    if folder.exists():
        raise ValueError(
            "`folder` must be a place where nothing is yet. Open shards that are there with `read_shards`, or write into another "
            f"folder. Received: folder={str(folder)!r}, which exists."
        )
    try:
        _write(documents, folder, size, shard_tokens)
    except BaseException:
        shutil.rmtree(partial(folder), ignore_errors=True)
        raise
    return folder


def _write(documents, folder, size, shard_tokens):
    dtype, shards, numbered = _dtype(size), [], enumerate(documents)
    pending = next(numbered, None)
    with whole_folder(folder) as beside:
        while pending is not None:
            tokens = count = 0
            names = [beside / name for name in _names(len(shards))]
            with open(names[0], "wb") as tokens_file, open(names[1], "wb") as ends_file:
                while pending is not None and tokens < shard_tokens:
                    ids = check_document(pending[1], pending[0], size)
                    if len(ids):
                        tokens, count = tokens + len(ids), count + 1
                        tokens_file.write(ids.astype(dtype).tobytes())
                        ends_file.write(np.array(tokens, "<u8").tobytes())
                    pending = next(numbered, None)
            if count:
                shards.append({"tokens": tokens, "documents": count})
        if not shards:
            raise ValueError("`documents` must hold tokens. Received: no document that does.")
        (beside / _INDEX).write_text(json.dumps({"format": 1, "vocabulary_size": size, "shards": shards}))


def read_shards(folder, verify=False) -> "TokenShards":
    """Opens a folder that `write_shards` wrote. Nothing is read but the index: tokens come from the disk as they are asked for.

    Args:
        folder: str or path.
        verify: bool, whether to read all files once and compare their sums, which finds altered tokens too. Sizes are always
            checked, and ids when a document is read.

    Returns:
        A `TokenShards`.

    Raises:
        ValueError: for a folder without an index, an index that is damaged, or a file that is missing, cut off or (with
            `verify`) altered, by its name.

    Example: see `write_shards`.
    """
    return TokenShards(folder, verify)


class TokenShards:
    """The documents of a folder, by number, as `read_shards` gives them.

    Attributes:
        folder: path.
        vocabulary_size: int, V.
        num_tokens: int, of all documents.
    """

    def __init__(self, folder, verify=False):
        self.folder = Path(folder)
        if arguments.flag("verify", verify):
            check_folder(self.folder)
        self.vocabulary_size, shards = self._index()
        self._dtype = _dtype(self.vocabulary_size)
        self._tokens, self._ends, self._firsts = [], [], [0]
        for number, (tokens, documents) in enumerate(shards):
            token_file, end_file = _names(number)
            self._tokens.append(self._mapped(token_file, self._dtype, tokens))
            self._ends.append(self._mapped(end_file, np.dtype("<u8"), documents))
            self._firsts.append(self._firsts[-1] + documents)
        self.num_tokens = sum(tokens for tokens, _ in shards)

    def __len__(self):
        return self._firsts[-1]

    def __getitem__(self, number):
        number = operator.index(number)
        if not -len(self) <= number < len(self):
            raise IndexError(f"There are {len(self)} documents. Received: number {number}.")
        number %= len(self)
        shard = bisect.bisect_right(self._firsts, number) - 1
        tokens, ends, own = self._tokens[shard], self._ends[shard], number - self._firsts[shard]
        first, end = int(ends[own - 1]) if own else 0, int(ends[own])
        if not first < end <= len(tokens):
            raise self._damaged(_names(shard)[1], f"document {number} from {first} to {end} of {len(tokens)} tokens")
        ids = np.array(tokens[first:end], "int32")
        if ids.max() >= self.vocabulary_size or ids.min() < 0:
            raise self._damaged(
                _names(shard)[0], f"an id outside of the vocabulary of {self.vocabulary_size} in document {number}"
            )
        return ids

    def __iter__(self):
        return (self[number] for number in range(len(self)))

    def shuffled(self, seed, start=0):
        """Yields all documents in one order after the other, without an end; each order is drawn anew from the seed.

        Args:
            seed: int.
            start: int, how many documents to pass over, which costs nothing.
        """
        seed, start = arguments.seed("seed", seed), arguments.integer("start", start, least=0)
        while True:
            lap, place = divmod(start, len(self))
            numbers = np.arange(place, min(place + 1024, len(self)))
            yield from (self[number] for number in permuted(numbers, len(self), (seed, lap)))
            start += len(numbers)

    def _index(self):
        file = self.folder / _INDEX
        if not file.is_file():
            raise ValueError(
                f"`folder` must be one that `write_shards` wrote. Received: folder={str(self.folder)!r}, without {_INDEX}."
            )
        try:
            index = json.loads(file.read_bytes())
            size, shards = index["vocabulary_size"], [(each["tokens"], each["documents"]) for each in index["shards"]]
            counts = [size, *(count for shard in shards for count in shard)]
            good = index["format"] == 1 and shards and all(type(count) is int and 0 < count < 2**62 for count in counts)
        except (ValueError, KeyError, TypeError, RecursionError):
            good = False
        if not good:
            raise self._damaged(_INDEX, "an index of another form")
        return size, shards

    def _mapped(self, name, dtype, count):
        file = self.folder / name
        held, wanted = file.stat().st_size if file.is_file() else None, count * dtype.itemsize
        if held != wanted:
            raise self._damaged(name, "no file" if held is None else f"{held} bytes in place of {wanted}")
        return np.memmap(file, dtype, "r")

    def _damaged(self, name, what):
        return ValueError(
            f"Each file must be as `write_shards` wrote it. Received: {os.fspath(self.folder / name)!r}, {what}."
        )


def _dtype(vocabulary_size):
    return np.dtype("<u2" if vocabulary_size <= 2**16 else "<u4")


def _names(number):
    return f"tokens-{number:05}.bin", f"ends-{number:05}.bin"
