"""Plan of the files of a generated sample, and the manifest that lies beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jetsym._version import __version__
from jetsym.errors import ConfigError, DataError
from jetsym.files import checksum, mark_unfinished, remove_leftovers, write_atomically
from jetsym.jets.generate.chunk import ChunkTask
from jetsym.jets.generate.detector import DetectorConfig
from jetsym.jets.generate.processes import COMMON_SETTINGS, PROCESSES
from jetsym.jets.generate.substructure import JetSelection
from jetsym.jets.io.paths import data_in
from jetsym.jets.schema import CLASSES
from jetsym.reading import parse_json, read_text

__all__ = ["JETS_PER_CHUNK", "MANIFEST", "Manifest", "PlannedFile", "plan", "settings"]

MANIFEST = "manifest.json"

#: Jets per unit of work. Part of what a seed means: another number gives other jets.
JETS_PER_CHUNK = 500

_FORMAT = 1


@dataclass(frozen=True)
class PlannedFile:
    """One file of a sample: ``name`` is relative to the sample's folder, ``key`` tells its random streams apart."""

    name: str
    label: str
    split: str | None
    n_jets: int
    key: tuple[int, int, int]

    def tasks(self, *, seed: int, detector: DetectorConfig) -> Iterator[ChunkTask]:
        """Yield the chunks of the file, in order."""
        for chunk, start in enumerate(range(0, self.n_jets, JETS_PER_CHUNK)):
            n_jets = min(JETS_PER_CHUNK, self.n_jets - start)
            yield ChunkTask(self.label, n_jets, seed, (*self.key, chunk), detector)


def plan(
    classes: Sequence[str], *, jets_per_class: int, jets_per_file: int, split: Mapping[str, float] | None
) -> list[PlannedFile]:
    """Plan the files of a sample. What is in a file does not depend on how many others there are."""
    files = []
    for number, (name, n_jets) in enumerate(_split_sizes(jets_per_class, split)):
        for label in classes:
            for i, start in enumerate(range(0, n_jets, jets_per_file)):
                file = f"{PROCESSES[label].file_stem}_{i:03d}.root"
                files.append(
                    PlannedFile(
                        name=f"{name}/{file}" if name else file,
                        label=label,
                        split=name,
                        n_jets=min(jets_per_file, n_jets - start),
                        key=(CLASSES.index(label), number, i),
                    )
                )
    return files


def _split_sizes(n_jets: int, split: Mapping[str, float] | None) -> list[tuple[str | None, int]]:
    """Split jets into whole numbers that add up to the total: the parts between the rounded cumulative fractions."""
    if split is None:
        return [(None, n_jets)]
    edges, total = [0], 0.0
    for fraction in split.values():
        total += fraction
        edges.append(round(total * n_jets))
    sizes: list[tuple[str | None, int]] = [
        (name, stop - start) for name, start, stop in zip(split, edges[:-1], edges[1:], strict=True)
    ]
    if empty := [name for name, size in sizes if size == 0]:
        raise ConfigError(
            f"split {empty[0]!r} gets none of {n_jets} jets per class; raise jets_per_class or its fraction"
        )
    return sizes


def settings(
    *,
    classes: Sequence[str],
    jets_per_class: int,
    jets_per_file: int,
    seed: int,
    split: Mapping[str, float] | None,
    detector: DetectorConfig,
) -> dict[str, Any]:
    """Return everything that decides which jets come out, in a form that survives JSON."""
    return {
        "seed": seed,
        "classes": list(classes),
        "jets_per_class": jets_per_class,
        "jets_per_file": jets_per_file,
        "jets_per_chunk": JETS_PER_CHUNK,
        "split": None if split is None else dict(split),
        "versions": {"jetsym": __version__, **{name: version(name) for name in ("pythia8mc", "fastjet")}},
        "pythia": {"common": list(COMMON_SETTINGS), **{name: list(PROCESSES[name].settings) for name in classes}},
        "selection": asdict(JetSelection()),
        "detector": asdict(detector),
    }


