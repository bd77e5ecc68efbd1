"""Scaled dot-product attention three ways: all pairs at once, in blocks, and by the backend's own operation."""

from .attention_mask import AttentionMask
from .distance_bias import DistanceBias
from .dot_product import dot_product_attention, isolate_nonfinite, scores_spec
from .kv_cache import Extended, KVCache, fold_heads
from .rounded import Rounded
from .window_cache import WindowCache

__all__ = [
    "AttentionMask",
    "DistanceBias",
    "Extended",
    "KVCache",
    "Rounded",
    "WindowCache",
    "dot_product_attention",
    "fold_heads",
    "isolate_nonfinite",
    "scores_spec",
]
