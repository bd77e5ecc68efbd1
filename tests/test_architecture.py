"""The plan of the code, read off its syntax trees: who imports whom, what a file holds, where private names stand."""

import ast
import re
import sys
from pathlib import Path

import keras
import pytest

from keras_tx import layers

pytestmark = pytest.mark.once  # syntax trees and names alone

ROOT = Path(__file__).parents[1]
SOURCES = {"keras_tx": ROOT / "keras_tx", "keras_tx.applications": ROOT / "applications"}
SCRIPTS = [ROOT / "examples", ROOT / "benchmarks", ROOT / "tests"]
LONGEST_FILE, LONGEST_SCRIPT = 250, 300

# What the modules of a part may import of the package, beside their own part and the checks of arguments. A name covers what
# lies below it.
MAY_IMPORT = {
    "keras_tx.arguments": set(),
    "keras_tx.private_keras": set(),
    "keras_tx.__init__": {"keras_tx.layers", "keras_tx.losses", "keras_tx.pretraining", "keras_tx.schedules"},
    "keras_tx.ops": set(),
    "keras_tx.graph": set(),
    "keras_tx.layers": {"keras_tx.ops", "keras_tx.graph"},
    "keras_tx.backup": {"keras_tx.atomic_folders", "keras_tx.whole_files"},
    "keras_tx.whole_files": set(),
    "keras_tx.atomic_folders": {"keras_tx.whole_files"},
    "keras_tx.distribution": set(),
    "keras_tx.decoding": {
        "keras_tx.ops",
        "keras_tx.graph",
        "keras_tx.layers.cache_protocol",
        "keras_tx.layers.stepwise",
    },
    "keras_tx.analysis": {"keras_tx.ops", "keras_tx.graph", "keras_tx.layers.cache_protocol"},
    "keras_tx.analysis.costs": {"keras_tx.ops", "keras_tx.graph", "keras_tx.layers", "keras_tx.analysis"},
    "keras_tx.export": {"keras_tx.ops", "keras_tx.graph", "keras_tx.layers.cache_protocol", "keras_tx.decoding"},
    "keras_tx.adapters": {"keras_tx.graph"},
    "keras_tx.callbacks": {"keras_tx.analysis"},
    "keras_tx.checkpoints": set(),
    "keras_tx.losses": {"keras_tx.ops"},
    "keras_tx.pretraining": {"keras_tx.atomic_folders", "keras_tx.ops", "keras_tx.analysis.costs"},
    "keras_tx.quantization": {"keras_tx.graph", "keras_tx.layers"},
    "keras_tx.resizing": {"keras_tx.ops", "keras_tx.graph", "keras_tx.layers"},
    "keras_tx.schedules": set(),
    "keras_tx.weight_decay": set(),
    "keras_tx.applications": {"keras_tx"},
}
# What every part may import.
GROUND = ("keras_tx.arguments", "keras_tx.private_keras")
# The files that may use private attributes of Keras' objects; its private modules are imported in one.
PRIVATE_MODULES = "keras_tx/private_keras.py"
PRIVATE_KERAS = {
    PRIVATE_MODULES,
    "keras_tx/ops/concrete.py",
    "keras_tx/ops/padding.py",
    "keras_tx/layers/recomputation.py",
    *(f"keras_tx/graph/{name}.py" for name in ("walk", "sublayers", "deferred")),
    "keras_tx/backup/fit_call.py",
}
PRIVATE_NAMES = re.compile(
    r"_keras_mask|_keras_history|_run_through_graph|_inbound_nodes|_outbound_nodes|_flatten_layers|_standardize_inputs"
    r"|_functional|_nodes_by_depth|_call_has_\w+|_call_signature|_tracker|_seed_generators"
)


class Module:
    """A source file: its name as it is imported, its place in the repository and its syntax tree."""

    def __init__(self, package, folder, path):
        inside = path.relative_to(folder).with_suffix("")
        self.name = ".".join([package, *inside.parts])
        self.place = path.relative_to(ROOT).as_posix()
        self.lines = path.read_text().splitlines()
        self.tree = ast.parse(path.read_text())

    def part(self):
        return max((part for part in MAY_IMPORT if covers(part, self.name)), key=len, default=None)

    def imports(self, nodes=None):
        """Yields the full name of every module, or of every name in a module, that is imported."""
        for node in ast.walk(self.tree) if nodes is None else nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = self.name.split(".")[: -node.level] if node.level else []
                start += node.module.split(".") if node.module else []
                yield from (".".join([*start, alias.name]) for alias in node.names)

    def top_level(self):
        """Yields the nodes that run when the module is imported."""
        waiting = list(self.tree.body)
        while waiting:
            node = waiting.pop()
            yield node
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                waiting.extend(ast.iter_child_nodes(node))


