"""Caches of jets (:mod:`jetsym.jets.io.streaming.cache`) as files among others: what is in the folder, and its jets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError, lacks_explained
from jetsym.files import checksum
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.index import FileIndex, JetReader
from jetsym.jets.io.formats.layout import AXIS_BRANCHES, LABEL_II, Layout, axis_of
from jetsym.jets.io.mapped import MappedArray
from jetsym.reading import from_json, parse_json, read_text

if TYPE_CHECKING:
    from jetsym.jets.io.mapping.tree_mapping import TreeMapping
    from jetsym.jets.io.packed import PackedJets
    from jetsym.jets.io.packed_inputs import PackedInput

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SourceFile",
    "check_sources",
    "column_file",
    "expect_mapping",
    "index_cache",
    "input_file",
    "is_cache",
    "load_manifest",
    "open_jets",
]

MANIFEST = "manifest.json"
FORMAT = {"format": "jetsym cache", "version": 1}

#: Jets whose offsets and labels are looked at at a time when a cache is opened.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file of which a cache has been made."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """Describe a file as it is now."""
        status = path.stat()
        return cls(str(path.resolve()), status.st_size, status.st_mtime_ns, checksum(path))

    def differs(self, path: Path) -> str | None:
        """Say in what a file is not this one, or None. Its checksum is computed only if its time has changed."""
        status = path.stat()
        if status.st_size != self.bytes:
            return f"it holds {status.st_size} bytes, and held {self.bytes}"
        if status.st_mtime_ns != self.mtime_ns and checksum(path) != self.sha256:
            return "its contents have changed"
        return None


def is_cache(folder: Path) -> bool:
    """Tell whether a folder holds a finished cache."""
    try:
        found = parse_json(read_text(folder / MANIFEST))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT["format"]


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a cache.

    Raises
    ------
    DataError
        If there is none, or one of another version.
    """
    if not is_cache(folder):
        unfinished = " but one that is not finished: run jetsym convert again" if any(folder.glob("*.npy")) else ""
        raise DataError(f"{folder} holds no cache of jets{unfinished}; make one with: jetsym convert PATHS --out DIR")
    manifest: dict[str, Any] = from_json(parse_json(read_text(folder / MANIFEST)))
    needed = {"version", "columns", "classes", "names", "jets", "sources", "files"}
    if manifest.get("version") != FORMAT["version"] or not needed <= manifest.keys():
        raise DataError(
            f"{folder} is a cache of version {manifest.get('version')}; this jetsym reads {FORMAT['version']}: "
            "make it again with jetsym convert … --overwrite"
        )
    return manifest


def column_file(name: str) -> str:
    """Name the file of a per-jet column."""
    return f"column_{name}.npy"


def input_file(name: str, what: Literal["values", "offsets"]) -> str:
    """Name one of the files of an input."""
    return f"input_{name}_{what}.npy"


def _inputs(forms: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> dict[str, PackedInput]:
    """Put the inputs together, from their forms in the manifest."""
    from jetsym.jets.io.packed_inputs import PackedInput

    return {
        name: PackedInput(
            InputForm.read(said), arrays[input_file(name, "values")], arrays.get(input_file(name, "offsets"))
        )
        for name, said in forms.items()
    }


def _mapped(folder: Path, name: str, entry: dict[str, Any]) -> NDArray[Any]:
    path = place_of(folder / name)
    try:
        if path.stat().st_size != entry["bytes"]:
            raise ValueError(f"it holds {path.stat().st_size} bytes, expected {entry['bytes']}")
        with lacks_explained(f"{path}: cannot be read"):
            return cast("NDArray[Any]", MappedArray(folder / name, place=path))  # of which it does what is needed
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error}); make the cache again: jetsym convert … --overwrite") from error