class Manifest:
    """The manifest of a sample, ``manifest.json``: its settings and, for every finished file, jets, size and sha256."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / MANIFEST
        self._settings = dict(settings)
        self.files: dict[str, dict[str, Any]] = {}
        #: Folders of the files of the sample.
        self.folders: set[Path] = set()

    @classmethod
    def open(
        cls, folder: Path, settings: Mapping[str, Any], files: Iterable[PlannedFile], *, overwrite: bool
    ) -> Manifest:
        """Read the manifest that is there if its settings are the same, or start one and save it.

        The folders are marked as unfinished; what a killed process has left half written in them is removed.

        Raises
        ------
        ConfigError
            If the folder holds a sample of other settings and ``overwrite`` is false.
        DataError
            If it holds one of the files but no manifest, and ``overwrite`` is false; or something else than a manifest;
            or data that is none of this sample's, or of the one to be replaced.
        """
        manifest = cls(folder, settings)
        planned, former = [folder / file.name for file in files], dict[str, Any]()
        if manifest.path.exists():
            former = manifest._former(overwrite=overwrite)
        elif not overwrite and (there := [path for path in planned if path.exists()]):
            raise DataError(
                f"{there[0]} is there already, but no {MANIFEST} says what it is; choose another folder, "
                "or replace it with overwrite=True (--overwrite=true)"
            )
        own = {*planned, *map(folder.joinpath, former)}
        if strangers := [path for path in data_in(folder) if path not in own]:
            raise DataError(
                f"{folder} holds {strangers[0].relative_to(folder)}, which is not of this sample; choose another folder"
            )
        manifest.folders = {folder, *(path.parent for path in planned)}
        for place in manifest.folders:
            place.mkdir(parents=True, exist_ok=True)
            remove_leftovers(place)
            mark_unfinished(place, command="jetsym generate")
        if overwrite:
            for path in map(folder.joinpath, former):
                if path.resolve().is_relative_to(folder.resolve()):  # whatever the manifest may say
                    path.unlink(missing_ok=True)
        else:
            manifest.files = former
        manifest._save()
        return manifest

    def _former(self, *, overwrite: bool) -> dict[str, Any]:
        """Return the files that the manifest lists; without ``overwrite`` it has to be of the same settings."""
        folder = self.path.parent
        try:
            found = parse_json(read_text(self.path))
            files, differing = dict(found["files"]), _differences(found["settings"], self._settings)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.path} is not a manifest of jetsym generate; remove it or write elsewhere"
            ) from error
        if differing and not overwrite:
            raise ConfigError(
                f"{folder} holds a sample made with other settings ({'; '.join(differing)}); repeat them to continue "
                "it, choose another folder, or replace it with overwrite=True (--overwrite=true)"
            )
        return files

    def is_finished(self, file: PlannedFile) -> bool:
        """Tell whether a file is there as the manifest says, byte for byte."""
        path, entry = self.path.parent / file.name, self.files.get(file.name)
        return entry is not None and path.exists() and checksum(path) == entry["sha256"]

    def add(self, file: PlannedFile) -> None:
        """Enter a finished file and save the manifest."""
        path = self.path.parent / file.name
        self.files[file.name] = {
            "class": file.label,
            "split": file.split,
            "jets": file.n_jets,
            "bytes": path.stat().st_size,
            "sha256": checksum(path),
        }
        self._save()

    def _save(self) -> None:
        content = {
            "format": _FORMAT,
            "settings": self._settings,
            "written_with": {name: version(name) for name in ("uproot", "awkward", "numpy")},
            "files": self.files,
        }
        write_atomically(self.path, json.dumps(content, indent=2) + "\n")


def _differences(found: Mapping[str, Any], asked: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """List what differs between two nested settings, as ``name: there …, asked …``."""
    differing = []
    for name in {**found, **asked}:
        there, here = found.get(name), asked.get(name)
        if isinstance(there, dict) and isinstance(here, dict):
            differing += _differences(there, here, prefix=f"{prefix}{name}.")
        elif there != here:
            differing.append(f"{prefix}{name}: there {there!r}, asked {here!r}")
    return differing