def covers(name, longer):
    return longer == name or longer.startswith(name + ".")


MODULES = [
    Module(package, folder, path) for package, folder in SOURCES.items() for path in sorted(folder.rglob("*.py"))
]


def test_all_sources_are_read():
    assert {"keras_tx.__init__", "keras_tx.ops.masks", "keras_tx.layers.dropout", "keras_tx.applications.__init__"} <= {
        module.name for module in MODULES
    }


def test_every_module_belongs_to_a_part():
    assert not [module.place for module in MODULES if module.part() is None], "name what it may import"


def test_imports_point_one_way():
    for module in MODULES:
        part, names = module.part(), [*module.imports()]
        allowed = {part, *GROUND, *MAY_IMPORT[part]} - {"keras_tx.__init__"}
        for name in names:
            assert not covers("keras_tx", name) or any(covers(place, name) for place in allowed), (module.place, name)
            assert not covers("applications", name), (module.place, name)
            inside = covers("keras_tx.applications", module.name)
            assert inside or not covers("keras_tx.applications", name), (module.place, name)


def test_an_import_needs_nothing_beyond_keras_and_numpy():
    for module in MODULES:
        packages = {name.partition(".")[0] for name in module.imports(module.top_level())}
        assert not packages - {"keras", "numpy", "keras_tx"} - sys.stdlib_module_names, module.place


def test_private_names_of_keras_stand_where_they_may():
    for module in MODULES:
        inside = any(covers("keras.src", name) for name in module.imports())
        assert inside == (module.place == PRIVATE_MODULES), module.place
        if module.place in PRIVATE_KERAS:
            continue
        for node in ast.walk(module.tree):
            where = f"{module.place}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute):
                assert not PRIVATE_NAMES.fullmatch(node.attr), f"{where}: {node.attr}"
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                public = (
                    not node.attr.startswith("_")
                    or node.attr.endswith("__")
                    or node.attr in ("_replace", "_asdict", "_fields")
                )
                assert own or public, f"{where}: {node.attr} of something else than self"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not PRIVATE_NAMES.fullmatch(node.value), f"{where}: {node.value}"


def test_the_library_has_no_assert():
    for module in MODULES:
        assert not [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)], module.place


def test_no_file_is_a_dumping_ground():
    for module in MODULES:
        names = set(Path(module.place).with_suffix("").parts)
        assert not names & {"utils", "util", "common", "helpers", "helper", "base", "misc", "tools"}, module.place


def test_no_test_imports_another():
    for path in (ROOT / "tests").rglob("test_*.py"):
        found = re.search(r"^(from|import) .*\btest_\w+", path.read_text(), re.MULTILINE)
        assert not found, f"{path.name}: {found and found.group()}"


def test_files_stay_short():
    for longest, folders in ((LONGEST_FILE, SOURCES.values()), (LONGEST_SCRIPT, SCRIPTS)):
        paths = [path for folder in folders for path in folder.rglob("*.py")]
        lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in paths}
        assert not {place: length for place, length in lengths.items() if length > longest}


def layer_classes(module):
    """The names of the classes of a module whose bases include a layer."""
    for node in module.tree.body:
        bases = [ast.unparse(base) for base in getattr(node, "bases", ())]
        if isinstance(node, ast.ClassDef) and any(re.fullmatch(r"(keras\.)?(layers\.)?Layer", base) for base in bases):
            yield node.name


def in_snake_case(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def test_each_layer_is_public_and_has_a_file_of_its_name():
    found = {}
    for module in MODULES:
        classes = list(layer_classes(module))
        assert len(classes) <= 1, f"{module.place} holds {classes}"
        found.update((name, module.place) for name in classes if covers("keras_tx.layers", module.name))
    assert found == {name: f"keras_tx/layers/{in_snake_case(name)}.py" for name in layers.__all__}


def test_public_layers_are_final():
    for module in MODULES:
        for node in ast.walk(module.tree):
            bases = [ast.unparse(base).split(".")[-1] for base in getattr(node, "bases", ())]
            assert not set(bases) & set(layers.__all__), f"{module.place}: {node.name}"


def test_public_layers_are_registered_under_the_name_of_the_package():
    for name in layers.__all__:
        layer = getattr(layers, name)
        assert keras.saving.get_registered_name(layer) == f"keras_tx>{name}"
        assert keras.saving.get_registered_object(f"keras_tx>{name}") is layer


def test_public_names_are_listed_in_order():
    assert layers.__all__ == sorted(layers.__all__)