def check_sources(
    folder: Path, manifest: dict[str, Any], asked: Sequence[Path] | None, *, skip_bad: bool = False
) -> None:
    """Refuse a cache of other files than those asked for, or of files or friends of theirs that have changed since.

    Files without entries, with ``skip_bad`` also those that could not be read, are not in the cache that was made of
    them.
    """
    for friend in (SourceFile(**entry) for entry in manifest.get("friends", ())):
        _expect_same(folder, friend, Path(friend.path))
    known = [SourceFile(**entry) for entry in manifest["sources"]]
    if asked is not None:
        left_out = {
            Path(one["path"]).name
            for one in manifest.get("skipped", ())
            if one["jets"] == 0 or (skip_bad and one["jets"] is None)
        }
        asked = [path for path in asked if path.name not in left_out]
    if asked is None:
        pairs = [(source, Path(source.path)) for source in known]
    elif len(asked) != len(known):
        raise ConfigError(
            f"{folder} is a cache of {len(known)} files, and {len(asked)} are asked for; choose another folder, or "
            "replace it: jetsym convert … --overwrite"
        )
    else:
        pairs = list(zip(known, asked, strict=True))
    for source, path in pairs:
        if path.name != Path(source.path).name:
            raise ConfigError(f"{folder} is a cache of other files: {source.path} is where {path} is asked for")
        _expect_same(folder, source, path)


def _expect_same(folder: Path, source: SourceFile, path: Path) -> None:
    if path.exists() and (reason := source.differs(path)):
        raise DataError(
            f"{folder} is stale: it was made of {path}, but {reason}; make it again: jetsym convert … --overwrite"
        )


def expect_mapping(folder: Path, manifest: dict[str, Any], mapping: TreeMapping | None, *, strict: bool) -> None:
    """Refuse a cache that was made with another mapping; with one where none is named, only if ``strict``."""
    made_with, asked = manifest.get("mapping"), None if mapping is None else mapping.fingerprint
    whole = _is_all_but_inputs(manifest, mapping)
    if made_with != asked and not whole and (strict or asked is not None):
        how = "without a mapping" if made_with is None else f"with {'another' if asked else 'a'} mapping"
        raise ConfigError(
            f"{folder} is a cache that was made {how}; choose another folder, or make it again: "
            "jetsym convert … --overwrite"
        )
    if mapping is None or whole or mapping.unmeasured is not None:
        return
    for name, one in mapping.inputs.items():
        said = manifest.get("inputs", {}).get(name)
        if said is not None and InputForm.read(said).scaling != one.form.scaling:
            raise ConfigError(
                f"{folder} is a cache whose input {name!r} was standardised with other numbers than those asked for, "
                "such as what other files have told; take the files themselves, or write the numbers into the mapping"
            )


def _is_all_but_inputs(manifest: dict[str, Any], mapping: TreeMapping | None) -> bool:
    """Tell whether a mapping reads all but the inputs of what a cache was made with."""
    return mapping is not None and mapping.part_of is not None and manifest.get("mapping") == mapping.part_of


def open_jets(folder: Path, manifest: dict[str, Any], mapping: TreeMapping | None = None) -> PackedJets:
    """Map all that a cache holds into memory, or what a mapping reads of it.

    Raises
    ------
    DataError
        If it is damaged.
    """
    from jetsym.jets.io.packed import PackedJets  # loads torch

    arrays = {name: _mapped(folder, name, entry) for name, entry in manifest["files"].items()}
    try:
        jets = PackedJets(
            offsets=arrays["offsets.npy"],
            values=arrays["values.npy"],
            kinds=arrays.get("kinds.npy"),
            jet_p4=arrays["jet_p4.npy"],
            label=arrays.get("label.npy"),
            classes=tuple(manifest["classes"]),
            columns={name: arrays[column_file(name)] for name in manifest["names"]},
            inputs={} if _is_all_but_inputs(manifest, mapping) else _inputs(manifest.get("inputs", {}), arrays),
        )
        _expect_whole(jets, manifest["jets"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder} is a cache that is damaged ({error}); make it again: jetsym convert … --overwrite"
        ) from error
    return jets


