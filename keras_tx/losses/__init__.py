"""Losses that Keras does not have whole: of tokens with smoothing and padding, of distributions, of sets of detected objects."""

from .detection_targets import pack_targets
from .logits_kl_divergence import LogitsKLDivergence
from .set_prediction import SetPredictionLoss
from .token_crossentropy import TokenCrossentropy

__all__ = ["LogitsKLDivergence", "SetPredictionLoss", "TokenCrossentropy", "pack_targets"]
