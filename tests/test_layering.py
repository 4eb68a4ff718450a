"""Direction of imports: a row for every room, held for imports anywhere in a file and for strings of lazy tables."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import jetsym

PACKAGE = Path(jetsym.__file__).parent

GROUND = {
    *("_version", "annotations", "arguments", "errors", "files", "forms", "launch", "lazy", "progress", "ranks"),
    *("reading", "slurm"),
}
LOW = GROUND | {"allocation", "cards", "hub", "locks", "text", "storage", "symmetry"}
MATHEMATICS = LOW | {"spectrum"}
SHOWN = MATHEMATICS | {"pages", "plotting", "results"}
INSTRUMENT = SHOWN | {"domains", "probing", "remedies"}
PRODUCTS = INSTRUMENT | {"jets", "atoms", "training", "repair"}

#: Room -> what it may import of jetsym besides itself. A dotted row is a room of its own within a package; a name
#: allows all rooms within it.
MAY_IMPORT: dict[str, set[str]] = {
    **{name: set() for name in sorted(GROUND)},
    "arguments": {"annotations", "errors"},
    "files": {"errors", "reading"},
    "launch": {"errors", "slurm"},
    "progress": {"ranks"},
    "ranks": {"errors", "launch", "slurm"},
    "reading": {"errors"},
    "slurm": {"errors"},
    "allocation": GROUND,
    "cards": GROUND | {"text"},
    "hub": GROUND,
    "locks": GROUND,
    "text": GROUND,
    "storage": GROUND,
    "symmetry": GROUND | {"text"},
    "spectrum": LOW,
    "plotting": MATHEMATICS,
    "pages": MATHEMATICS | {"plotting"},
    "results": MATHEMATICS | {"pages", "plotting"},
    "domains": MATHEMATICS,
    "probing": set(),
    "probing.kinds": MATHEMATICS | {"domains"},
    "probing.options": MATHEMATICS | {"domains", "probing.kinds"},
    "probing.reports": SHOWN,
    "probing.forward": MATHEMATICS | {"domains", "probing.kinds", "probing.options"},
    "probing.measure": SHOWN | {"domains", "probing.kinds", "probing.options", "probing.forward", "probing.reports"},
    "probing.diagnosis": SHOWN | {"probing.kinds", "probing.options", "probing.measure", "probing.reports"},
    "probing.probe": SHOWN
    | {"domains", "probing.kinds", "probing.options", "probing.forward", "probing.measure", "probing.reports"},
    "probing.layers": SHOWN
    | {"domains", "probing.kinds", "probing.options", "probing.forward", "probing.measure", "probing.reports"},
    "probing.monitor": SHOWN | {"probing.options", "probing.probe", "probing.reports"},
    "remedies": MATHEMATICS | {"domains", "probing"},
    "jets": SHOWN | {"domains"},
    "atoms": SHOWN | {"domains"},
    "atoms.architectures": INSTRUMENT | {"atoms"},
    "atoms.training": INSTRUMENT | {"atoms"},
    "atoms.workflows": INSTRUMENT | {"atoms"},
    "training": INSTRUMENT | {"jets"},
    "repair": INSTRUMENT | {"jets", "atoms", "training"},
    "testing": PRODUCTS,
    "commands": PRODUCTS | {"demo"},
    "demo": PRODUCTS,
    "cli": PRODUCTS | {"commands", "demo"},
    "benchmarks": PRODUCTS | {"testing", "commands", "demo", "cli"},
    "__init__": PRODUCTS,
}

#: May name modules of higher rooms as strings: the one table where domains meet.
STRINGS_ALLOWED = {"domains/table.py"}
#: Lazy tables of a package's own names, which are its face and stand above its rooms.
FACES = {"atoms/__init__.py", "jets/__init__.py", "training/__init__.py"}


def modules(package: Path) -> dict[str, Path]:
    """Dotted name without ``jetsym.`` -> file; the package itself is ``__init__``."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


KNOWN = modules(PACKAGE)


@cache
def parsed(path: Path, mtime_ns: int) -> tuple[list[ast.AST], set[ast.AST]]:
    """The nodes of a file as it is now, and those among them that are docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    prose = {
        node.body[0].value
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return nodes, prose


def named(text: str) -> str | None:
    """The module that ``jetsym.a.b`` or ``jetsym.a.b:name`` or ``jetsym.a.b.name`` means."""
    if not re.fullmatch(r"jetsym(\.\w+)+(:\w+)?", text):
        return None
    words = text.partition(":")[0].split(".")[1:]
    for end in (len(words), len(words) - 1):
        if ".".join(words[:end]) in KNOWN:
            return ".".join(words[:end])
    return None


def imports(path: Path, *, strings: bool = True) -> Iterator[str]:
    """Modules of jetsym that a file names: by imports anywhere in it, and by strings outside docstrings."""
    nodes, prose = parsed(path, path.stat().st_mtime_ns)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jetsym":
            yield from (named(f"{node.module}.{alias.name}") or "__init__" for alias in node.names)
        elif isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.split(".")[0] == "jetsym"]
            yield from (named(name) or "__init__" for name in ours)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "import_module":
            yield from filter(None, map(named, told(node.args[0], nodes) if node.args else ()))
        elif strings and isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            found = named(node.value)
            if found is not None:
                yield found


def told(argument: ast.expr, nodes: list[ast.AST]) -> Iterator[str]:
    """What ``import_module`` is given: a string, or a name that stands for one."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
    for node in nodes if isinstance(argument, ast.Name) else ():
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == argument.id for one in targets):
                yield from told(node.value, [])


def room(module: str) -> str:
    """The row of a module: the longest that its name begins with."""
    return max((row for row in MAY_IMPORT if module == row or module.startswith(row + ".")), key=len)


