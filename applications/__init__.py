"""Prebuilt models: functions that wire the layers and return a plain `keras.Model`, each with a table of sizes."""

from .text_classifier import TEXT_CLASSIFIER_SIZES, TextClassifier

__all__ = ["TEXT_CLASSIFIER_SIZES", "TextClassifier"]
