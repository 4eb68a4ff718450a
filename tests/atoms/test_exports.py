"""Exports are computation: the libraries that they name and the operators that reach beyond are refused."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch

from jetsym import atoms
from jetsym.atoms.exports import read_export
from jetsym.atoms.packages import quiet
from jetsym.errors import CheckpointError


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The records of a plain export."""
    with quiet():
        return hostile.records_of(hostile.write_honest_export(tmp_path_factory.mktemp("honest") / "model.pt"))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "ran"


def test_a_plain_export_is_opened(honest, tmp_path, molecule):
    file = hostile.write_records(tmp_path / "model.pt", honest)
    model = atoms.load(file)
    assert model.kinds == {"energy": "scalar"}
    assert model(model.structures([molecule("H2O")]))["energy"].tolist() == [[0.0]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:module does not have '_mts_buffer_names'")  # of metatrain, as it saves
@pytest.mark.parametrize("architecture", ["pet", "soap_bpnn"])
def test_exports_of_metatrain_are_opened(make_model, make_uncertain, tmp_path, architecture):
    """With __setstate__, with the operators of sphericart, and with all that the maker's process had loaded."""
    pytest.importorskip("sphericart.torch")
    model = make_model(architecture=architecture)
    with quiet():
        (make_uncertain(model) if architecture == "pet" else model).export().save(str(tmp_path / "model.pt"))
    records = hostile.records_of(tmp_path / "model.pt")
    assert b"sphericart_torch" in records["extra/extensions"]
    assert any(b"__setstate__" in content for name, content in records.items() if name.endswith(".py"))
    assert atoms.load(tmp_path / "model.pt").kinds == {"energy": "scalar"}


# --- libraries ---


def ways_to_name(made: Path) -> dict[str, dict[str, str]]:
    """Entries of the record that make metatomic load a library, or could."""
    installed = "sphericart/torch/torch-2.13/lib/libsphericart_torch.so"
    return {
        "absolute path": {"name": "evil", "path": str(made)},
        "relative path": {"name": "evil", "path": os.path.relpath(made)},
        "relative path with a dot": {"name": "evil", "path": f"./{os.path.relpath(made)}"},
        "path for a name": {"name": str(made), "path": "evil/libevil.so"},
        "relative path for a name": {"name": f"./{os.path.relpath(made)}", "path": "evil/libevil.so"},
        "path for a name, beside a library that is installed": {"name": str(made), "path": installed},
        "descriptor": {"name": "descriptor", "path": "/proc/self/fd/FD"},
        "descriptor for a name": {"name": "/proc/self/fd/FD", "path": "evil/libevil.so"},
        "bare name": {"name": "libevil.so", "path": "libevil.so"},
        "bare name of the system": {"name": "libm.so.6", "path": "libm.so.6"},
        "up and down": {"name": "evil", "path": f"sphericart/../../../../../..{made}"},
        "name of one that is installed": {"name": "sphericart_torch", "path": str(made)},
        "name of one that is installed, elsewhere": {"name": "sphericart_torch", "path": "sphericart/libevil.so"},
        "package that is not installed": {"name": "evil", "path": "evil_torch/lib/libevil.so"},
        "in the folder of packages, by its whole path": {"name": "evil", "path": f"{sys.prefix}/../{made}"},
        "with a star": {"name": "*", "path": "sphericart/*"},
        "empty": {"name": "", "path": ""},
    }


@pytest.mark.parametrize("record", ["extensions", "extensions-deps"])
@pytest.mark.parametrize("way", list(ways_to_name(Path("/libevil.so"))))
def test_libraries_that_are_not_of_installed_packages_are_refused(honest, tmp_path, marker, monkeypatch, record, way):
    monkeypatch.chdir(tmp_path)
    made = hostile.library(tmp_path / "evil", marker)
    (tmp_path / "libevil.so").write_bytes(made.read_bytes())
    with made.open("rb") as held:
        entry = {key: value.replace("FD", str(held.fileno())) for key, value in ways_to_name(made)[way].items()}
        file = hostile.write_records(tmp_path / "model.pt", hostile.with_libraries(honest, [entry], record))
        for load in (read_export, atoms.load, atoms.calculator):
            with pytest.raises(CheckpointError, match=r"model.pt is not opened, as it names the native lib.*--trust"):
                load(file)
    assert not marker.exists()


@pytest.mark.parametrize("way", ["absolute path", "path for a name", "descriptor", "relative path for a name"])
def test_trust_loads_the_libraries(honest, tmp_path, marker, monkeypatch, way):
    """So that the test above could fail."""
    monkeypatch.chdir(tmp_path)
    made = hostile.library(tmp_path / "evil", marker)
    with made.open("rb") as held:
        entry = {key: value.replace("FD", str(held.fileno())) for key, value in ways_to_name(made)[way].items()}
        file = hostile.write_records(tmp_path / "model.pt", hostile.with_libraries(honest, [entry]))
        atoms.load(file, trust=True)
    assert marker.read_text() == "ran"


def test_an_archive_that_is_a_library_itself(honest, tmp_path, marker, monkeypatch):
    """It names itself, by a path and by the descriptor that it is read through."""
    made = hostile.library(tmp_path, marker)
    for path in (str(tmp_path / "model.pt"), *(f"/proc/self/fd/{number}" for number in range(3, 40))):
        records = hostile.with_libraries(honest, [{"name": "evil", "path": path}])
        plain = hostile.write_records(tmp_path / "plain.zip", records).read_bytes()
        file = tmp_path / "model.pt"
        file.write_bytes(made.read_bytes() + plain)
        with pytest.raises(CheckpointError):
            read_export(file)
        with zipfile.ZipFile(file, "a"):  # with the places of its records made right
            pass
        with pytest.raises(CheckpointError):
            read_export(file)
    assert not marker.exists()


def test_libraries_of_installed_packages_are_allowed(honest, tmp_path):
    """Also those of an export that was made with another torch, with another build or on another system."""
    pytest.importorskip("sphericart.torch")
    libraries = [
        {"name": "sphericart_torch", "path": "sphericart/torch/torch-2.13/lib/libsphericart_torch.so"},
        {"name": "sphericart_torch", "path": "sphericart/torch/torch-2.9/lib/libsphericart_torch.so"},
        {"name": "sphericart_torch", "path": "sphericart/torch/torch-2.9/lib/libsphericart_torch.dylib"},
    ]
    file = hostile.write_records(tmp_path / "model.pt", hostile.with_libraries(honest, libraries))
    assert atoms.load(file).kinds == {"energy": "scalar"}


@pytest.mark.parametrize("record", [b"not JSON", b"[1]", b'{"name": "evil"}', b'[{"name": "evil"}]', b"\xff"])
def test_records_of_libraries_that_cannot_be_read(honest, tmp_path, record):
    file = hostile.write_records(tmp_path / "model.pt", {**honest, "extra/extensions": record})
    with pytest.raises(CheckpointError, match="model.pt"):
        read_export(file)


# --- code ---

#: Statements that write a file when the export is loaded, with {marker} for its name.
WRITING = {
    "aten::save": "torch.save(1, '{marker}')",
    "aten::save by its full name": "ops.aten.save(1, '{marker}')",
    "aten::from_file": "print(torch.size(torch.from_file('{marker}', True, 8)))",
    "an operator by another name": "f = torch.save\nf(1, '{marker}')",
    "torch by another name": "t = torch\nt.save(1, '{marker}')",
    "ops by another name": "t = ops\nt.aten.save(1, '{marker}')",
    "a namespace by another name": "t = ops.aten\nt.save(1, '{marker}')",
    "parentheses": "(torch).save(1, '{marker}')",
    "spaces": "torch . save(1, '{marker}')",
    "getattr": "getattr(torch, 'save')(1, '{marker}')",
    "getattr of a namespace": "getattr(ops.aten, 'save')(1, '{marker}')",
    "getattr of ops": "getattr(ops, 'aten').save(1, '{marker}')",
    "autograd": "torch.autograd.save(1, '{marker}')",
    "autograd of an allowed namespace": "ops.metatensor.autograd.save(1, '{marker}')",
    "metatensor::save": (
        "l = __torch__.torch.classes.metatensor.Labels.__new__(__torch__.torch.classes.metatensor.Labels)\n"
        "_0 = (l).__init__(['a'], torch.zeros([1, 1], dtype=4), )\n"
        "ops.metatensor.save('{marker}', l)"
    ),
    "Labels.save": (
        "l = __torch__.torch.classes.metatensor.Labels.__new__(__torch__.torch.classes.metatensor.Labels)\n"
        "_0 = (l).__init__(['a'], torch.zeros([1, 1], dtype=4), )\n"
        "_1 = (l).save('{marker}', )"
    ),
    "Labels.save by getattr": (
        "l = __torch__.torch.classes.metatensor.Labels.__new__(__torch__.torch.classes.metatensor.Labels)\n"
        "_0 = (l).__init__(['a'], torch.zeros([1, 1], dtype=4), )\n"
        "_1 = getattr(l, 'save')('{marker}', )"
    ),
}
#: And others that are refused, whether or not they would do anything here.
REFUSED = {
    "from_file into a tensor": "_x = torch.from_file('{marker}', out=torch.zeros([1]))",
    "a custom operator": "ops.evil.run('{marker}')",
    "a custom operator without arguments": "ops.evil.run()",
    "an unknown operator of torch": "torch.spawn('{marker}')",
    "libraries of another archive": "ops.metatomic.load_model_extensions('{marker}', None)",
    "reading metadata of a file": "_x = ops.metatomic.read_model_metadata('{marker}')",
    "reading a file": "_x = ops.metatensor.load('{marker}')",
    "reading a system": "_x = ops.metatomic.load_system('{marker}')",
    "writing a system": "ops.metatomic.save('{marker}', None)",
    "memory": "_x = __torch__.torch.classes.metatensor.TensorMap.unsafe_from_ptr(64)",
    "loading as a class": "_x = __torch__.torch.classes.metatensor.TensorMap.load('{marker}')",
    "a compiled model": (
        "_x = __torch__.torch.classes.aoti.AOTIModelContainerRunnerCpu.__new__("
        "__torch__.torch.classes.aoti.AOTIModelContainerRunnerCpu)"
    ),
    "a store in a file": (
        "_x = __torch__.torch.classes.dist_c10d.FileStore.__new__(__torch__.torch.classes.dist_c10d.FileStore)"
    ),
    "classes by another name": "c = __torch__.torch.classes\n_x = c.dist_c10d.FileStore",
    "the root of classes by another name": "c = __torch__.torch\n_x = c.classes.dist_c10d.FileStore",
    "another process": "ops.prim.rpc_async('worker', 'os.system', ('touch {marker}',))",
    "Python": "ops.prim.PythonOp()",
    "of another process group": "_x = ops.c10d.allreduce_(None)",
    "a comment": "_x = 1 # {marker}",
    "a type in a comment": "# type: (int) -> int\n_x = 1",
    "a prefix": "_x = r'{marker}'",
    "three quotes": "_x = '''{marker}'''",
    "a continued line": "_x = \\\n1",
    "a tabulator": "_x =\t1",
    "a wide letter": "\uff54orch.save(1, '{marker}')",
    "a name from elsewhere": "_x = getattr(self, self.name)",
    "no code": "no code, this is!",
    "very deep": "_x = " + "(" * 500 + "1" + ")" * 500,
}


@pytest.mark.parametrize("case", [*WRITING, *REFUSED])
def test_code_that_reaches_beyond_is_refused(honest, tmp_path, marker, monkeypatch, case):
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("it was loaded"))
    records = hostile.with_statement(honest, {**WRITING, **REFUSED}[case].replace("{marker}", str(marker)))
    file = hostile.write_records(tmp_path / "model.pt", records)
    with pytest.raises(CheckpointError, match="model.pt is not opened, as it names .*--trust"):
        read_export(file)
    assert not marker.exists()


