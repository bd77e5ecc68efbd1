"""Linear sum assignment: each row of a matrix of costs gets a column of its own, at the least sum, for a whole batch at once."""

import keras
from keras import ops

from .concrete import check_tensor

_AVOIDED = 1e30  # so that no sum overflows


def linear_sum_assignment(cost, mask=None):
    """Assigns each row a column that no other row of its matrix has, so that the sum of the costs is the least possible.

    Rows are added one after another, each along the shortest augmenting path in reduced costs. All matrices go through one
    loop, each at its own row, so that none waits for the others between rows. It runs compiled (XLA on TensorFlow and JAX), and
    no gradient goes through.

    Args:
        cost: float tensor (..., N, M), N at most M. A cost that is NaN, infinite or beyond 1e30, of either sign, is avoided,
            and assigned only where a row can have nothing else.
        mask: boolean tensor (..., N), True for the rows that are to be assigned, or `None` for all. What stands in other rows is
            not looked at.

    Returns:
        Integer tensor (..., N), int32: the column of each row, -1 for rows that are masked out. Which one of several assignments
        of the least sum it is, is not said.

    Raises:
        ValueError: unless `cost` has at least two axes, of known sizes N and M with N at most M; for a mask of another shape, or
            that is not boolean.

    Example:

    ```python
    cost = np.array([[[4.0, 1.0, 3.0], [2.0, 0.0, 5.0]]])  # (1, 2, 3)
    columns = keras_tx.ops.assignment.linear_sum_assignment(cost)  # [[1, 0]], of cost 1 + 2
    ```

    Reference:
        Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear assignment problems";
        Crouse 2016, "On implementing 2D rectangular assignment algorithms".
    """
    check_tensor("cost", cost)
    shape = tuple(cost.shape)
    if len(shape) < 2 or None in shape[-2:] or shape[-2] > shape[-1]:
        raise ValueError(
            "`cost` must be of shape (..., rows, columns), of known numbers of rows and of columns, and no more rows than "
            f"columns. Received: cost of shape {shape}."
        )
    cost = ops.convert_to_tensor(cost)
    cost = ops.stop_gradient(ops.cast(cost, keras.backend.result_type(cost.dtype, "float32")))
    mask = ops.ones(ops.shape(cost)[:-1], dtype="bool") if mask is None else _checked(mask, shape)
    if not shape[-2]:
        return ops.zeros(ops.shape(cost)[:-1], dtype="int32")
    folded, real = ops.reshape(cost, (-1, *shape[-2:])), ops.reshape(mask, (-1, shape[-2]))  # (B, N, M), (B, N)
    row_of = _rows_of_columns(_finite(folded, real), real)[:, None, :]  # (B, 1, M)
    taken = ops.equal(row_of, ops.arange(shape[-2], dtype="int32")[None, :, None])  # (B, N, M)
    return ops.reshape(_place(taken)[..., 0], ops.shape(cost)[:-1])


def _checked(mask, shape):
    """Returns the mask as a tensor; raises `ValueError` unless it is a boolean for each row of costs of this shape."""
    check_tensor("mask", mask)
    mask = ops.convert_to_tensor(mask)
    given, dtype = tuple(mask.shape), keras.backend.standardize_dtype(mask.dtype)
    fits = len(given) == len(shape) - 1 and all(
        None in (a, b) or a == b for a, b in zip(given, shape[:-1], strict=True)
    )
    if dtype != "bool" or not fits:
        raise ValueError(
            f"`mask` must be a boolean for each row of `cost`. Received: mask of shape {given} and dtype {dtype}, cost of shape "
            f"{shape}."
        )
    return mask


def _finite(cost, mask):
    """Returns costs from 0 up with the same assignments of least sum, those to be avoided above any sum of the others."""
    usable = ops.logical_and(ops.abs(cost) < _AVOIDED, mask[..., None])  # not so for NaN
    least = ops.min(ops.where(usable, cost, _AVOIDED), axis=(1, 2), keepdims=True)
    cost = ops.where(usable, cost - least, 0.0)
    most = ops.max(cost, axis=(1, 2), keepdims=True)
    return ops.where(usable, cost, ops.where(most > 0, most, 1.0) * (cost.shape[1] + 1))


