"""What all tests need: the installed checkout, and each backend its tests."""

import ctypes
import gc
import importlib.metadata
import importlib.util
import os
import sys

import pytest

# The tests compile many small programs and run each of them a few times: what LLVM would win is less than it takes, and code of
# fusions that comes by way of MLIR takes twice as long to make. XLA's own passes, which decide on fusions, memory and order, all
# run. A program in one piece takes a quarter less than one in many, which two workers on two cores do not compile side by side.
flags = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
# An XLA that does not know a flag ends the process: not all that came before or after these know the two that follow.
known = {"jax": ("jaxlib", "0.10."), "tensorflow": ("tensorflow", "2.21.")}.get(
    os.environ.get("KERAS_BACKEND", "tensorflow")
)
if known and importlib.metadata.version(known[0]).startswith(known[1]):
    flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")]).strip()

# Without AVX-512 TensorFlow leaves oneDNN off, and with it what it fuses: the tests look at the same graphs on every processor.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def pytest_configure():
    # Looked for by hand, because importlib.util.find_spec would import Keras and its backend here, beside the workers.
    package = importlib.util.find_spec("keras_tx")
    places = package.submodule_search_locations if package else None
    if not places or not any(finder.find_spec("keras_tx.applications", places) for finder in sys.meta_path):
        # The folder applications/ is keras_tx.applications only after an install.
        raise pytest.UsageError("keras_tx.applications is not installed. Install the checkout first: pip install -e .")


def pytest_collection_modifyitems(config, items):
    """Leaves tests marked `once` to TensorFlow: they would say three times the same."""
    import keras

    if keras.backend.backend() != "tensorflow":
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("once")])
        items[:] = [item for item in items if not item.get_closest_marker("once")]


@pytest.fixture
def few_objects_to_collect():
    """Keras collects garbage for each variable that quantizing deletes, and the time that takes grows with all that lives."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item, nextitem):
    """Gives back, after each file, what compilers have freed: half of what a program of XLA takes is kept by glibc otherwise."""
    if sys.platform == "linux" and (nextitem is None or nextitem.path != item.path):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def pytest_collection_finish():
    # What is imported by now stays, and need not be looked through each time that garbage is collected.
    gc.collect()
    gc.freeze()
