"""The vectors that a table of positions has for the places of a sequence: counted, given, or after those in a cache."""

from keras import ops

from ..ops import positions, sizes, token_ids
from ..ops.concrete import is_placeholder


def vectors(table, size, length, given=None, mask=None, cache=None, offset=0):
    """Returns the table's vector for each place.

    A position that has none, outside [0, size), is an error wherever values are known, and gets zeros in compiled functions. So
    does padding after the last place of the table.

    Args:
        table: layer that embeds integers, of `offset + size` rows.
        size: int, how many positions there are.
        length: T, of the inputs.
        given: integers (T,) or (..., T), the positions themselves, or `None`.
        mask: boolean (B, T), beside a cache: the real places, which alone are counted.
        cache: integers (B,), how many tokens of each row came before, or `None`.
        offset: int, how many rows of the table stand before that of the first position.

    Returns:
        A float tensor (T, D), or (..., T, D) where positions are given or follow those in a cache.
    """
    if given is not None:
        given = token_ids.check("positions", given, size, len(given.shape), "sequence_length", "positions")
    elif cache is None:
        length = token_ids.check_length("inputs", length, size)
        if not is_placeholder(length) and (sizes.known(length) is not None or ops.is_tensor(length)):
            # Cut to the table: XLA drops the check of a length that it learns last, and then cannot add too few.
            return table(positions.position_ids(length)[:size] + offset)
        # Symbols of JAX and torch cannot be cut, and Keras builds with a size of its own in place of any.
        given = positions.position_ids(length)
    else:
        if mask is None:
            length = token_ids.check_length("inputs", length, size)
        given = positions.position_ids(length, mask, cache)
        token_ids.check_positions(given, size, mask)
    return token_ids.look_up(table, given, size, offset)
