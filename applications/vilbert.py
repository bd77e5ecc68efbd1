"""ViLBERT: a stream of words and one of image regions, which attend to each other.

The words pass through blocks of BERT, the regions through blocks of their own width. Between them stand co-attentions, each of
two blocks that run side by side: one in which words attend to regions, and one in which regions attend to words, both reading
what both streams were before. Such a block is `TransformerEncoder` with `MultiHeadCrossAttention` in its slot: attention to the
context, add and norm, feed-forward network, add and norm. The first word, [CLS], and the first region, which stands for the whole
image, are mapped by a layer with ReLU each, and the heads read their product.
"""

import keras
from keras import ops

from .. import arguments
from ..layers import Dropout, MultiHeadCrossAttention, RegionEmbedding, TransformerEncoder
from ..layers.dense import Dense
from ..layers.normalization import LayerNormalization
from ..quantization import with_layer_structure
from .bert import BERT_SIZES, embed

# Lu et al. 2019, section 3.1, and the config "bert_base_6layer_6conect" of the authors' code.
VILBERT_SIZES = {
    "base": {
        **BERT_SIZES["base"],
        "region_dim": 2048,
        "num_region_layers": 6,
        "num_region_heads": 8,
        "region_hidden_dim": 1024,
        "region_intermediate_dim": 1024,
        "num_co_attention_heads": 8,
        "co_attention_dim": 1024,
        "text_blocks_before": (6, 7, 8, 9, 10, 11),
        "region_blocks_before": (0, 1, 2, 3, 4, 5),
    }
}
INPUTS = ("token_ids", "segment_ids", "region_features", "boxes", "num_regions")