def _rows_of_columns(cost, mask):
    """Returns the row of each column, -1 for a column without one, (B, M), int32, of costs (B, N, M) and real rows (B, N).

    Prices are kept with `cost - row_price - column_price` 0 for assigned pairs and nowhere below, the sums of a path in which
    are its distances. A matrix is at one of three things: `row` is the row whose pairs are to be looked at; or `column` is the
    one to be handed over, on the path back from a free column; or both are -1, and the next row begins.
    """
    rows = ops.arange(cost.shape[1], dtype="int32")[None]  # (1, N)
    columns = ops.arange(cost.shape[2], dtype="int32")[None]  # (1, M)
    no_row, no_column = cost[:, :, 0] * 0.0, cost[:, 0, :] * 0.0  # zeros (B, N) and (B, M)
    nothing = ops.cast(no_row[:, :1], "int32") - 1  # (B, 1)

    def goes_on(waiting, row, column, *_):
        return ops.logical_or(ops.any(waiting), ops.any(ops.maximum(row, column) >= 0))

    def advance(waiting, row, column, row_seen, column_seen, distance, reached_from, row_of, row_price, column_price):
        begins = ops.logical_and(ops.maximum(row, column) < 0, ops.any(waiting, axis=1, keepdims=True))  # (B, 1)
        row = ops.where(begins, _place(waiting), row)
        here = ops.equal(rows, row)  # (B, N), nowhere True while a path is handed over
        waiting = ops.logical_and(waiting, ops.logical_not(here))
        row_seen = ops.logical_or(here, ops.logical_and(row_seen, ops.logical_not(begins)))
        column_seen = ops.logical_and(column_seen, ops.logical_not(begins))
        distance = ops.where(begins, float("inf"), distance)

        looks = row >= 0  # (B, 1)
        its_cost = ops.take_along_axis(cost, ops.maximum(row, 0)[..., None], axis=1)[:, 0]  # (B, M)
        reduced = its_cost - column_price - ops.sum(ops.where(here, row_price, 0.0), axis=1, keepdims=True)
        nearer = ops.logical_and(ops.logical_and(looks, ops.logical_not(column_seen)), reduced < distance)
        distance = ops.where(nearer, reduced, distance)
        reached_from = ops.where(nearer, row, reached_from)
        ahead = ops.where(column_seen, float("inf"), distance)
        nearest = ops.cast(ops.argmin(ahead, axis=1), "int32")[:, None]
        way = ops.where(looks, ops.min(ahead, axis=1, keepdims=True), 0.0)
        row_price = row_price + ops.where(row_seen, way, 0.0)
        column_price = column_price - ops.where(column_seen, way, 0.0)
        distance = distance - way
        found = ops.logical_and(looks, ops.equal(columns, nearest))
        column_seen = ops.logical_or(column_seen, found)
        owner = ops.sum(ops.where(found, row_of, 0), axis=1, keepdims=True)
        column = ops.where(looks, ops.where(owner < 0, nearest, -1), column)
        row = ops.where(looks, owner, row)

        # A row on the path takes the column in hand, and its own goes to the row before it; the first has none.
        in_hand = ops.equal(columns, column)  # (B, M), nowhere True while rows are looked at
        taker = ops.sum(ops.where(in_hand, reached_from, 0), axis=1, keepdims=True)
        given_up = ops.logical_and(column >= 0, ops.equal(row_of, taker))
        row_of = ops.where(in_hand, taker, row_of)
        column = _place(given_up)
        return waiting, row, column, row_seen, column_seen, distance, reached_from, row_of, row_price, column_price

    no_columns_row = ops.cast(no_column, "int32") - 1
    unseen = (ops.zeros_like(mask), ops.cast(no_column, "bool"))
    state = (mask, nothing, nothing, *unseen, no_column, no_columns_row, no_columns_row, no_row, no_column)
    return ops.while_loop(goes_on, advance, state)[7]


def _place(flags):
    """Returns the first place that is True along the last axis, which is kept, int32, -1 where none is."""
    first = ops.cast(ops.argmax(ops.cast(flags, "int32"), axis=-1, keepdims=True), "int32")
    return ops.where(ops.any(flags, axis=-1, keepdims=True), first, -1)
