"""SavedModels that take raw text or the bytes of image files, in one folder that is loaded without this package."""

from .generator import export_generator
from .images import export_images
from .model import export_model
from .saved_model import export_saved_model

__all__ = ["export_generator", "export_images", "export_model", "export_saved_model"]
