"""Whether a block is given a context exactly where it was built with one."""


def check(block, context, cache=None, **tensors):
    """Raises `ValueError` for a context where none was built or the reverse, and for what belongs to one where there is none.

    Args:
        block: the built block.
        context: what its call was given as `context`.
        cache: the same as `cache`, which holds what the context gave.
        **tensors: others that its call was given: those whose names begin with "context_" belong to a context.
    """
    if block.has_context:
        if context is None and cache is None:
            raise ValueError("`context` must be given to a block that was built with one. Received: context=None.")
        return
    for name, value in tensors.items():
        if name.startswith("context_") and value is not None:
            raise ValueError(
                f"`{name}` must be None where the block was built without a context. Received: {name} of shape "
                f"{tuple(value.shape)}."
            )
    if context is not None:
        raise ValueError(
            "`context` must be given in the first call, which builds the block, to be used in later ones. Received: context "
            f"of shape {tuple(context.shape)} for a block built without one."
        )
