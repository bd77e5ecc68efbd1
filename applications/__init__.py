"""Prebuilt models: functions that wire the layers and return a plain `keras.Model`, each with a table of sizes."""

from .bert import BERT, BERT_SIZES, bert_classifier, bert_pretrainer
from .gpt import GPT, GPT_SIZES
from .huggingface import load_huggingface, save_huggingface
from .text_classifier import TEXT_CLASSIFIER_SIZES, TextClassifier
from .translator import TRANSLATOR_SIZES, Translator, shift_right

__all__ = [
    "BERT",
    "BERT_SIZES",
    "GPT",
    "GPT_SIZES",
    "TEXT_CLASSIFIER_SIZES",
    "TRANSLATOR_SIZES",
    "TextClassifier",
    "Translator",
    "bert_classifier",
    "bert_pretrainer",
    "load_huggingface",
    "save_huggingface",
    "shift_right",
]
