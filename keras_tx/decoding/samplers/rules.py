"""Rules for choosing the next token: each is a function logits -> logits, usable alone, and `Sample` lines them up."""

from keras import ops

from ...ops import random_bits

EXCLUDED = -3.4028234e38  # the lowest float32
SMALLEST, LARGEST = 1e-30, 1e30  # XLA takes what is below the smallest normal float32 (1.2e-38) for 0


def temperature(logits, value):
    """Divides the logits (B, V) by a temperature above 0: below 1 the likely tokens gain, above 1 the others.

    A temperature outside [1e-30, 1e30] works as the nearest of these.
    """
    logits = ops.convert_to_tensor(logits)
    value = ops.clip(ops.cast(value, "float32"), SMALLEST, LARGEST)
    return ops.cast(ops.cast(logits, "float32") / value, logits.dtype)


def top_k(logits, k):
    """Keeps the k largest logits of each row (B, V), and those equal to the k-th; the others become the lowest float."""
    logits = ops.convert_to_tensor(logits)
    kth = ops.min(ops.top_k(logits, k, sorted=False)[0], axis=-1, keepdims=True)
    return ops.where(logits >= kth, logits, EXCLUDED)


def top_p(logits, p):
    """Keeps the most likely tokens of each row (B, V) that together reach probability p, at least one (nucleus
    sampling).

    Reference:
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """
    logits = ops.convert_to_tensor(logits)
    descending = -ops.sort(-logits, axis=-1)
    probabilities = ops.softmax(descending, axis=-1)
    before = ops.cumsum(probabilities, axis=-1) - probabilities  # the mass of the tokens ahead of each
    # The first whatever p rounds to, and with p = 1 all whatever their sum rounds to.
    first = ops.arange(logits.shape[-1]) == 0
    keeps = ops.logical_or(ops.logical_or(before < p, first), ops.cast(p, "float32") >= 1.0)
    kept = ops.where(keeps, descending, -EXCLUDED)
    return ops.where(logits >= ops.min(kept, axis=-1, keepdims=True), logits, EXCLUDED)


def min_p(logits, p):
    """Keeps the tokens of each row (B, V) at least p times as likely as its likeliest.

    Reference:
        Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling", section 3.
    """
    logits = ops.convert_to_tensor(logits)
    probabilities = ops.softmax(logits, axis=-1)
    return ops.where(probabilities >= p * ops.max(probabilities, axis=-1, keepdims=True), logits, EXCLUDED)


def repetition_penalty(logits, seen, penalty):
    """Makes tokens that were seen less likely: positive logits (B, V) are divided by the penalty, negative ones
    multiplied.

    Args:
        logits: float (B, V).
        seen: boolean (B, V), the tokens in the prompt and in what was generated.
        penalty: float above 0; 1 changes nothing. One outside [1e-30, 1e30] works as the nearest of these.

    Reference:
        Keskar et al. 2019, "CTRL", section 4.1.
    """
    logits = ops.convert_to_tensor(logits)
    penalty = ops.cast(ops.clip(ops.cast(penalty, "float32"), SMALLEST, LARGEST), logits.dtype)
    return ops.where(seen, ops.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(logits, seed):
    """Draws a token of each row from softmax(logits), by the Gumbel trick; equal seeds give equal tokens everywhere.

    Args:
        logits: float32 (B, V); a token whose logit is the lowest float is never drawn.
        seed: int32 (2,), such as a `Sampler` is given; or (3, B), a seed for each row and its place in the batch.

    Returns:
        The drawn ids, int32 (B,).
    """
    seed = ops.convert_to_tensor(seed)
    if len(seed.shape) == 1:
        bits = random_bits.top_bits(ops.shape(logits), seed, 24)
    else:
        bits = random_bits.top_bits_of_rows(seed[2], logits.shape[-1], seed[:2], 24)
    bits = ops.cast(bits, "float32")
    # Below 1, to which the largest would round: its token would be drawn whatever its logit, even one that was excluded.
    uniform = ops.minimum((bits + 0.5) * 2.0**-24, 1.0 - 2.0**-24)
    return ops.cast(ops.argmax(logits - ops.log(-ops.log(uniform)), axis=-1), "int32")
