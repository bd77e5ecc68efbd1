"""What a draft is: how tokens are proposed."""

from keras import ops

from ... import arguments

NONE = -1  # stands where no token is proposed


class Drafter:
    """How tokens are proposed, `num_tokens` at once, and what is kept for that from step to step: a list of tensors.

    Args:
        num_tokens: int, k, how many tokens are proposed at once.
    """

    def __init__(self, num_tokens):
        self.num_tokens = arguments.positive_int("num_tokens", num_tokens)

    def check(self, decoder, longest):
        """Raises `ValueError` unless tokens can be proposed to a `Decoder`'s model, in rows of up to `longest` tokens."""

    def decoders(self, decoder):
        """Returns a list of the `Decoder`s that propose to another one's model."""
        return []

    def static(self):
        """Returns, by name, the hashable values that a program is compiled for."""
        return {"draft": type(self), "num_tokens": self.num_tokens}

    def cost(self, decoder):
        """Returns what it takes to propose once, in steps of one token of the `Decoder`'s model."""
        return 0.0

    def proposer(self, decoder, rows, capacity, conditioning):
        """Returns what proposes within one program: an object with `begun`, `is_ready` and `propose`, as this one has them.

        Args:
            decoder: `Decoder` to whose model tokens are proposed.
            rows: B, int or int32 scalar.
            capacity: int, S, the most tokens of a row.
            conditioning: dict from name to what the model is given beside the ids, tensors (B, ...).
        """
        return self

    def begun(self):
        """Returns what is kept from step to step, as it is before the first one: a list of tensors."""
        return []

    def is_ready(self, history, lengths, sure):
        """Returns which rows have tokens to propose, boolean (B,).

        Args:
            history: int32 (B, S), the tokens of each row.
            lengths: int32 (B,), how many these are.
            sure: boolean scalar, whether only such proposals are wanted as are likely to be right.
        """
        return ops.ones_like(lengths, dtype="bool")

    def propose(self, kept, history, lengths, going, limits, choose):
        """Returns k tokens to follow each row, int32 (B, k), `NONE` where there is none, and how that ends.

        Args:
            kept: list of tensors, as from `begun`.
            history: int32 (B, S), the tokens of each row.
            lengths: int32 (B,), how many these are.
            going: boolean (B,), which rows go on.
            limits: int32 (B,), the most tokens that a row may have.
            choose: function (logits (B, V), list of ids (B,)) -> ids (B,): what the sampler chooses after those proposals.

        Returns:
            The proposals, and the function from how many of them became tokens of each row, (B,), to what is kept.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `propose`.")