@pytest.mark.parametrize("case", WRITING)
def test_trust_runs_the_code(honest, tmp_path, marker, case):
    """So that the test above could fail: each of these does write its file."""
    file = hostile.write_records(
        tmp_path / "model.pt", hostile.with_statement(honest, WRITING[case].replace("{marker}", str(marker)))
    )
    read_export(file, trust=True)
    assert marker.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "_x = torch.add(torch.zeros([2]), 1)",
        "_x = torch.einsum('i,i->', [torch.zeros([2]), torch.zeros([2])])",
        "_x = torch.format('saved {}', 1)",
        "_x = 'torch.save # is text'",
        'torch.warn("of_all, \\"save\\", 100%", 2)',
        "_x = ops.metatomic.unit_conversion_factor('energy', 'eV', 'meV')",
    ],
)
def test_computation_is_allowed(honest, tmp_path, statement):
    file = hostile.write_records(tmp_path / "model.pt", hostile.with_statement(honest, statement))
    with pytest.warns(Warning, match="of_all") if "warn" in statement else quiet():
        assert read_export(file).capabilities().dtype == "float64"


def test_values_of_other_compiled_classes(honest, tmp_path):
    for record in ("data.pkl", "constants.pkl"):
        content = honest["data.pkl"].replace(b"classes.metatomic\nModelMetadata", b"classes.quantized\nPackedThing")
        assert content != honest["data.pkl"]
        file = hostile.write_records(tmp_path / "model.pt", {**honest, record: content})
        with pytest.raises(CheckpointError, match=r"a value of the class torch.classes.quantized.PackedThing"):
            read_export(file)


