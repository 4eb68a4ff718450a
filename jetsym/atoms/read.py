"""Structures from files, as ASE holds them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetsym.arguments import at_least, checked
from jetsym.atoms.frames import expect_usable, refuse_partial_sites
from jetsym.errors import DataError, require
from jetsym.files import expect_data

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["FORMATS", "expect_elements", "form_of", "frames_of", "read_frames"]

#: Ending of a file -> its format in ASE, of those that hold data and nothing that runs.
FORMATS = {
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".cif": "cif",
    ".vasp": "vasp",
    ".poscar": "vasp",
    ".traj": "traj",
    ".json": "json",
    ".db": "db",
}
#: Names of VASP's files of structures, which may go on: POSCAR, CONTCAR.relaxed, POSCAR_1.
NAMED = re.compile(r"(POSCAR|CONTCAR)([._-].*)?|.*[._-](POSCAR|CONTCAR)", re.IGNORECASE)


@checked(DataError, limit=at_least(1))
def read_frames(path: str | Path | Sequence[str | Path], *, limit: int | None = None) -> list[Atoms]:
    """Read structures from files.

    Parameters
    ----------
    path
        An ``.xyz`` or ``.extxyz`` file (lengths in Å), ``.cif``, ``.vasp``, POSCAR, CONTCAR, ``.traj``, or ``.json`` or
        ``.db`` of ASE's databases, or several of them.
    limit
        At most so many structures, the first ones.

    Raises
    ------
    DataError
        A file is missing, has another ending, cannot be read, or holds sites that are occupied in part.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> import tempfile, ase.build, ase.io
    >>> file = Path(tempfile.mkdtemp(), "water.xyz")
    >>> ase.io.write(file, ase.build.molecule("H2O"))
    >>> len(read_frames(file)[0])
    3
    """
    files = [path] if isinstance(path, (str, Path)) else list(path)
    frames: list[Atoms] = []
    for file in map(Path, files):
        frames += _read(file.expanduser(), None if limit is None else limit - len(frames))
        if limit is not None and len(frames) >= limit:
            break
    return frames


def form_of(file: Path) -> str | None:
    """Return ASE's name for the format of a file, by its name; None for those that are not read.

    Examples
    --------
    >>> form_of(Path("water.xyz")), form_of(Path("CONTCAR.relaxed")), form_of(Path("water.gz"))
    ('extxyz', 'vasp', None)
    """
    return FORMATS.get(file.suffix.lower()) or ("vasp" if NAMED.fullmatch(file.name) else None)


def _read(file: Path, limit: int | None) -> list[Atoms]:
    if file.exists():
        expect_data(file)
    form = form_of(file)
    if form is None:
        raise DataError(
            f"{file} ends in {file.suffix!r}; expected a file of structures: {', '.join(FORMATS)}, POSCAR or CONTCAR"
        )
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    ase_io = require("ase.io", extra="atoms", purpose="reading structures")
    try:
        frames = list(ase_io.iread(str(file), index=slice(0, limit), format=form))
    except Exception as error:  # ASE's readers raise whatever the parsing of broken text gives
        raise DataError(f"{file} cannot be read as {form}: {error or type(error).__name__}") from error
    for place, frame in enumerate(frames):
        refuse_partial_sites(frame, f"structure {place} of {file}")
    return frames


def frames_of(source: Any, *, limit: int) -> list[Atoms]:
    """Return at most ``limit`` structures of what a caller gave: files, ``ase.Atoms``, or a list of either.

    Raises
    ------
    DataError
        There are none, or one is such that nothing can be computed of it.
    """
    atoms = require("ase", extra="atoms", purpose="jetsym.atoms").Atoms
    if source is None:
        raise DataError("there are no structures; expected ase.Atoms, a list of them, or files")
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if items and all(isinstance(item, (str, Path)) for item in items):
        frames = read_frames(items, limit=limit)
    else:
        frames = items[:limit]
    if not frames:
        raise DataError("there are no structures; expected at least one")
    for index, frame in enumerate(frames):
        if not isinstance(frame, atoms):
            raise DataError(f"structure {index} is a {type(frame).__name__}; expected ase.Atoms or the path of a file")
        expect_usable(frame, f"structure {index}")
    return frames


def expect_elements(frames: Sequence[Atoms], known: Collection[int]) -> None:
    """Refuse frames with elements that a model does not know.

    Raises
    ------
    DataError
        A frame holds one.
    """
    for index, frame in enumerate(frames):
        if unknown := sorted(set(frame.numbers.tolist()) - set(known)):
            raise DataError(
                f"structure {index} ({frame.get_chemical_formula()}) holds atomic numbers {unknown}; "
                f"the model knows {sorted(known)}"
            )
