"""The layers: they own weights, and leave the mathematics to `keras_tx.ops`."""

from .drop_path import DropPath
from .dropout import Dropout
from .feed_forward import FeedForward
from .gather_positions import GatherPositions
from .learned_position_encoding import LearnedPositionEncoding
from .masked_mean_pooling import MaskedMeanPooling
from .multi_head_cross_attention import MultiHeadCrossAttention
from .multi_head_self_attention import MultiHeadSelfAttention
from .rotary_embedding import RotaryEmbedding
from .segment_embedding import SegmentEmbedding
from .sinusoidal_position_encoding import SinusoidalPositionEncoding
from .span_boundary import SpanBoundary
from .tied_logits import TiedLogits
from .token_and_position_embedding import TokenAndPositionEmbedding
from .transformer_decoder import TransformerDecoder
from .transformer_encoder import TransformerEncoder

__all__ = [
    "DropPath",
    "Dropout",
    "FeedForward",
    "GatherPositions",
    "LearnedPositionEncoding",
    "MaskedMeanPooling",
    "MultiHeadCrossAttention",
    "MultiHeadSelfAttention",
    "RotaryEmbedding",
    "SegmentEmbedding",
    "SinusoidalPositionEncoding",
    "SpanBoundary",
    "TiedLogits",
    "TokenAndPositionEmbedding",
    "TransformerDecoder",
    "TransformerEncoder",
]
