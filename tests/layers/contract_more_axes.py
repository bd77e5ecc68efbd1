"""Rows of the contract table for inputs of other ranks: a grid, more axes before the positions, or none for the heads."""

from keras_tx import layers

from .contract_rows import CONTEXT, HEADS, INTERMEDIATE, LENGTH, MAP, VOCABULARY, WIDTH, Row

MORE_AXES = [
    Row(
        layers.FrozenBatchNormalization,
        lambda **kw: layers.FrozenBatchNormalization(**kw),
        inputs=(MAP,),
        outputs=MAP[1],
        frozen=4,
        carries_mask=None,
    ),
    Row(
        layers.LearnedQueries,
        lambda **kw: layers.LearnedQueries(CONTEXT, **kw),
        inputs=(MAP,),
        outputs=(CONTEXT, WIDTH),
        scaled=lambda length: (CONTEXT, WIDTH),
        trainable=1,
        carries_mask=None,
    ),
    Row(
        layers.MapToSequence,
        lambda **kw: layers.MapToSequence(**kw),
        inputs=(MAP,),
        outputs=(4 * LENGTH, WIDTH),
        scaled=lambda length: (length and 4 * length, WIDTH),
        carries_mask=None,
    ),
    Row(
        layers.PixelMask,
        lambda **kw: layers.PixelMask(resample=True, **kw),
        inputs=(MAP, ("int32", (9, 7))),
        outputs=MAP[1],
        carries_mask=None,
    ),
    Row(
        layers.SinusoidalGridPositions,
        lambda **kw: layers.SinusoidalGridPositions(100.0, **kw),
        inputs=(MAP,),
        outputs=(4 * LENGTH, WIDTH),
        scaled=lambda length: (length and 4 * length, WIDTH),
        carries_mask=None,
    ),
    Row(
        layers.GridPositionEncoding,
        lambda **kw: layers.GridPositionEncoding((LENGTH, 3), **kw),
        inputs=(MAP,),
        outputs=MAP[1],
        trainable=1,
        carries_mask=None,
    ),
    Row(
        layers.RotaryEmbedding,
        lambda **kw: layers.RotaryEmbedding(100.0, 6, scaling={"type": "linear", "factor": 2.0}, **kw),
        carries_mask=None,
        variant="no-heads",
    ),
    Row(
        layers.TokenAndPositionEmbedding,
        lambda **kw: layers.TokenAndPositionEmbedding(VOCABULARY, 8, WIDTH, **kw),
        inputs=(("int32", (LENGTH, CONTEXT)),),
        outputs=(LENGTH, CONTEXT, WIDTH),
        trainable=2,
        carries_mask=None,
        variant="more-axes",
    ),
    Row(
        layers.TokenMixing,
        lambda **kw: layers.TokenMixing(INTERMEDIATE, dropout=0.1, **kw),
        inputs=(MAP,),
        outputs=MAP[1],
        trainable=4,
        seeds=1,
        carries_mask=None,
        inner=("feed_forward/intermediate", "feed_forward/output_dense"),
    ),
    Row(
        layers.TransformerDecoder,
        lambda **kw: layers.TransformerDecoder(INTERMEDIATE, HEADS, bias_initializer="normal", **kw),
        inputs=(MAP, ("float32", (LENGTH, CONTEXT, WIDTH))),
        outputs=MAP[1],
        trainable=26,
        carries_mask=None,
        inner=("attention/query", "cross_attention/key"),
        variant="more-axes",
    ),
]