# --- archives that two readers would read differently ---


def _code(records):
    return next(name for name in records if name.endswith(".py") and b"def capabilities" in records[name])


def ways_to_hide(honest, evil):
    """Contents of archives with hostile code where it may be overlooked."""
    code = _code(honest)
    plain, bad = ([*records.items()] for records in (honest, evil))
    upper = [(name.upper() if name == code else name, content) for name, content in bad]
    return {
        "twice, the other first": [(code, evil[code]), *plain],
        "twice, the other last": [*plain, (code, evil[code])],
        "twice, in other letters": [*plain, (code.upper(), evil[code])],
        "in other letters": upper,
        "in other letters, first": [(code.replace("code", "CODE"), evil[code]), *plain],
        "two folders": [*plain, *((f"../other/{name}", content) for name, content in bad)],
        "two folders, the other first": [*((f"../other/{name}", content) for name, content in bad), *plain],
        "of an old layout": [*plain, ("model.json", b"{}")],
    }


@pytest.mark.parametrize("way", list(ways_to_hide({"a.py": b"def capabilities"}, {"a.py": b""})))
def test_code_that_is_hidden_in_the_archive(honest, tmp_path, marker, way):
    evil = hostile.with_statement(honest, f"torch.save(1, '{marker}')")
    file = tmp_path / "model.pt"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in ways_to_hide(honest, evil)[way]:
            with pytest.warns(UserWarning, match="Duplicate") if f"model/{name}" in archive.namelist() else quiet():
                archive.writestr(name.removeprefix("../") if name.startswith("..") else f"model/{name}", content)
    with pytest.raises(CheckpointError, match="model.pt"):
        read_export(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\x7fELF" + content,
        lambda content: b"GIF89a" + content,
        lambda content: content + b"\n",
        lambda content: content + content[:100],
        lambda content: content[:-2] + b"\x05\x00hello",
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"PK\x03\x04",
        lambda content: np.zeros(300).tobytes(),
    ],
)
def test_archives_in_something_else(honest, tmp_path, change):
    file = hostile.write_records(tmp_path / "model.pt", honest)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(CheckpointError, match="model.pt"):
        read_export(file)


@pytest.mark.parametrize("ending", [".py", ".debug_pkl", ".pkl"])
def test_code_is_compressed_as_text_is_and_no_further_and_nothing_else(honest, tmp_path, ending):
    """Torch's own code is, to a quarter, so that an export of metatrain unpacks to twice its size."""

    def with_record(name, content):
        file = hostile.write_records(tmp_path / f"{name}.pt", honest)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/code/further{ending}", content)
        return file

    if ending == ".debug_pkl":
        assert read_export(with_record("code", "\n".join(map(str, range(30_000))))) is not None
    with pytest.raises(CheckpointError, match="its (code unpacks|records unpack) to"):
        read_export(with_record("bomb", b"\n" * 20_000_000))
