"""Prebuilt models: functions that wire the layers and return a plain `keras.Model`, each with a table of sizes."""

from .bert import BERT, BERT_SIZES
from .bert_heads import bert_classifier, bert_pretrainer
from .detections import detections
from .detr import DETR, DETR_SIZES
from .electra import electra_pretrainer
from .fnet import FNET_SIZES, FNet
from .gguf import load_gguf
from .gpt import GPT, GPT_SIZES
from .huggingface import load_huggingface, save_huggingface
from .huggingface.tokenizers import load_tokenizer, save_tokenizer
from .llama import Llama
from .llama_sizes import LLAMA_SIZES
from .mixer import MIXER_SIZES, Mixer
from .resnet import RESNET_SIZES, convolutional_stem, resnet_backbone
from .swin import SWIN_SIZES, Swin
from .t5 import T5, T5_SIZES
from .text_classifier import TEXT_CLASSIFIER_SIZES, TextClassifier
from .translator import TRANSLATOR_SIZES, Translator, shift_right
from .vilbert import VILBERT_SIZES, ViLBERT
from .vilbert_checkpoint import load_vilbert
from .vilbert_heads import vilbert_classifier, vilbert_pretrainer
from .vit import VIT_SIZES, ViT

__all__ = [
    "BERT",
    "BERT_SIZES",
    "DETR",
    "DETR_SIZES",
    "FNET_SIZES",
    "GPT",
    "GPT_SIZES",
    "LLAMA_SIZES",
    "MIXER_SIZES",
    "RESNET_SIZES",
    "SWIN_SIZES",
    "T5",
    "T5_SIZES",
    "TEXT_CLASSIFIER_SIZES",
    "TRANSLATOR_SIZES",
    "VILBERT_SIZES",
    "VIT_SIZES",
    "FNet",
    "Llama",
    "Mixer",
    "Swin",
    "TextClassifier",
    "Translator",
    "ViLBERT",
    "ViT",
    "bert_classifier",
    "bert_pretrainer",
    "convolutional_stem",
    "detections",
    "electra_pretrainer",
    "load_gguf",
    "load_huggingface",
    "load_tokenizer",
    "load_vilbert",
    "resnet_backbone",
    "save_huggingface",
    "save_tokenizer",
    "shift_right",
    "vilbert_classifier",
    "vilbert_pretrainer",
]
