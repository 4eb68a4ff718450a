"""Direction of imports: errors ← spectrum ← plotting ← probing ← remedies, spectrum ← {jets, atoms}, all ← training."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jetsym

PACKAGE = Path(jetsym.__file__).parent

#: Subpackage -> what it may import of jetsym, besides itself and the small modules that everything may use.
MAY_IMPORT = {
    "spectrum": set(),
    "plotting": {"spectrum"},
    "probing": {"spectrum", "plotting", "domains"},
    "remedies": {"spectrum", "plotting", "probing", "domains"},
    "jets": {"spectrum"},
    "atoms": {"spectrum", "plotting"},
    "training": {"spectrum", "plotting", "probing", "remedies", "jets", "atoms"},
    "benchmarks": {"spectrum", "plotting", "probing", "remedies", "jets", "atoms", "training", "cli"},
}
COMMON = {"errors", "files", "progress", "symmetry", "text", "__version__"}


def imports(path: Path) -> set[str]:
    """Names under jetsym that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jetsym":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("jetsym.")}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_direction_of_imports(package):
    for path in (PACKAGE / package).rglob("*.py"):
        foreign = imports(path) - MAY_IMPORT[package] - COMMON - {package}
        assert not foreign, f"{path.relative_to(PACKAGE)} imports {sorted(foreign)}"


def test_the_checker_sees_a_wrong_import(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from jetsym.jets.checkpoint import load\n")
    assert imports(bad) == {"training"}
    bad.write_text("from jetsym import probe\nimport jetsym.jets.io\n")
    assert imports(bad) == {"probe", "jets"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("jetsym", ["torch", "jax", "awkward", "uproot", "matplotlib", "numpy", "scipy"]),
        ("jetsym.spectrum", ["torch", "jax", "awkward", "uproot", "matplotlib"]),
        ("jetsym.jets.schema", ["torch", "awkward", "uproot"]),
    ],
)
def test_importing_stays_light(module, heavy):
    code = f"import sys, {module}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


def test_public_names():
    assert sorted(jetsym.__all__) == [
        "JetsymError",
        "SymmetryReport",
        "__version__",
        "compare",
        "diagnose",
        "load",
        "probe",
    ]
    assert dir(jetsym) == sorted(jetsym.__all__)
    for name in jetsym.__all__:
        assert getattr(jetsym, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'prob'"):
        jetsym.prob  # noqa: B018
