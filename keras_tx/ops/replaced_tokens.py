"""Replaced-token detection: a small model proposes tokens for hidden places, another tells which are not the original."""

import keras
from keras import ops

from .. import arguments
from . import token_ids as ids_checks
from .concrete import concrete

_LARGE = 1e38  # three of which are a float32


def replaced_tokens(
    token_ids, mask_positions, mask_ids, mask_weights, logits, special_ids=(0,), temperature=1.0, seed=None
):
    """Puts tokens that a generator proposes in the hidden places of texts, and says which differ from the original.

    In place p_m of a row stands a token drawn from softmax(logits_m / temperature); the label of a place is 1 if the token
    there is not the original, and 0 elsewhere, also where the draw is the original. No gradient reaches the logits.

    Args:
        token_ids: integer tensor (B, T), of which the hidden places may hold anything.
        mask_positions: integer tensor (B, M), the hidden places.
        mask_ids: integer tensor (B, M), the tokens that stood there.
        mask_weights: float tensor (B, M), 0 where a place of the M is unused.
        logits: float tensor (B, M, V), the generator's.
        special_ids: ids that are never drawn, such as padding, which the other model would take for padding; not even of logits
            that are no numbers.
        temperature: float above 0.
        seed: int, `keras.random.SeedGenerator`, or `None`.

    Returns:
        Two tensors (B, T): the tokens, int32, and the labels, float32.

    Raises:
        ValueError: for shapes that do not fit, ids that are no integers, special ids outside the vocabulary, or all of it; and,
            where values are known, for used places outside the text, or tokens of theirs outside the vocabulary. In a compiled
            function the former are left alone.

    Example:

    ```python
    ids, positions = np.array([[5, 3, 7, 0]]), np.array([[1, 0]])
    logits = 9.0 * np.eye(10, dtype="float32")[[[6, 2]]]  # the generator is nearly sure of 6
    tokens, labels = keras_tx.pretraining.replaced_tokens(
        ids, positions, np.array([[8, 0]]), np.array([[1.0, 0.0]]), logits, seed=1
    )  # [[5, 6, 7, 0]], [[0, 1, 0, 0]]
    ```

    Reference:
        Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", section 3.1.
    """
    temperature = arguments.positive_float("temperature", temperature)
    token_ids, mask_positions, mask_ids = map(ops.convert_to_tensor, (token_ids, mask_positions, mask_ids))
    mask_weights, logits = (ops.cast(ops.convert_to_tensor(each), "float32") for each in (mask_weights, logits))
    _check(token_ids, mask_positions, mask_ids, mask_weights, logits)
    vocabulary_size, (batch, length) = logits.shape[-1], ops.shape(token_ids)
    scores = _scores(ops.stop_gradient(logits) / temperature, _table(special_ids, vocabulary_size))
    drawn = keras.random.categorical(ops.reshape(scores, (-1, vocabulary_size)), 1, dtype="int32", seed=seed)
    drawn = ops.reshape(drawn, ops.shape(mask_positions))  # (B, M)
    used = ops.logical_and(mask_weights > 0, ops.logical_and(mask_positions >= 0, mask_positions < length))
    places = ops.where(used, ops.cast(mask_positions, "int32"), length)  # (B, M); what is unused goes behind the text
    rows = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], ops.shape(places))
    at = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(places, (-1,))], axis=-1)  # (B M, 2)
    text = ops.pad(ops.cast(token_ids, "int32"), [(0, 0), (0, 1)])  # (B, T + 1)
    original, replaced = (
        ops.scatter_update(text, at, ops.reshape(ops.cast(new, "int32"), (-1,)))[:, :-1] for new in (mask_ids, drawn)
    )
    return replaced, ops.cast(ops.not_equal(original, replaced), "float32")


def _scores(scores, is_special):
    """Returns finite scores, of which the largest is 0 and no special token's."""
    scores = ops.clip(ops.nan_to_num(scores, nan=-_LARGE), -_LARGE, _LARGE)
    scores = ops.where(is_special, ops.full((), -_LARGE, "float32"), scores)
    scores = scores - ops.max(scores, axis=-1, keepdims=True, initial=-_LARGE)
    return ops.where(is_special, ops.full((), -3.0 * _LARGE, "float32"), scores)


def special_tokens(special_ids, vocabulary_size=None):
    """Returns a tuple of the ids that are never drawn; raises `ValueError` unless they are ids and leave one to draw."""
    if isinstance(special_ids, str) or not hasattr(special_ids, "__iter__"):
        raise ValueError(f"`special_ids` must be a list of token ids. Received: special_ids={special_ids!r}.")
    if vocabulary_size is None:
        return tuple(arguments.integer("special_ids", each, least=0) for each in special_ids)
    found = tuple(arguments.token_id("special_ids", each, vocabulary_size) for each in special_ids)
    if len(set(found)) == vocabulary_size:
        raise ValueError(f"`special_ids` must leave a token to draw. Received: all {vocabulary_size} ids.")
    return found


def _table(special_ids, vocabulary_size):
    """Returns a boolean table (V,) of the ids that are never drawn."""
    found = special_tokens(special_ids, vocabulary_size)
    return ops.convert_to_tensor([place in found for place in range(vocabulary_size)])


def _check(token_ids, mask_positions, mask_ids, mask_weights, logits):
    for name, numbers in (("token_ids", token_ids), ("mask_positions", mask_positions), ("mask_ids", mask_ids)):
        ids_checks.check_whole(name, numbers, what="numbers")
    shapes = {
        "token_ids": tuple(token_ids.shape),
        "mask_positions": tuple(mask_positions.shape),
        "mask_ids": tuple(mask_ids.shape),
        "mask_weights": tuple(mask_weights.shape),
        "logits": tuple(logits.shape),
    }
    hidden = shapes["mask_positions"]
    fits = len(shapes["token_ids"]) == len(hidden) == 2 and len(shapes["logits"]) == 3
    pairs = [(shapes["token_ids"][:1], hidden[:1])] if fits else []
    pairs += [(shapes[name], hidden) for name in ("mask_ids", "mask_weights")] + [(shapes["logits"][:-1], hidden)]
    if not fits or any(_differ(one, other) for one, other in pairs):
        raise ValueError(f"The shapes must be (B, T), (B, M), (B, M), (B, M) and (B, M, V). Received: {shapes}.")
    weights = concrete(mask_weights)
    for name, numbers, size, where in (
        ("mask_positions", mask_positions, shapes["token_ids"][1], "the text"),
        ("mask_ids", mask_ids, shapes["logits"][-1], "the vocabulary"),
    ):
        values = None if weights is None else concrete(numbers)
        used = [] if values is None else values[weights > 0]
        if len(used) and not 0 <= used.min() <= used.max() < size:
            raise ValueError(
                f"`{name}` must hold numbers in [0, {size}), inside {where}, where `mask_weights` is above 0. Received: numbers "
                f"from {used.min()} to {used.max()}."
            )


def _differ(one, other):
    return len(one) != len(other) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True)
    )
