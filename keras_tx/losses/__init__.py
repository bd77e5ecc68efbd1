"""Losses that Keras does not have whole: of tokens with smoothing and padding, of replaced tokens, of distributions, of sets."""

from .detection_targets import pack_targets
from .logits_kl_divergence import LogitsKLDivergence
from .replaced_token_crossentropy import ReplacedTokenCrossentropy
from .set_prediction import SetPredictionLoss
from .token_crossentropy import TokenCrossentropy

__all__ = ["LogitsKLDivergence", "ReplacedTokenCrossentropy", "SetPredictionLoss", "TokenCrossentropy", "pack_targets"]
