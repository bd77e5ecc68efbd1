"""The layers: they own weights, and leave the mathematics to `keras_tx.ops`."""

from .alibi_bias import AlibiBias
from .class_token import ClassToken
from .convolutional_stem import ConvolutionalStem
from .copy_logits import CopyLogits
from .drop_path import DropPath
from .dropout import Dropout
from .feed_forward import FeedForward
from .fourier_mixing import FourierMixing
from .frozen_batch_normalization import FrozenBatchNormalization
from .gather_positions import GatherPositions
from .grid_position_encoding import GridPositionEncoding
from .layer_scale import LayerScale
from .learned_position_encoding import LearnedPositionEncoding
from .learned_queries import LearnedQueries
from .map_to_sequence import MapToSequence
from .masked_mean_pooling import MaskedMeanPooling
from .multi_head_cross_attention import MultiHeadCrossAttention
from .multi_head_self_attention import MultiHeadSelfAttention
from .patch_embedding import PatchEmbedding
from .patch_merging import PatchMerging
from .pixel_mask import PixelMask
from .region_embedding import RegionEmbedding
from .relative_position_bias import RelativePositionBias
from .rms_normalization import RMSNormalization
from .rotary_embedding import RotaryEmbedding
from .segment_embedding import SegmentEmbedding
from .sinusoidal_grid_positions import SinusoidalGridPositions
from .sinusoidal_position_encoding import SinusoidalPositionEncoding
from .span_boundary import SpanBoundary
from .tied_logits import TiedLogits
from .token_and_position_embedding import TokenAndPositionEmbedding
from .token_mixing import TokenMixing
from .transformer_decoder import TransformerDecoder
from .transformer_encoder import TransformerEncoder
from .window_attention import WindowAttention
from .window_position_bias import WindowPositionBias

__all__ = [
    "AlibiBias",
    "ClassToken",
    "ConvolutionalStem",
    "CopyLogits",
    "DropPath",
    "Dropout",
    "FeedForward",
    "FourierMixing",
    "FrozenBatchNormalization",
    "GatherPositions",
    "GridPositionEncoding",
    "LayerScale",
    "LearnedPositionEncoding",
    "LearnedQueries",
    "MapToSequence",
    "MaskedMeanPooling",
    "MultiHeadCrossAttention",
    "MultiHeadSelfAttention",
    "PatchEmbedding",
    "PatchMerging",
    "PixelMask",
    "RMSNormalization",
    "RegionEmbedding",
    "RelativePositionBias",
    "RotaryEmbedding",
    "SegmentEmbedding",
    "SinusoidalGridPositions",
    "SinusoidalPositionEncoding",
    "SpanBoundary",
    "TiedLogits",
    "TokenAndPositionEmbedding",
    "TokenMixing",
    "TransformerDecoder",
    "TransformerEncoder",
    "WindowAttention",
    "WindowPositionBias",
]
