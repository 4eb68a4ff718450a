"""Every notebook runs from the first cell to the last, in an empty folder."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def imported(source):
    """Yield the modules, and their names, that code imports from jetsym."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "jetsym":
            yield from ((node.module, alias.name) for alias in node.names)


def is_code(cell):
    """Tell code from words, and from files that a cell only writes."""
    return cell.cell_type == "code" and not cell.source.startswith("%%writefile")


def sources():
    """Yield the code of every notebook, figure and study."""
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        yield pytest.param("\n".join(cell.source for cell in cells if is_code(cell)), id=path.stem)
    for path in sorted(FOLDER.glob("*/*.py")):
        yield pytest.param(path.read_text(encoding="utf-8"), id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("source", list(sources()))
def test_what_is_imported_is_there(source):
    if "jetsym.atoms" in source or "benchmarks.copper" in source:
        pytest.importorskip("metatrain")
    for module, name in imported(source):
        assert hasattr(import_module(module), name) or find_spec(f"{module}.{name}"), f"{module} has no {name}"


#: Section of the notebook on models from elsewhere -> a word of its code.
SECTIONS = {
    "A mask": "mask",
    "Forces by autograd": "torch.autograd.grad(",
    "A calculator": "EMT()",
    "A graph network": "jetsym.atoms.graph(",
    "A network of weaver-core": "jetsym.jets.weaver(",
    "An event-level network": 'group="lorentz"',
    "A function of jax": "jax.grad(",
}


def section(path, title):
    """Return the cells under a heading, without its own."""
    cells, found = nbformat.read(path, as_version=4).cells, []
    start = next(n for n, cell in enumerate(cells) if cell.source.startswith(f"## {title}\n"))
    for cell in cells[start + 1 :]:
        if cell.source.startswith("## "):
            break
        found.append(cell)
    return found


@pytest.mark.parametrize("title", SECTIONS)
def test_models_from_elsewhere_take_ten_lines(title):
    """Blank lines are not counted, nor the two files that a training with weaver-core leaves behind."""
    cells = section(FOLDER / "03_probe_your_own_model.ipynb", title)
    lines = [line for cell in cells if is_code(cell) for line in cell.source.splitlines() if line.strip()]
    assert len(lines) <= 10, lines
    assert any(SECTIONS[title] in line for line in lines)
    assert any("jetsym.probe(" in line for line in lines)
    said = " ".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert said.count(". ") + said.endswith(".") >= 1, "nothing says what is read"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")
def test_notebook(path, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # figures go into the notebook
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    figures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "display_data" and "image/png" in output.data
    ]
    assert figures


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