def _expect_whole(jets: PackedJets, n_jets: int) -> None:
    """Refuse arrays that do not go together, and offsets and labels that lead nowhere: ValueError."""
    if len(jets) != n_jets:
        raise ValueError(f"it has {len(jets)} jets, and should have {n_jets}")
    members = {"values": jets.values, "kinds": jets.kinds}
    own = {"jet_p4": jets.jet_p4, "label": jets.label, **jets.columns}
    for many, arrays in ((len(jets.values), members), (n_jets, own)):
        for name, array in arrays.items():
            if array is not None and len(array) != many:
                raise ValueError(f"{name} has {len(array)} rows, and should have {many}")
    wrong = [name for name, array in (("values", jets.values), ("jet_p4", jets.jet_p4)) if array.dtype != np.float32]
    if wrong or jets.values.ndim != 2 or jets.values.shape[1] not in (4, 8) or jets.jet_p4.shape[1:] != (4,):
        raise ValueError(f"momenta have shapes {jets.values.shape}, {jets.jet_p4.shape}, or are not float32")
    if jets.kinds is not None and (jets.kinds.dtype, jets.kinds.ndim) != (np.dtype(np.uint8), 1):
        raise ValueError(f"kinds are {jets.kinds.dtype} in {jets.kinds.ndim} dimensions, expected uint8 in one")
    _expect_offsets("offsets", jets.offsets, len(jets.values))
    for name, one in jets.inputs.items():
        if one.offsets is not None and len(one.offsets) == n_jets + 1:
            _expect_offsets(f"those of input {name}", one.offsets, len(one.values))
        elif one.offsets is not None or len(one.values) != n_jets:
            raise ValueError(f"the input {name} is not of {n_jets} jets")
    if jets.label is None:
        return
    for start in range(0, n_jets, _AT_ONCE):
        part = jets.label[start : start + _AT_ONCE]
        if part.dtype != np.int64 or not 0 <= part.min() <= part.max() < len(jets.classes):
            raise ValueError(f"labels are {part.min()} to {part.max()} for {len(jets.classes)} classes")


def _expect_offsets(name: str, offsets: NDArray[np.int64], members: int) -> None:
    if offsets.dtype != np.int64 or offsets[0] != 0 or offsets[-1] != members:
        raise ValueError(f"{name} go from {offsets[0]} to {offsets[-1]}, expected 0 to {members}")
    for start in range(0, len(offsets), _AT_ONCE):
        if (np.diff(offsets[start : start + _AT_ONCE + 1]) < 0).any():
            raise ValueError(f"{name} fall behind jet {start}")


def index_cache(folder: Path, mapping: TreeMapping | None = None) -> FileIndex:
    """Index a cache as one file of jets, in which each jet is an entry.

    Raises
    ------
    DataError
        If the folder holds no cache, or one that is damaged, or older than its sources.
    ConfigError
        If it was made with another mapping.
    """
    manifest = load_manifest(folder)
    expect_mapping(folder, manifest, mapping, strict=False)
    check_sources(folder, manifest, None)
    jets = open_jets(folder, manifest, mapping)
    layout = Layout(
        labels=() if jets.label is None else (LABEL_II,),
        classes=jets.classes,
        columns=tuple(jets.columns),
        scalars=tuple(f"part_{name}" for name in jets.scalar_names),
    )
    index = FileIndex.of(folder, n_jets=len(jets), particles=len(jets.values), layout=layout, reader=_CachedReader)
    return replace(index, packed=jets)


class _CachedReader(JetReader):
    """The numbers of a cache's jets; their particles are taken as they are, see :attr:`FileIndex.packed`."""

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        jets = self.index.packed
        assert jets is not None
        if name == LABEL_II and jets.label is not None:
            return jets.label[start:stop]
        if name in AXIS_BRANCHES:
            return axis_of(jets.jet_p4[start:stop].T)[name]
        return jets.columns[name][start:stop]
