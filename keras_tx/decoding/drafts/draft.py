"""Proposals from a smaller model."""

import math

from keras import ops

from ...graph import input_names
from .. import rewinding
from ..check import check
from ..decoder import Decoder, built
from ..loop import flat, like
from ..request import CHUNK
from ..step import empty_caches, logits_step
from .drafter import Drafter


class Draft(Drafter):
    """Lets a smaller model of the same vocabulary propose: the tokens that the sampler would choose by its logits.

    The sampler draws for the draft with the random numbers by which it will draw for the model at the same place, so that both
    mostly choose the same token where their distributions are alike. What comes out is what the model alone would give.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` that decodes, with as many logits as the model that it
            proposes to. Its inputs beside the ids are found by name in the `context`.
        num_tokens: int, how many tokens are proposed at once.
        output: str or int, which of several outputs is decoded (see `generate`).

    Raises:
        ValueError: unless `num_tokens` is an integer of at least 1.

    Example:

    ```python
    size = {"num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    model = keras_tx.applications.GPT(50, 64, num_layers=3, **size)
    draft = keras_tx.decoding.Draft(keras_tx.applications.GPT(50, 64, num_layers=1, **size), num_tokens=3)
    tokens = keras_tx.decoding.generate(model, [[3, 4, 5]], 8, draft=draft)  # (1, 11), those that the model alone gives
    ```

    Reference:
        Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding"; Daliri et al. 2025, "Coupling
        without Communication and Drafter-Invariant Speculative Decoding", for the shared random numbers.
    """

    def __init__(self, model, num_tokens=4, output=None):
        super().__init__(num_tokens)
        self.model, self.output = model, output

    def __repr__(self):
        return f"Draft({getattr(self.model, 'name', self.model)!r}, num_tokens={self.num_tokens})"

    def static(self):
        """Returns what a program is compiled for: how many tokens, and which output."""
        return {**super().static(), "output": self.output}

    def check(self, decoder, longest):
        """Raises `ValueError` unless the model decodes, has the vocabulary of a `Decoder`'s, and room for `longest` tokens."""
        own = self._own(decoder)
        if not own.cached_layers:
            raise ValueError(
                "`draft` must be a model that has layers with a cache, as one that decodes has. Received: "
                f"{own.model.name} with layers {[layer.name for layer in own.model.layers]}."
            )
        check(own)
        rewinding.check(own)
        sizes = [each.model.output_shape[-1] for each in (own, decoder)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "`draft` must be a model of the same vocabulary. Received: "
                f"{own.model.name} with {sizes[0]} logits, for {decoder.model.name} with {sizes[1]}."
            )
        if own.longest_sequence is not None and longest > own.longest_sequence:
            raise ValueError(
                "`draft` must be a model whose position table holds the prompt and the new tokens. Received: "
                f"{own.model.name} with sequence_length={own.longest_sequence}, {longest} tokens."
            )

    def decoders(self, decoder):
        """Returns a list of the `Decoder` of the model that proposes."""
        return [self._own(decoder)]

    def cost(self, decoder):
        """Returns what k steps of the model that proposes take, by the sizes of the weights, in steps of the other."""
        own, other = (
            sum(math.prod(weight.shape) for weight in each.model.weights) for each in (self._own(decoder), decoder)
        )
        return self.num_tokens * own / max(other, 1)

    def proposer(self, decoder, rows, capacity, conditioning):
        """Returns what proposes within one program."""
        own = self._own(decoder)
        conditioning = {name: value for name, value in conditioning.items() if name in own.conditioning}
        return _Proposer(own, self.num_tokens, rows, capacity, conditioning)

    def _own(self, decoder):
        names = input_names(built(self.model))
        return Decoder.of(self.model, self.output, tuple(name for name in decoder.conditioning if name in names))


class _Proposer(Drafter):
    """What proposes within one program. It keeps how many tokens of each row the model has read (B,), how many slots of the
    caches are in use, and the caches.
    """

    def __init__(self, decoder, num_tokens, rows, capacity, conditioning):
        self.decoder, self.num_tokens, self.rows = decoder, num_tokens, rows
        self.room = capacity + max(CHUNK, 4 * (num_tokens + 1))
        empty = empty_caches(decoder, rows, self.room, conditioning)
        self.empty = rewinding.with_spare_slots(empty, max(CHUNK, num_tokens))

    def begun(self):
        return [ops.zeros((self.rows,), "int32"), ops.zeros((), "int32"), *flat(self.empty)]

    def propose(self, kept, history, lengths, going, limits, choose):
        def read_prompt(read, slots, leaves):
            read, slots, caches, _ = self._read(read, slots, leaves, CHUNK, history, lengths - 2, going)
            return read, slots, flat(caches)

        def is_behind(read, slots, leaves):
            return ops.any(ops.logical_and(going, lengths - read > 2))

        read, slots, leaves = ops.while_loop(is_behind, read_prompt, (kept[0], kept[1], list(kept[2:])))
        # Two tokens at most: the last that was accepted, if all were, and the one that was chosen after it.
        last = ops.clip(lengths - read - 1, 0, 1)
        read, slots, caches, logits = self._read(read, slots, leaves, 2, history, lengths, going)
        logits = ops.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]
        proposals, before = [choose(logits, [])], caches
        for number in range(1, self.num_tokens):
            real = ops.logical_and(going, lengths + number <= limits)
            logits, caches = logits_step(self.decoder, proposals[-1][:, None], caches, real[:, None], last=True)
            proposals.append(choose(logits, proposals))
        added = self.num_tokens - 1
        fed = ops.where(going, ops.clip(limits - lengths, 0, added), 0)

        def settle(accepted):
            stay = ops.where(going, ops.minimum(accepted, fed), 0)
            after, freed = rewinding.take_back(before, caches, added, stay, fed) if added else (caches, 0)
            return [read + stay, slots + added - freed, *flat(after)]

        return ops.stack(proposals, axis=1), settle

    def _read(self, read, slots, leaves, count, history, ends, going):
        """Reads up to `count` tokens of the rows that go on, before `ends` (B,). Returns how many each row has read, the slots
        in use, the caches, and logits (B, count, V).
        """
        needed = count + self.num_tokens
        slots, leaves = rewinding.make_room(self.empty, slots, leaves, ops.max(read), needed, self.room)
        caches = like(self.empty, leaves)
        columns = ops.arange(count, dtype="int32")[None]
        places = read[:, None] + columns
        real = ops.logical_and(going[:, None], places < ends[:, None])
        ids = ops.take_along_axis(history, ops.clip(places, 0, history.shape[1] - 1), axis=1)
        logits, after = logits_step(self.decoder, ids, caches, real)
        kept = ops.sum(ops.cast(real, "int32"), axis=1)
        after, freed = rewinding.take_back(caches, after, count, kept, kept)
        return read + kept, slots + count - freed, after, logits
