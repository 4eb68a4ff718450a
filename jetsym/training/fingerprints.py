"""What tells a run's jets and their files from others, wherever they lie."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jetsym.files import fingerprint_of
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.io.remote import File
from jetsym.jets.io.streaming.cache import MANIFEST
from jetsym.jets.schema import WEIGHT

__all__ = ["contents_of", "fingerprints", "in_order"]


def fingerprints(files: Sequence[File]) -> list[tuple[str, str]]:
    """Return name and fingerprint of each file; of one on another machine its address stands for its contents."""
    return [(file.name, _print_of(file)) for file in files]


def _print_of(file: File) -> str:
    if not isinstance(file, Path):
        return str(file)
    try:
        return fingerprint_of(file / MANIFEST if file.is_dir() else file)
    except OSError:  # one to be left out
        return ""


def in_order(data: str | list[str], earlier: Sequence[Sequence[str]]) -> Paths:
    """Return the files in the order that they had in an earlier run, if they are the same, wherever they are now."""
    if not earlier:
        return data
    files = jet_files(data)
    places: dict[str, list[File]] = {}
    for file, (_, own) in zip(files, fingerprints(files), strict=True):
        places.setdefault(own, []).append(file)
    if Counter(own for _, own in earlier) != Counter({own: len(found) for own, found in places.items()}):
        return data
    return [str(places[own].pop(0)) for _, own in earlier]


def contents_of(jets: JetBatch) -> str:
    """Digest all that a tagger is shown of jets, and their weights, in their order."""
    digest = hashlib.sha256()
    fixed = (jets.jet_p4, jets.p4, jets.scalars, jets.mask, jets.label, jets.columns.get(WEIGHT))
    for name, form in jets.input_forms.items():  # where there are none, the digest is that of older runs
        digest.update(repr((name, form.names)).encode())
    others = (jets.columns[name] for name in sorted(jets.columns) if name != WEIGHT)  # the target, if there is one
    for tensor in (*fixed, *others, *jets.inputs.values()):
        if tensor is not None:
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