def faults(path: Path, module: str) -> list[str]:
    """Modules that a file names and may not."""
    own, place = room(module), path.relative_to(PACKAGE).as_posix()
    allowed = {*MAY_IMPORT[own], own} | ({module.split(".")[0]} if place in FACES else set())
    targets = set(imports(path, strings=place not in STRINGS_ALLOWED))
    return sorted(x for x in targets if not any(x == row or x.startswith(row + ".") for row in allowed))


def test_every_room_has_a_row():
    assert {name.split(".")[0] for name in KNOWN} == {row.split(".")[0] for row in MAY_IMPORT}
    assert [row for row in MAY_IMPORT if row not in KNOWN] == []


@pytest.mark.parametrize("own", MAY_IMPORT)
def test_direction_of_imports(own):
    for module, path in KNOWN.items():
        if room(module) == own:
            assert faults(path, module) == [], f"{path.relative_to(PACKAGE)} imports upwards"


@pytest.mark.parametrize(
    "line",
    [
        "from jetsym.jets.checkpoint import load",
        "def f():\n    import jetsym.training.loop",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jetsym.probing.probe import probe",
        "from jetsym import probe",
        "_LAZY = {'load': 'jetsym.jets.checkpoint'}",
        "_LAZY = {'load': 'jetsym.jets.checkpoint:load'}",
    ],
)
def test_a_planted_upward_import_is_seen(tmp_path, monkeypatch, line):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    planted = tmp_path / "spectrum" / "planted.py"
    planted.parent.mkdir()
    planted.write_text(line + "\n")
    assert len(faults(planted, "spectrum.planted")) == 1
    table = tmp_path / "domains" / "table.py"
    table.parent.mkdir()
    table.write_text(line + "\n")
    assert len(faults(table, "domains.table")) == ("_LAZY" not in line)
    planted.write_text('"""See jetsym.jets.checkpoint."""\nfrom jetsym.errors import DataError\n')
    assert faults(planted, "spectrum.planted") == []


def test_the_table_of_domains_alone_names_what_stands_above_it():
    path = PACKAGE / "domains" / "table.py"
    assert {target.split(".")[0] for target in imports(path)} >= {"jets", "atoms"}
    assert {target.split(".")[0] for target in imports(path)} - {"jets", "atoms", "domains"} <= MATHEMATICS
    assert {target.split(".")[0] for target in imports(path, strings=False)} <= MATHEMATICS | {"domains"}


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Strongly connected parts of more than one module (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            place = stack.index(node)
            part = set(stack[place:])
            del stack[place:]
            if len(part) > 1:
                found.append(part)

    for node in graph:
        if node not in order:
            visit(node)
    return found


def test_no_import_circle():
    graph = {module: set(imports(path, strings=False)) - {module} for module, path in KNOWN.items()}
    assert circles(graph) == []


@pytest.mark.parametrize(
    "line",
    [
        "def f():\n    return import_module('jetsym.jets.checkpoint').load",
        "_HOME: str = 'jetsym.jets.checkpoint'\n\ndef f():\n    return importlib.import_module(_HOME)",
        "_HOME = 'jetsym.jets.checkpoint'\n\ndef f():\n    return import_module(_HOME)",
    ],
)
def test_a_module_that_is_imported_by_its_name_counts_in_circles(tmp_path, line):
    planted = tmp_path / "planted.py"
    planted.write_text(line + "\n")
    assert "jets.checkpoint" in set(imports(planted, strings=False))
    planted.write_text("_HOMES = {'load': 'jetsym.jets.checkpoint'}\n")  # a table, of which its readers choose
    assert set(imports(planted, strings=False)) == set()


def test_a_planted_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == []


GROUPS = {"SO2", "SO3", "O3", "boost", "lorentz"}
#: Where names of groups are written: the value that parses them, and registries that say what they are.
HOMES_OF_GROUPS = {"symmetry.py", "spectrum/groups.py"}


def test_names_of_groups_stand_in_one_place():
    lines = set()
    for path in KNOWN.values():
        if path.relative_to(PACKAGE).as_posix() not in HOMES_OF_GROUPS:
            nodes, _ = parsed(path, path.stat().st_mtime_ns)
            lines |= {
                (path.relative_to(PACKAGE).as_posix(), node.lineno)
                for node in nodes
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in GROUPS
            }
    assert len(lines) <= 15, sorted(lines)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("jetsym", ["torch", "jax", "awkward", "uproot", "matplotlib", "numpy", "scipy"]),
        ("jetsym.symmetry", ["torch", "numpy", "scipy"]),
        ("jetsym.spectrum", ["torch", "jax", "awkward", "uproot", "matplotlib"]),
        ("jetsym.jets.schema", ["torch", "awkward", "uproot"]),
    ],
)
def test_importing_stays_light(module, heavy):
    code = f"import sys, {module}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


def test_rooms_are_there_without_being_imported():
    code = "import jetsym; print(jetsym.spectrum.O3.__name__, jetsym.testing.assert_equivariant.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["O3", "assert_equivariant"]


def test_public_names():
    assert sorted(jetsym.__all__) == [
        "JetsymError",
        "Layered",
        "SymmetryReport",
        "__version__",
        "attribute",
        "compare",
        "cost",
        "diagnose",
        "layers",
        "load",
        "moves",
        "parity",
        "probe",
        "safety",
        "train",
    ]
    rooms = {"atoms", "jets", "plotting", "ranks", "remedies", "repair", "spectrum", "testing", "training"}
    assert dir(jetsym) == sorted({*jetsym.__all__, *rooms})
    for name in dir(jetsym):
        assert getattr(jetsym, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'prob'"):
        jetsym.prob  # noqa: B018
