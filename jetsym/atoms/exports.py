"""Exported models (``.pt``), opened without running anything but computation.

An export is a TorchScript archive. It can name native libraries, which metatomic would load from wherever the archive
says, and whose constructors run; and its code is run by torch's own interpreter, in part while it is opened. So all
records are looked at first, as torch itself reads them:

- a library (``extra/extensions``, ``extra/extensions-deps``) must be that of a package that is installed here. It is
  not loaded by its name even then: the package is imported, where the code needs its operators;
- the code and the values may name what :mod:`jetsym.atoms.torchscript` lists: operators that compute.

Anything else is refused, before it is loaded. ``trust=True`` opens it as metatomic does, libraries and all.
"""

from __future__ import annotations

import re
import site
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from jetsym.atoms.packages import quiet
from jetsym.atoms.torchscript import RefusedError, check_classes, check_code, spaces_in
from jetsym.errors import CheckpointError, require
from jetsym.reading import expect_stored, parse_json

__all__ = ["TRUST", "declared_outputs", "read_export"]

#: What a message says of files that are refused.
TRUST = "trust=True (--trust) opens it all the same, and runs what it brings: only where you trust whoever made it"

#: Endings of records that torch compresses in an archive of TorchScript: its code, and where its lines come from.
PACKED = (".py", ".debug_pkl")
#: Records that name libraries.
LIBRARIES = ("extra/extensions", "extra/extensions-deps")
#: Namespace of operators or compiled classes -> the module that brings them.
BROUGHT_BY = {"sphericart_torch": "sphericart.torch", "featomic": "featomic.torch", "deepmd": "deepmd.pt"}


def read_export(file: str | Path, *, trust: bool = False) -> torch.nn.Module:
    """Load the model of a ``.pt``.

    Parameters
    ----------
    file
        What ``AtomisticModel.save`` of metatomic wrote, ``mtt export`` or a training of metatrain.
    trust
        Open it without a look at what it names, and load the libraries that it names: whoever made the file can then
        run anything.

    Returns
    -------
    metatomic.torch.AtomisticModel
        The model.

    Raises
    ------
    CheckpointError
        It is damaged, no exported model, or names what it may not.
    MissingDependencyError
        The extra ``atoms`` is not installed.
    """
    with quiet():
        package: Any = require("metatomic.torch", extra="atoms", purpose="jetsym.atoms")
    try:
        with quiet():
            opened: torch.nn.Module
            if trust:
                opened = package.load_atomistic_model(str(file))
            else:
                _check(file)
                package.check_atomistic_model(str(file))
                model = torch.jit.load(str(file))
                opened = package.AtomisticModel(model, model.metadata(), model.capabilities())
            return opened
    except RefusedError as error:
        raise CheckpointError(f"{file} is not opened, as it names {error}; {TRUST}") from None
    except Exception as error:  # torch and metatomic raise anything over a broken archive, down to AttributeError
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{file} cannot be read as an exported model of metatomic: {reason}") from error


def declared_outputs(model: Any) -> list[str]:
    """Return the names of a metatomic model's outputs as it declares them.

    Its capabilities hold older names of the same outputs as well: each of non-conservative forces twice.
    """
    return list(getattr(model, "_model_capabilities_outputs_names", None) or model.capabilities().outputs)


def _check(file: str | Path) -> None:
    """Refuse an archive that names what it may not."""
    _check_ends(Path(file))
    expect_stored(file, packed_text=PACKED)
    reader: Any = torch._C.PyTorchFileReader(str(file))  # by which torch.jit.load finds its records
    names: list[str] = reader.get_all_records()
    records = {name.lower(): name for name in names}  # as it does, whatever the letters' case
    if len(records) < len(names):
        raise RefusedError("one record twice")
    if "model.json" in records:
        raise RefusedError("a layout from before torch 1.0 (model.json)")
    for record in LIBRARIES:
        if record in records:
            _check_libraries(reader.get_record(records[record]))
    code = [reader.get_record(name) for record, name in records.items() if record.endswith(".py")]
    for space in set().union(*map(spaces_in, code)) & BROUGHT_BY.keys():
        require(BROUGHT_BY[space], extra="atoms", purpose="this exported model")
    for source in code:
        check_code(source)
    for record, name in records.items():
        if record.endswith(".pkl"):
            check_classes(reader.get_record(name))


def _check_ends(file: Path) -> None:
    """Refuse an archive that is appended to something else, or has something else appended to it."""
    with file.open("rb") as stream:
        start = stream.read(4)
        stream.seek(-min(22, stream.seek(0, 2)), 2)
        end = stream.read(4)
    if start != b"PK\x03\x04":
        raise ValueError("it is no zip archive")
    if end != b"PK\x05\x06":
        raise RefusedError("something after the end of the archive")


def _check_libraries(record: bytes) -> None:
    """Refuse libraries that are not those of installed packages."""
    for library in parse_json(record):
        name, path = str(library["name"]), str(library["path"])
        if not _is_installed(name, path):
            raise RefusedError(
                f"the native library {path!r} ({name!r}), which is that of no installed package: install the package "
                "that it comes from"
            )


def _is_installed(name: str, path: str) -> bool:
    """Tell whether there is such a library among installed packages, maybe of another torch or of another system.

    Examples
    --------
    >>> _is_installed("evil", "/tmp/libevil.so"), _is_installed("evil", "libevil.so")
    (False, False)
    """
    parts = PurePosixPath(path).parts
    if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)+", path) or ".." in parts:
        return False
    # As metatomic makes the name of a library out of that of its file.
    if parts[-1].removeprefix("lib").removesuffix(".so").removesuffix(".dylib") != name:
        return False
    pattern = re.sub(r"/torch-[\d.]+/", "/torch-*/", path)
    pattern = re.sub(r"-[0-9a-f]{8}(?=\.)", "-*", pattern)  # of what a wheel brings along
    pattern = re.sub(r"\.(so|dylib)(\.[\d.]+)?$", ".*", pattern)
    folders = [*site.getsitepackages(), site.getusersitepackages() if site.ENABLE_USER_SITE else "", sys.prefix]
    return any(found.is_file() for folder in filter(None, folders) for found in Path(folder).glob(pattern))
