"""Losses that Keras does not have whole: of tokens with smoothing and padding, and of a set of detected objects."""

from .detection_targets import pack_targets
from .set_prediction import SetPredictionLoss
from .token_crossentropy import TokenCrossentropy

__all__ = ["SetPredictionLoss", "TokenCrossentropy", "pack_targets"]
