"""Prebuilt models: functions that wire the layers and return a plain `keras.Model`, each with a table of sizes."""

from .gpt import GPT, GPT_SIZES
from .huggingface import load_huggingface, save_huggingface
from .text_classifier import TEXT_CLASSIFIER_SIZES, TextClassifier

__all__ = ["GPT", "GPT_SIZES", "TEXT_CLASSIFIER_SIZES", "TextClassifier", "load_huggingface", "save_huggingface"]