def ViLBERT(
    vocabulary_size,
    sequence_length,
    num_layers,
    num_heads,
    hidden_dim,
    intermediate_dim,
    region_dim,
    num_region_layers,
    num_region_heads,
    region_hidden_dim,
    region_intermediate_dim,
    num_co_attention_heads,
    co_attention_dim,
    text_blocks_before,
    region_blocks_before,
    num_segments=2,
    dropout=0.1,
    activation="gelu",
    layer_norm_epsilon=1e-12,
    padding_id=0,
    recompute=False,
    attention_dropout=None,
    initializer_stddev=0.02,
    name="vilbert",
) -> keras.Model:
    """Builds the two streams of ViLBERT.

    Args:
        vocabulary_size: int, V.
        sequence_length: int, the longest text, the length of the table of positions.
        num_layers: int, how many blocks of self-attention the words have.
        num_heads: int, of these.
        hidden_dim: int, D, of the words.
        intermediate_dim: int, the width of the feed-forward networks of the words, those of co-attention among them.
        region_dim: int, F, how many features a region has.
        num_region_layers: int, how many blocks of self-attention the regions have.
        num_region_heads: int, of these.
        region_hidden_dim: int, E, of the regions.
        region_intermediate_dim: int, the width of the feed-forward networks of the regions.
        num_co_attention_heads: int, of the attention from words to regions and back.
        co_attention_dim: int, the width of all these heads together, and of the two pooled outputs, P.
        text_blocks_before: tuple of int, for each co-attention how many blocks of the words come before it.
        region_blocks_before: tuple of int, as long, the same of the regions. The blocks that are left follow the last one. Of
            empty tuples come two streams that know nothing of each other.
        num_segments: int, how many segments a text may have.
        dropout: float in [0, 1), on the embeddings and the branches, and on the attention weights unless `attention_dropout` is
            given, in training.
        activation: name or function, of the feed-forward networks.
        layer_norm_epsilon: float.
        padding_id: int, the token that is padding.
        recompute: bool, whether training computes each block's inner values again instead of keeping them: less memory for
            about a third more time.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`.
        initializer_stddev: float, the standard deviation with which kernels and tables start.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `token_ids` (B, T) and `segment_ids` (B, T), float32 `region_features`
        (B, R, F) and `boxes` (B, R, 4), [x1, y1, x2, y2] in fractions of the image, and int32 `num_regions` (B,), how many of the
        regions are real, to a dict of `text_output` (B, T, D), `region_output` (B, R, E), `pooled_text` (B, P) and
        `pooled_regions` (B, P), which read the first token and region, so that T and R must be at least 1. The first
        region stands for the whole image: in the published model it has the mean of the others' features and the box
        [0, 0, 1, 1]. `analysis.attention_maps` names the co-attentions by their direction: "text_to_regions_0"
        (B, N, T, R) is how much each word attends to each region, "regions_to_text_0" (B, N, R, T) the reverse.

    Raises:
        ValueError: for a `padding_id` outside the vocabulary, a `co_attention_dim` that its heads do not divide, numbers of
            blocks before the co-attentions that fall or that there are not, and from the layers.

    Example:

    ```python
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    sizes |= {"region_dim": 6, "num_region_layers": 1, "num_region_heads": 2, "region_hidden_dim": 12}
    sizes |= {"region_intermediate_dim": 12, "num_co_attention_heads": 2, "co_attention_dim": 12}
    model = keras_tx.applications.ViLBERT(100, 16, **sizes, text_blocks_before=(1, 2), region_blocks_before=(0, 1))
    ids = np.array([[2, 20, 30, 3, 0]])  # [CLS] two tokens [SEP] [PAD]
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "region_features": np.ones((1, 3, 6), "float32")}
    inputs |= {"boxes": np.array([[[0, 0, 1, 1], [0.1, 0.2, 0.4, 0.8], [0, 0, 0, 0]]]), "num_regions": np.array([2])}
    outputs = model(inputs)
    outputs["text_output"], outputs["region_output"], outputs["pooled_text"]  # (1, 5, 8), (1, 3, 12), (1, 12)
    ```

    Reference:
        Lu et al. 2019, "ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations for Vision-and-Language Tasks",
        section 2.2.
    """
    arguments.positive_int("vocabulary_size", vocabulary_size)
    padding_id = arguments.token_id("padding_id", padding_id, vocabulary_size)
    steps = _schedule(text_blocks_before, region_blocks_before, num_layers, num_region_layers)
    for argument, value in {"region_dim": region_dim, "co_attention_dim": co_attention_dim}.items():
        arguments.positive_int(argument, value)
    if co_attention_dim % arguments.positive_int("num_co_attention_heads", num_co_attention_heads):
        raise ValueError(
            "`num_co_attention_heads` must divide `co_attention_dim`. Received: "
            f"num_co_attention_heads={num_co_attention_heads}, co_attention_dim={co_attention_dim}."
        )
    stddev = arguments.positive_float("initializer_stddev", initializer_stddev)
    common = {
        "activation": activation,
        "dropout": dropout,
        "layer_norm_epsilon": layer_norm_epsilon,
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=stddev),
        "recompute": recompute,
    }
    initializer = common["kernel_initializer"]

    def block(name, intermediate_dim, num_heads=None, attention=None):
        rate = None if attention is not None else attention_dropout
        return TransformerEncoder(
            intermediate_dim, num_heads, attention=attention, attention_dropout=rate, name=name, **common
        )

    def co_attention():
        rate = dropout if attention_dropout is None else attention_dropout
        key_dim = co_attention_dim // num_co_attention_heads
        return MultiHeadCrossAttention(
            num_co_attention_heads, key_dim, dropout=rate, kernel_initializer=initializer, name="attention"
        )

    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS[:2]}
    inputs |= {
        name: keras.Input((None, size), name=name) for name, size in zip(INPUTS[2:4], (region_dim, 4), strict=True)
    }
    inputs["num_regions"] = keras.Input((), dtype="int32", name="num_regions")
    ids = inputs["token_ids"]
    mask = ops.not_equal(ids, padding_id)  # (B, T)
    sizes = vocabulary_size, sequence_length, num_segments, hidden_dim, layer_norm_epsilon
    text = embed(ids, inputs["segment_ids"], *sizes, initializer)
    text = Dropout(dropout, name="embedding_dropout")(text)
    embedding = RegionEmbedding(region_hidden_dim, initializer, name="region_embedding")
    regions = embedding(inputs["region_features"], inputs["boxes"], num_regions=inputs["num_regions"])  # with its mask
    regions = LayerNormalization(epsilon=layer_norm_epsilon, name="region_embedding_norm")(regions)
    regions = Dropout(dropout, name="region_embedding_dropout")(regions)
    for index, (text_indices, region_indices) in enumerate(steps):
        if index:  # both read what both were before
            to_regions = block(f"text_to_regions_{index - 1}", intermediate_dim, attention=co_attention())
            to_text = block(f"regions_to_text_{index - 1}", region_intermediate_dim, attention=co_attention())
            text, regions = (
                to_regions(text, mask=mask, context=regions),
                to_text(regions, context=text, context_mask=mask),
            )
        for number in text_indices:
            text = block(f"text_{number}", intermediate_dim, num_heads)(text, mask=mask)  # (B, T, D)
        for number in region_indices:
            regions = block(f"region_{number}", region_intermediate_dim, num_region_heads)(regions)  # (B, R, E)
    outputs = {"text_output": text, "region_output": regions}
    for output, x in {"pooled_text": text, "pooled_regions": regions}.items():
        outputs[output] = Dense(co_attention_dim, "relu", kernel_initializer=initializer, name=output)(x[:, 0])
    return with_layer_structure(keras.Model(inputs, outputs, name=name))


def _schedule(text_blocks_before, region_blocks_before, num_layers, num_region_layers):
    """Lists which blocks of words and which of regions come before the first co-attention, between two, and after the last."""
    given = {
        "text_blocks_before": (text_blocks_before, arguments.positive_int("num_layers", num_layers)),
        "region_blocks_before": (region_blocks_before, arguments.positive_int("num_region_layers", num_region_layers)),
    }
    parts = []
    for name, (counts, blocks) in given.items():
        counts = tuple(counts) if isinstance(counts, (tuple, list)) else (None,)
        if (
            not all(map(arguments.is_integer, counts))
            or list(counts) != sorted(counts)
            or not set(counts) <= set(range(blocks + 1))
        ):
            raise ValueError(
                f"`{name}` must be a tuple of integers from 0 to the {blocks} blocks of the stream, none below the one before "
                f"it. Received: {name}={given[name][0]!r}."
            )
        ends = (0, *map(int, counts), blocks)
        parts.append([range(start, end) for start, end in zip(ends, ends[1:], strict=False)])
    if len(parts[0]) != len(parts[1]):
        raise ValueError(
            "`text_blocks_before` and `region_blocks_before` must be of one length, that of the co-attentions. Received: "
            f"text_blocks_before={text_blocks_before!r}, region_blocks_before={region_blocks_before!r}."
        )
    return list(zip(*parts, strict=True))
