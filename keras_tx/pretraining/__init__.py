"""Examples for pretraining, made from token ids: masked tokens, masked spans, pairs of a text and what follows, and packed rows.

Those of masks, spans and pairs are functions of numpy arrays, and of tensors inside `tf.data`. The same seed gives the same
examples in both, in any process and in any order, so that a pipeline is parallel and yet can be run again:

    dataset = dataset.enumerate().map(
        lambda i, ids: mask_tokens(ids, seed=(epoch, i), vocabulary_size=30522, mask_id=103, num_predictions=20),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
"""

from ..ops.replaced_tokens import replaced_tokens
from .masked_lm import mask_tokens
from .next_sentence import next_sentence_pairs
from .packed_batches import PackedBatches
from .packing import next_tokens, pack
from .replaced_tokens_layer import ReplacedTokens  # noqa: F401  for a process that loads a model with it
from .shards import TokenShards, read_shards, write_shards
from .spans import mask_spans
from .vocabulary import special_token_ids, word_start_table

__all__ = [
    "PackedBatches",
    "TokenShards",
    "mask_spans",
    "mask_tokens",
    "next_sentence_pairs",
    "next_tokens",
    "pack",
    "read_shards",
    "replaced_tokens",
    "special_token_ids",
    "word_start_table",
    "write_shards",
]
