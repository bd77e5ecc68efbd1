"""The files of installed wheels, of which nothing is imported."""

import importlib.metadata


def files(package):
    """Returns the files of an installed package, a list of `importlib.metadata.PackagePath`, empty where it is missing."""
    try:
        return list(importlib.metadata.files(package) or ())
    except importlib.metadata.PackageNotFoundError:
        return []


def find(package, name):
    """Returns the path of a file of an installed package, or `None` where it is not there.

    Args:
        package: str, as PyPI names it.
        name: str, the file's path inside the wheel.
    """
    path = next((file.locate() for file in files(package) if file.as_posix() == name), None)
    return path if path is not None and path.is_file() else None
