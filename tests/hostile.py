"""Exports that try to run something: a small honest one, and what is changed in it."""

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Dict, List, Optional  # noqa: UP035 (as TorchScript reads them)

import pytest
import torch

Records = dict[str, bytes]

#: Leaves a file behind as soon as it is loaded.
LIBRARY = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) {
    FILE *file = fopen("%s", "w");
    if (file) { fputs("ran", file); fclose(file); }
}
"""


def library(folder: Path, marker: Path, name: str = "libevil.so") -> Path:
    """A native library whose constructor writes ``marker``."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler makes a library here")
    source, made = folder / "evil.c", folder / name
    folder.mkdir(parents=True, exist_ok=True)
    source.write_text(LIBRARY % marker)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source)], check=True)
    return made


def write_honest_export(file: Path) -> Path:
    """Save a model without weights that predicts an energy of zero."""
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput, System

    class Nothing(torch.nn.Module):
        def forward(
            self,
            systems: List[System],  # noqa: UP006
            outputs: Dict[str, ModelOutput],  # noqa: UP006
            selected_atoms: Optional[Labels],  # noqa: UP045
        ) -> Dict[str, TensorMap]:  # noqa: UP006
            known = torch.jit.annotate(List[System], []), torch.jit.annotate(Dict[str, ModelOutput], {})  # noqa: UP006
            assert len(known) == 2 or selected_atoms is None  # TorchScript finds types that are named in the body
            block = TensorBlock(
                torch.zeros((len(systems), 1), dtype=torch.float64),
                Labels(["system"], torch.arange(len(systems)).reshape(-1, 1)),
                torch.jit.annotate(List[Labels], []),  # noqa: UP006
                Labels(["energy"], torch.zeros((1, 1), dtype=torch.int64)),
            )
            return {"energy": TensorMap(Labels(["_"], torch.zeros((1, 1), dtype=torch.int64)), [block])}

    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(quantity="energy", unit="eV", sample_kind="system")},
        atomic_types=[1, 8],
        interaction_range=0.0,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    AtomisticModel(Nothing().eval(), ModelMetadata(), capabilities).save(str(file))
    return file


def records_of(file: Path) -> Records:
    """The records of an archive without the name of its folder."""
    with zipfile.ZipFile(file) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write_records(file: Path, records: Mapping[str, bytes], folder: str = "model") -> Path:
    """Write an archive of records."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(f"{folder}/{name}", content)
    return file


def with_libraries(records: Records, entries: list[dict[str, str]], record: str = "extensions") -> Records:
    """The same with other libraries named."""
    return {**records, f"extra/{record}": json.dumps([{"sha256": "", **entry} for entry in entries]).encode()}


def with_statement(records: Records, statement: str) -> Records:
    """The same with a statement in the method that is called when an export is loaded."""
    signature = re.compile(rb"( *)def capabilities\(self: [\w.]+\) -> [\w.]+:\n")
    changed = dict(records)
    for name, content in records.items():
        found = signature.search(content) if name.endswith(".py") else None
        if found:
            lines = "".join(f"{found[1].decode()}  {line}\n" for line in statement.splitlines())
            changed[name] = content.replace(found[0], found[0] + lines.encode(), 1)
    assert changed != records
    return changed


Change = Callable[[Records], Records]
