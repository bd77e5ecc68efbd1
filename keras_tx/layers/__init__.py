"""The layers: they own weights, and leave the mathematics to `keras_tx.ops`."""

from .drop_path import DropPath
from .dropout import Dropout
from .feed_forward import FeedForward
from .masked_mean_pooling import MaskedMeanPooling
from .multi_head_cross_attention import MultiHeadCrossAttention
from .multi_head_self_attention import MultiHeadSelfAttention
from .rotary_embedding import RotaryEmbedding
from .sinusoidal_position_encoding import SinusoidalPositionEncoding
from .tied_logits import TiedLogits
from .token_and_position_embedding import TokenAndPositionEmbedding
from .transformer_decoder import TransformerDecoder
from .transformer_encoder import TransformerEncoder

__all__ = [
    "DropPath",
    "Dropout",
    "FeedForward",
    "MaskedMeanPooling",
    "MultiHeadCrossAttention",
    "MultiHeadSelfAttention",
    "RotaryEmbedding",
    "SinusoidalPositionEncoding",
    "TiedLogits",
    "TokenAndPositionEmbedding",
    "TransformerDecoder",
    "TransformerEncoder",
]
