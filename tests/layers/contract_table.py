"""The contract table: a row, or some, for every public layer."""

from keras_tx import layers

from .contract_attention import ATTENTIONS
from .contract_blocks import BLOCKS
from .contract_more_axes import MORE_AXES
from .contract_rows import (
    CONTEXT,
    HEADS,
    IDS,
    IN_HEADS,
    INTERMEDIATE,
    LENGTH,
    MAP,
    OTHER,
    PLACES,
    VOCABULARY,
    WIDTH,
    Row,
    X,
)


def _tied(dtype=None, **kwargs):
    embedding = layers.TokenAndPositionEmbedding(VOCABULARY, 8, WIDTH, name="embedding", dtype=dtype)
    return layers.TiedLogits(embedding, use_bias=True, dtype=dtype, **kwargs)


def _stemmed(dtype=None, **kwargs):
    stem = layers.ConvolutionalStem((4,), name="stem", dtype=dtype)
    return layers.PatchEmbedding((2, 4), WIDTH, padding="keep", stem=stem, dtype=dtype, **kwargs)


ROWS = [
    Row(
        layers.AlibiBias,
        lambda **kw: layers.AlibiBias(HEADS, **kw),
        inputs=(PLACES, PLACES),
        outputs=(HEADS, CONTEXT, CONTEXT),
        scaled=lambda length: (HEADS, length, length),
        carries_mask=None,
    ),
    Row(
        layers.ClassToken,
        lambda **kw: layers.ClassToken(2, initializer="normal", **kw),
        inputs=(MAP,),
        outputs=(2 + 4 * LENGTH, WIDTH),
        scaled=lambda length: (length and 2 + 4 * length, WIDTH),
        trainable=2,
        carries_mask=None,
    ),
    Row(
        layers.ConvolutionalStem,
        lambda **kw: layers.ConvolutionalStem((4, 6), (1, 2), **kw),
        inputs=(("float32", (LENGTH, 8, 3)),),
        outputs=((LENGTH + 1) // 2, 4, 6),
        scaled=lambda length: (length if length is None else (length + 1) // 2, 4, 6),
        trainable=6,
        carries_mask=None,
    ),
    Row(
        layers.CopyLogits,
        lambda **kw: layers.CopyLogits(**kw),
        inputs=(X, ("logits", (LENGTH, VOCABULARY)), OTHER, ("int32", (CONTEXT,))),
        outputs=(LENGTH, VOCABULARY),
        trainable=3,
        inner=("query", "gate"),
    ),
    Row(
        layers.Dropout,
        lambda **kw: layers.Dropout(0.25, noise_shape=(None, 1, None), seed=1, **kw),
        seeds=1,
    ),
    Row(layers.DropPath, lambda **kw: layers.DropPath(0.25, seed=1, **kw), seeds=1),
    Row(
        layers.FeedForward,
        lambda **kw: layers.FeedForward(INTERMEDIATE, dropout=0.1, **kw),
        trainable=4,
        seeds=1,
        inner=("intermediate", "output_dense"),
    ),
    Row(
        layers.FeedForward,
        lambda **kw: layers.FeedForward(INTERMEDIATE, "silu", gated=True, use_bias=False, **kw),
        trainable=3,
        inner=("intermediate", "gate", "output_dense"),
        variant="gated",
    ),
    # Its sums over positions and channels are too large for the steps of the other layers.
    Row(layers.FourierMixing, lambda **kw: layers.FourierMixing(**kw), connect=lambda layer, x: 0.1 * layer(x)),
    Row(
        layers.GatherPositions,
        lambda **kw: layers.GatherPositions(**kw),
        inputs=(X, PLACES),
        outputs=(CONTEXT, WIDTH),
        carries_mask=False,
    ),
    Row(
        layers.RegionEmbedding,
        lambda **kw: layers.RegionEmbedding(WIDTH, **kw),
        inputs=(X, ("boxes", (LENGTH, 4))),
        trainable=4,
        inner=("features", "location"),
    ),
    Row(
        layers.RelativePositionBias,
        lambda **kw: layers.RelativePositionBias(HEADS, 4, 3, bias_initializer="normal", **kw),
        outputs=(7, HEADS),
        scaled=lambda length: (7, HEADS),
        trainable=1,
        carries_mask=None,
        has_batch=False,
        connect=lambda layer, x: 0.0 * x[:, :1, :1] + layer(x),
    ),
    Row(layers.RMSNormalization, lambda **kw: layers.RMSNormalization(**kw), trainable=1),
    Row(
        layers.RMSNormalization,
        lambda **kw: layers.RMSNormalization(zero_centered=True, **kw),
        trainable=1,
        variant="zero-centered",
    ),
    Row(layers.LayerScale, lambda **kw: layers.LayerScale(0.5, **kw), trainable=1),
    Row(
        layers.LearnedPositionEncoding,
        lambda **kw: layers.LearnedPositionEncoding(8, offset=2, embeddings_initializer="he_normal", **kw),
        trainable=1,
    ),
    Row(
        layers.MaskedMeanPooling,
        lambda **kw: layers.MaskedMeanPooling(**kw),
        outputs=(WIDTH,),
        carries_mask=False,
    ),
    Row(
        layers.MaskedMeanPooling,
        lambda **kw: layers.MaskedMeanPooling(skip=1, **kw),
        outputs=(WIDTH,),
        carries_mask=False,
        variant="skip",
    ),
    *ATTENTIONS,
    Row(
        layers.PatchEmbedding,
        lambda **kw: layers.PatchEmbedding((1, 3), WIDTH, padding="keep", **kw),
        inputs=(("float32", (LENGTH, 8, 3)),),
        outputs=(LENGTH, 3, WIDTH),
        trainable=2,
        carries_mask=None,
        inner=("projection",),
    ),
    Row(
        layers.PatchEmbedding,
        _stemmed,
        inputs=(("float32", (LENGTH, 8, 3)),),
        outputs=((LENGTH + 1) // 2, 2, WIDTH),
        scaled=lambda length: (length if length is None else (length + 1) // 2, 2, WIDTH),
        trainable=5,
        carries_mask=None,
        inner=("projection",),
        variant="stem",
    ),
    Row(
        layers.PatchMerging,
        lambda **kw: layers.PatchMerging(**kw),
        inputs=(MAP,),
        outputs=((LENGTH + 1) // 2, 2, 2 * WIDTH),
        scaled=lambda length: (length if length is None else (length + 1) // 2, 2, 2 * WIDTH),
        trainable=3,
        carries_mask=None,
        inner=("reduction",),
    ),
    Row(
        layers.RotaryEmbedding,
        lambda **kw: layers.RotaryEmbedding(100.0, **kw),
        inputs=(IN_HEADS,),
        outputs=IN_HEADS[1],
        carries_mask=None,
    ),
    Row(
        layers.SegmentEmbedding,
        lambda **kw: layers.SegmentEmbedding(VOCABULARY, WIDTH, **kw),
        inputs=(IDS,),
        trainable=1,
        inner=("segment_embedding",),
    ),
    Row(
        layers.SinusoidalPositionEncoding,
        lambda **kw: layers.SinusoidalPositionEncoding(100.0, **kw),
    ),
    Row(
        layers.SinusoidalPositionEncoding,
        lambda **kw: layers.SinusoidalPositionEncoding(100.0, interleaved=False, **kw),
        variant="halves",
    ),
    Row(
        layers.SpanBoundary,
        lambda **kw: layers.SpanBoundary(CONTEXT, **kw),
        inputs=(X, PLACES, PLACES, PLACES),
        outputs=(CONTEXT, WIDTH),
        trainable=9,
        carries_mask=False,
        inner=("boundary", "transform"),
    ),
    Row(
        layers.TiedLogits,
        _tied,
        outputs=(LENGTH, VOCABULARY),
        trainable=3,
        inner=("embedding/token_embedding",),
        graph_inputs=(IDS,),
        connect=lambda layer, ids: layer(layer.embedding(ids)),
    ),
    Row(
        layers.TokenAndPositionEmbedding,
        lambda **kw: layers.TokenAndPositionEmbedding(VOCABULARY, 8, WIDTH, embeddings_initializer="he_normal", **kw),
        inputs=(IDS,),
        trainable=2,
        inner=("token_embedding",),
    ),
    Row(
        layers.WindowAttention,
        lambda **kw: layers.WindowAttention(HEADS, (3, 2), (1, 1), dropout=0.1, **kw),
        inputs=(MAP,),
        outputs=MAP[1],
        trainable=9,
        seeds=1,
        carries_mask=None,
        inner=("attention/query", "attention/attention_output"),
    ),
    Row(
        layers.WindowPositionBias,
        lambda **kw: layers.WindowPositionBias(HEADS, (2, 3), "normal", **kw),
        inputs=(PLACES, PLACES),
        outputs=(HEADS, CONTEXT, CONTEXT),
        scaled=lambda length: (HEADS, length, length),
        trainable=1,
        carries_mask=None,
    ),
    *BLOCKS,
    *MORE_AXES,
]
