"""Caches that a layer cannot use, and caches that cannot be made."""

import keras
import pytest
from keras import ops

from keras_tx.layers import (
    LearnedPositionEncoding,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    SinusoidalPositionEncoding,
    TokenAndPositionEmbedding,
    TransformerDecoder,
)

BATCH, LENGTH, WIDTH, HEADS = 2, 3, 8, 2
STEPPERS = {
    LearnedPositionEncoding: lambda: LearnedPositionEncoding(6),
    MultiHeadCrossAttention: lambda: MultiHeadCrossAttention(HEADS),
    MultiHeadSelfAttention: lambda: MultiHeadSelfAttention(HEADS),
    SinusoidalPositionEncoding: SinusoidalPositionEncoding,
    TokenAndPositionEmbedding: lambda: TokenAndPositionEmbedding(11, 6, WIDTH),
    TransformerDecoder: lambda: TransformerDecoder(16, HEADS),
}
every_stepper = pytest.mark.parametrize("layer", STEPPERS, ids=lambda layer: layer.__name__)
counting = pytest.mark.parametrize(
    "layer",
    [LearnedPositionEncoding, SinusoidalPositionEncoding, TokenAndPositionEmbedding],
    ids=lambda layer: layer.__name__,
)


def inputs(layer, batch=BATCH, symbolic=False):
    shape, dtype = (batch, LENGTH, WIDTH), "float32"
    if isinstance(layer, TokenAndPositionEmbedding):
        shape, dtype = shape[:2], "int32"
    return keras.KerasTensor(shape, dtype) if symbolic else ops.ones(shape, dtype=dtype)


def context(batch=BATCH):
    return ops.ones((batch, 4, 6))


def built(layer):
    layer = STEPPERS[layer]()
    layer(inputs(layer), *([context()] if isinstance(layer, MultiHeadCrossAttention) else []))
    return layer


@every_stepper
def test_a_layer_that_is_not_built_makes_no_cache(layer):
    layer = STEPPERS[layer]()
    with pytest.raises(
        ValueError, match=f"must be built .* before `init_cache`. Received: {layer.name}, which is not built"
    ):
        layer.init_cache(BATCH, 5)


@every_stepper
def test_a_cache_of_impossible_size_is_refused(layer):
    layer = built(layer)
    for value in (-1, 2.0, "2", None, True):
        with pytest.raises(ValueError, match=f"`batch_size` must be .* at least 0. Received: batch_size={value!r}"):
            layer.init_cache(value, 5)
    for value in (0, -3, 5.0, "5", None, True):
        with pytest.raises(
            ValueError, match=f"`max_length` must be a positive integer. Received: max_length={value!r}"
        ):
            layer.init_cache(BATCH, value)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("layer", [MultiHeadSelfAttention, MultiHeadCrossAttention], ids=lambda layer: layer.__name__)
def test_an_attention_refuses_the_cache_of_another_batch_or_of_another_layer(layer, symbolic):
    layer = built(layer)
    filled = [context(3)] if isinstance(layer, MultiHeadCrossAttention) else []
    said = (
        r"`cache` must come from this layer's.* keys of shape \(6, \d, 4\) for inputs of shape \(2, 3, 8\) and 2 heads"
    )
    with pytest.raises(ValueError, match=said):
        layer(inputs(layer, symbolic=symbolic), cache=layer.init_cache(3, 4, *filled))
    other = MultiHeadSelfAttention(4)
    other(inputs(other))
    with pytest.raises(
        ValueError, match=r"keys of shape \(8, 5, 2\) for inputs of shape \(2, 3, 8\) and 2 heads of size 4"
    ):
        layer(inputs(layer, symbolic=symbolic), cache=other.init_cache(BATCH, 5))
    for value in (ops.zeros((2,)), "cache", (1, 2), {}):
        with pytest.raises(ValueError, match=r"`cache` must be a KVCache from `init_cache`. Received: cache of type"):
            layer(inputs(layer, symbolic=symbolic), cache=value)


