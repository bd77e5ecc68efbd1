"""Whether a decoder block is given a context exactly where it was built with one."""


def check(block, context, cache, pairs=None):
    """Raises `ValueError` for a context where none was built or the reverse, and for pairs with none."""
    if not block.has_context and pairs is not None:
        raise ValueError(
            "`context_attention_mask` must be None where the block was built without a context. Received: "
            f"context_attention_mask of shape {tuple(pairs.shape)}."
        )
    if not block.has_context and context is not None:
        raise ValueError(
            "`context` must be given in the first call, which builds the block, to be used in later ones. Received: context "
            f"of shape {tuple(context.shape)} for a block built without one."
        )
    if block.has_context and context is None and cache is None:
        raise ValueError("`context` must be given to a block that was built with one. Received: context=None.")
