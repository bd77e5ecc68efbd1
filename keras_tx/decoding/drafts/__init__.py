"""Drafts: what proposes the next tokens, which the model then reads at once and keeps as far as they are its own."""

from .draft import Draft
from .drafter import Drafter
from .lookup import Lookup

__all__ = ["Draft", "Drafter", "Lookup"]
