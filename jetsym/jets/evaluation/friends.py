"""Scores as friends of the trees that they are of: a file for each of the files, one made after the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from jetsym.errors import ConfigError
from jetsym.files import fingerprint_of
from jetsym.jets.checkpoint import digest_of
from jetsym.jets.evaluation.row_files import Columns, Write, fact_of, row_file
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.remote import File
from jetsym.jets.io.streaming.blocks import ENTRY, FILE
from jetsym.ranks import here

__all__ = ["FRIEND", "STEM", "Friends", "fingerprint_of_network"]

#: The tree of friends, and what stands for the name of a file in theirs.
FRIEND, STEM = "scores", "{stem}"

#: The fact of a friend that tells what it was made of, and the one that tells of which file.
_MADE_OF, _FILE = "made_of", "file"


@dataclass
class Friends:
    """The friends of some files: where each goes, and what it is made of.

    Parameters
    ----------
    places
        The friend of each file.
    mapping
        How the files are read, where that is not JetClass's way: it may read other files beside them.
    made_of
        What all are made of besides their files: a friend that is there is whole, and is that of this work if it says
        the same.
    """

    places: dict[File, Path]
    mapping: TreeMapping | None = None
    made_of: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, out: Path, files: Sequence[File], mapping: TreeMapping | None = None) -> Friends:
        """Find where the friend of each file goes.

        Raises
        ------
        ConfigError
            One of them is a cache, or two would go to the same place.
        """
        if cache := next((file for file in files if isinstance(file, Path) and file.is_dir()), None):
            raise ConfigError(f"--friend: {cache} is a cache, which is no tree; expected the files that it was made of")
        found = {file: Path(str(out).replace(STEM, file.stem)) for file in files}
        if len({*found.values()}) < len(files):
            several = [file for file, place in found.items() if [*found.values()].count(place) > 1]
            raise ConfigError(
                f"--friend: out is {str(out)!r} for {several[0]} and {several[1]} alike; expected a name of its own "
                f"for each, such as scores/{STEM}{out.suffix}, and files whose names differ"
            )
        return cls(found, mapping)

    def left(self) -> list[File]:
        """Return the files whose friends are not there yet, and say how many are."""
        files = [file for file, place in self.places.items() if fact_of(place, _MADE_OF) != self._said(file)]
        done = len(self.places) - len(files)
        if done and here().is_first:
            words = f"{done:,} of {len(self.places):,} files have their friends from an earlier call"
            print(f"note: {words}, which are left as they are", file=sys.stderr, flush=True)
        return files

    @contextmanager
    def opened(self, files: Sequence[File], facts: dict[str, str], names: Sequence[str]) -> Iterator[Write]:
        """Open one file after the other that takes the rows of one of ``files`` in portions, in columns of some names.

        The rows say by a number among ``files`` which it is, in growing order.
        """
        with ExitStack() as stack:
            number, write = -1, None

            def divide(columns: Columns) -> None:
                nonlocal number, write
                for one in np.unique(columns[FILE]):
                    rows = columns[FILE] == one
                    own = {name: columns[name][rows] for name in (ENTRY, *names)}
                    if one != number or write is None:
                        stack.close()  # the one before it is whole
                        number, file = one, files[one]
                        said = {_FILE: str(file), _MADE_OF: self._said(file)}
                        write = stack.enter_context(row_file(self.places[file], facts | said, FRIEND))
                    write(own)

            yield divide

    def _said(self, file: File) -> str:
        """Return what the friend of a file is made of, as JSON."""
        beside = [] if self.mapping is None else self.mapping.friends_of([file])
        return json.dumps({_FILE: [_print_of(one) for one in (file, *beside)], **self.made_of}, sort_keys=True)


def _print_of(file: File) -> str:
    """Digest a file; of one on another machine its address stands for its contents."""
    return fingerprint_of(file) if isinstance(file, Path) and file.is_file() else str(file)


def fingerprint_of_network(network: nn.Module) -> str:
    """Digest the class of a network, and its weights and buffers.

    Examples
    --------
    >>> networks = [nn.Linear(2, 1), nn.Linear(2, 1)]
    >>> fingerprint_of_network(networks[0]) == fingerprint_of_network(networks[1])
    False
    >>> _ = networks[1].load_state_dict(networks[0].state_dict())
    >>> fingerprint_of_network(networks[0]) == fingerprint_of_network(networks[1])
    True
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return digest_of(tensors, {"class": type(network).__qualname__})[:16]
