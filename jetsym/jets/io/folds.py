"""Folds: which jets a network is trained on and which it is judged on, told by a whole number such as the event's.

A jet is of fold k of n where its number % n is k, whatever file it lies in and wherever, so that jets of one event, and
one event in several files, stay together.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.io.formats.index import FileIndex, InnerReader
from jetsym.jets.io.formats.opening import explained

__all__ = ["ALL_JUDGED", "EVENT", "NO_FOLD", "Fold", "folded", "judged_fold"]

#: The column that tells folds apart where nothing is said, and what is said for jets of all folds.
EVENT: Final = "event"
NO_FOLD: Final = "none"

#: What helps where jets have no such number.
ALL_JUDGED = f"evaluate and predict take jets of all folds with --fold {NO_FOLD}"


@dataclass(frozen=True)
class Fold:
    """The jets of one fold, or those of all others.

    Parameters
    ----------
    number, of
        Which of how many, from 0.
    column
        Of whole numbers; with a mapping also an expression.
    others
        Whether the jets of the other folds are meant.

    Examples
    --------
    >>> fold = Fold.parse("1/3", "event")
    >>> fold.choose(np.array([0, 1, 4, -2])).tolist(), str(fold.rest)
    ([False, True, True, True], "all folds but 1/3 by 'event'")
    """

    number: int
    of: int
    column: str
    others: bool = False

    @classmethod
    def parse(cls, text: str, column: str) -> Fold:
        """Read a fold from words such as ``0/5``.

        Raises
        ------
        ConfigError
            They are none.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(text).strip())
        number, of = (int(found[1]), int(found[2])) if found else (0, 0)
        if of < 2 or number >= of:
            raise ConfigError(f"--fold is {text!r}; expected k/n, the fold k = 0 … n − 1 of n, such as 0/5")
        if not column:
            raise ConfigError(f"--fold_by is {column!r}; expected the column that tells folds apart, such as {EVENT}")
        return cls(number, of, column)

    @property
    def rest(self) -> Fold:
        """All other folds."""
        return replace(self, others=True)

    def choose(self, numbers: NDArray[Any], *, where: str = "") -> NDArray[np.bool_]:
        """Tell which jets are meant, from their numbers.

        Raises
        ------
        DataError
            These are no whole numbers.
        """
        if numbers.dtype.kind not in "iu":
            raise DataError(
                f"{where}{self.column!r} holds {numbers.dtype.name}, by which jets cannot be told apart into folds; "
                "expected whole numbers"
            )
        wide = numbers if numbers.dtype.kind == "u" and numbers.dtype.itemsize == 8 else numbers.astype(np.int64)
        mine: NDArray[np.bool_] = wide % self.of == self.number
        return ~mine if self.others else mine

    def __str__(self) -> str:
        return f"{'all folds but' if self.others else 'fold'} {self.number}/{self.of} by {self.column!r}"


def folded(index: FileIndex, fold: Fold) -> FileIndex:
    """Return the index of those jets of a file that a fold means.

    Raises
    ------
    DataError
        The file has no such column, or it holds no whole numbers.
    """
    known = index.layout.columns
    if fold.column not in known:
        raise DataError(
            f"{index.path}: there is no column {fold.column!r} to tell folds apart; {closest(fold.column, known)}. A "
            f"mapping makes a column of any branch: columns: {{{EVENT}: …}}; --fold_by names another one; {ALL_JUDGED}"
        )
    with index.reader(index) as file, explained(index.path):
        chosen = fold.choose(file.column(fold.column, 0, index.n_jets), where=f"{index.path}: ")
    return index.only(chosen, partial(_FoldedReader, index))


class _FoldedReader(InnerReader):
    """An open file of whose jets only some are read."""

    def __init__(self, raw: FileIndex, index: FileIndex) -> None:
        super().__init__(raw, index)
        self._chosen = index.entries

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        return self._file.flat_at(name, self._chosen[start:stop])

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        return self._file.ragged_at(name, self._chosen[start:stop])


def judged_fold(trained: tuple[str, str] | None, asked: str | None, by: str | None) -> Fold | None:
    """Find the jets that a network is to be judged on; None for all of them.

    Parameters
    ----------
    trained
        The fold that its training has held out, and by which column; None where there was none.
    asked, by
        What ``--fold`` and ``--fold_by`` say; by default the fold that the training has held out. With "none" jets of
        the folds that it was trained on are judged as well, which is said.

    Raises
    ------
    ConfigError
        Another fold, or one by another column, is asked for, which it was trained on.

    Examples
    --------
    >>> print(judged_fold(("0/5", "event"), None, None), judged_fold(None, None, None))
    fold 0/5 by 'event' None
    """
    own = None if trained is None else Fold.parse(*trained)
    if asked == NO_FOLD:
        if own is not None:
            print(
                f"note: --fold {NO_FOLD}: the training has held out {own}; jets of the other folds, on which the "
                "network was trained, are judged as well",
                file=sys.stderr,
                flush=True,
            )
        return None
    if asked is None:
        if own is None and by is not None:
            raise ConfigError(f"--fold_by is {by!r}, and no --fold is given; expected one, such as 0/5")
        found = own if own is None or by is None else replace(own, column=by)
    else:
        found = Fold.parse(asked, by or (EVENT if own is None else own.column))
    if own is not None and found != own:
        raise ConfigError(
            f"{found} has jets that the network was trained on: its training has held out {own}; leave --fold and "
            f"--fold_by away to judge these, or write --fold {NO_FOLD} to judge all jets"
        )
    return found
