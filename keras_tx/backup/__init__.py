"""A training's state, backed up so that a kill at any moment leaves it whole; and other saves that are whole in the same way."""

from ..atomic_folders import check_folder, whole_folder
from ..whole_files import whole_file
from .callback import Backup

__all__ = ["Backup", "check_folder", "whole_file", "whole_folder"]
