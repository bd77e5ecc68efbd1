"""Transformer layers for Keras 3, and what can be done with any functional model made of them."""

import importlib
from types import ModuleType

from . import layers, losses, pretraining, schedules

__version__ = "0.1.0"

_SUBPACKAGES = (
    "adapters",
    "analysis",
    "applications",
    "backup",
    "callbacks",
    "checkpoints",
    "decoding",
    "distribution",
    "export",
    "graph",
    "ops",
    "quantization",
    "resizing",
    "weight_decay",
)

__all__ = ["layers", "losses", "pretraining", "schedules", *_SUBPACKAGES]


def __getattr__(name: str) -> ModuleType:
    # Loaded when first asked for: an import of the package alone stays light. What a saved model may hold is imported above.
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # What editors and notebooks offer: the subpackages too, before one is asked for.
    return sorted({*globals(), *__all__})