@pytest.mark.parametrize("layer", [MultiHeadSelfAttention, TransformerDecoder], ids=lambda layer: layer.__name__)
def test_more_tokens_than_a_cache_has_room_for_are_refused(layer):
    layer = built(layer)
    _, cache = layer(inputs(layer), cache=layer.init_cache(BATCH, 5))
    with pytest.raises(ValueError, match="must have room .* Received: 3 more tokens, with 3 of 5 slots in use"):
        layer(inputs(layer), cache=cache)


@pytest.mark.parametrize("symbolic", [False, True])
def test_a_decoder_refuses_what_is_no_pair_of_caches(symbolic):
    block = built(TransformerDecoder)
    own, _ = block.init_cache(BATCH, 5)
    for value, said in [(own, "KVCache with 4 parts"), ((own,), "tuple with 1 parts"), ("ab", "str"), ({}, "dict")]:
        with pytest.raises(ValueError, match=f"`cache` must be the pair of caches.* Received: cache of type {said}"):
            block(inputs(block, symbolic=symbolic), cache=value)
    with pytest.raises(ValueError, match=r"`cache` must come from this layer's.* for inputs of shape \(1, 3, 8\)"):
        block(inputs(block, 1, symbolic), cache=(own, None))


def test_a_cross_attention_fills_its_cache_from_a_context_of_the_same_batch_size():
    layer = built(MultiHeadCrossAttention)
    with pytest.raises(ValueError, match="`context` must be given .* Received: context=None"):
        layer.init_cache(BATCH, 5)
    with pytest.raises(
        ValueError, match=r"`batch_size` must be that of `context`. .* batch_size=2, context of shape \(3, 4, 6\)"
    ):
        layer.init_cache(BATCH, 5, context(3))
    with pytest.raises(
        ValueError, match=r"`context_mask` must have shape \(2, 4\). Received: context_mask of shape \(2, 5\)"
    ):
        layer.init_cache(BATCH, 5, context(), ops.ones((2, 5), dtype="bool"))
    with pytest.raises(ValueError, match=r"`context` must have at least 3 axes, the last of size 6 as built"):
        layer.init_cache(BATCH, 5, ops.ones((2, 4, 7)))


def test_a_decoder_takes_a_context_for_its_cache_only_if_it_was_built_with_one():
    with pytest.raises(
        ValueError, match=r"`context` must be given in the first call.* Received: context of shape \(2, 4, 6\)"
    ):
        built(TransformerDecoder).init_cache(BATCH, 5, context())
    block = TransformerDecoder(16, HEADS)
    block(inputs(block), context())
    with pytest.raises(ValueError, match="`context` must be given .* Received: context=None"):
        block.init_cache(BATCH, 5)


@counting
@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(("shape", "dtype"), [((3,), "int32"), ((3,), "float32"), ((2, 2), "int32"), ((), "int32")])
def test_a_count_of_tokens_has_an_integer_for_each_row(layer, symbolic, shape, dtype):
    layer = built(layer)
    said = rf"`cache` must be the count of tokens .* of shape \(2,\). Received: cache of shape \(.*\) and dtype {dtype}"
    with pytest.raises(ValueError, match=said):
        layer(inputs(layer, symbolic=symbolic), cache=ops.zeros(shape, dtype=dtype))


@counting
def test_a_count_of_tokens_is_whole(layer):
    layer = built(layer)
    with pytest.raises(ValueError, match="`cache` must hold integer counts. Received: 0.5 in cache of dtype float32"):
        layer(inputs(layer), cache=ops.full((BATCH,), 0.5))


@counting
def test_a_count_of_tokens_is_a_tensor(layer):
    layer = built(layer)
    with pytest.raises(ValueError, match="`cache` must be a tensor. Received: cache of type str"):
        layer(inputs(layer), cache="cache")


def test_an_embedding_refuses_to_grow_beyond_its_position_table():
    layer = built(TokenAndPositionEmbedding)
    _, cache = layer(inputs(layer), cache=layer.init_cache(BATCH, 9))
    _, cache = layer(inputs(layer), cache=cache)
    with pytest.raises(ValueError, match=r"longer than the position table. Received: position 8 .* sequence_length=6"):
        layer(inputs(layer), cache=cache)
