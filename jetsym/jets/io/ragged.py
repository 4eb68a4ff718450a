"""RaggedJets: jets in numpy arrays without padding, every quantity spelled out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.inputs import InputForm
from jetsym.jets.schema import CLASSES, SCALARS

__all__ = ["RaggedJets", "cast_exactly", "check_alike", "common_dtype", "leading", "leading_places", "offsets_of"]

#: Particles whose squared pT rises by less are in falling order: momenta are rounded when they are stored.
_ROUNDING = 1e-5
#: Kinds of NumPy's types that hold numbers, and what to do about columns of several.
_NUMBERS = "biuf"
_ONE_TYPE = "give files of one kind together, or a mapping whose column has one type in all: columns: {…: …}"


@dataclass(frozen=True, eq=False)
class RaggedJets:
    """Jets without padding: the particles of all jets one after the other, and where each jet begins.

    Parameters
    ----------
    offsets
        (B + 1,) int64: the particles of jet i are ``offsets[i]`` to ``offsets[i + 1]``; the first offset is 0.
    p4
        (P, 4) constituent four-momenta (E, px, py, pz) in GeV, P the number of particles of all jets.
    scalars
        (P, F) per-particle quantities that are not momenta, named by ``scalar_names``.
    jet_p4
        (B, 4) the jet axis of the file; see :class:`jetsym.jets.batch.JetBatch`.
    label
        (B,) int64 index into ``classes``, or None for unlabelled jets.
    classes
        Names of the classes, in label order.
    scalar_names
        Names of the columns of ``scalars``.
    columns
        Further per-jet columns of shape (B,), by branch name.
    inputs, input_forms
        As in :class:`jetsym.jets.batch.JetBatch`.

    Examples
    --------
    >>> p4 = np.array([[5, 3, 0, 4], [5, 0, 3, -4], [13, 12, 0, 5]], dtype="float32")
    >>> jets = RaggedJets(np.array([0, 2, 3]), p4, np.zeros((3, 10), "float32"), p4[:2])
    >>> len(jets), jets.counts.tolist(), jets.cut(1).offsets.tolist()
    (2, [2, 1], [0, 1, 2])
    """

    offsets: NDArray[np.int64]
    p4: NDArray[Any]
    scalars: NDArray[Any]
    jet_p4: NDArray[Any]
    label: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = CLASSES
    scalar_names: tuple[str, ...] = SCALARS
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    input_forms: Mapping[str, InputForm] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """(B,) number of particles of each jet."""
        return np.diff(self.offsets)

    def cut(self, max_particles: int) -> RaggedJets:
        """Keep the particles of largest pT of every jet, ``max_particles`` at most, in their order."""
        counts = self.counts
        if not len(self) or counts.max() <= max_particles:
            return self
        tensors = [torch.from_numpy(np.array(one)) for one in (self.offsets, self.p4)]
        places = leading_places(*tensors, slots=max_particles, longest=int(counts.max())).numpy()
        kept = (self.offsets[:-1, None] + places)[places < counts[:, None]]
        offsets = offsets_of(np.minimum(counts, max_particles))
        return replace(self, offsets=offsets, p4=self.p4[kept], scalars=self.scalars[kept])


def leading_places(offsets: Tensor, p4: Tensor, *, slots: int, longest: int) -> Tensor:
    """Find the particles of largest pT of each jet: their places (B, slots) in it, growing, in its range or behind it.

    Jets whose pT falls, as in most files, give their first ``slots`` places. No numbers are asked of an accelerator.

    Parameters
    ----------
    offsets
        (B + 1,) where each jet begins.
    p4
        (P, 4) momenta of all particles.
    slots, longest
        Numbers of places, and of particles of the fullest jet.

    Examples
    --------
    >>> p4 = torch.tensor([[5.0, 3.0, 0.0, 4.0], [9.0, 0.0, 9.0, 0.0], [13.0, 0.0, 5.0, 12.0]])
    >>> leading_places(torch.tensor([0, 3]), p4, slots=2, longest=3)
    tensor([[1, 2]])
    """
    if longest <= slots:
        return torch.arange(slots, device=offsets.device).expand(len(offsets) - 1, slots)
    place = torch.arange(longest, device=offsets.device)
    there = place < offsets.diff()[:, None]
    squares = p4.detach()[:, 1:3].square().sum(dim=1)
    return leading(torch.where(there, squares[torch.where(there, offsets[:-1, None] + place, 0)], -1), slots)


def leading(squares: Tensor, slots: int) -> Tensor:
    """Find the places (B, slots) of largest pT, growing, from squared pT (B, N) with −1 where there is nothing."""
    rises = (squares[:, 1:] > (1 + _ROUNDING) * squares[:, :-1].clamp(min=0)).any(dim=1)
    first = torch.arange(slots, device=squares.device).expand(len(squares), slots)
    if not rises.is_cuda and not rises.any():
        return first
    largest = squares.topk(slots, dim=1).indices.sort(dim=1).values
    return torch.where(rises[:, None], largest, first)


def check_alike(one: Any, other: Any) -> None:
    """Refuse to join jets of any form that do not hold the same quantities.

    Raises
    ------
    DataError
        They do not.
    """
    for (name, here), there in zip(_facts(one).items(), _facts(other).values(), strict=True):
        if here != there:
            raise DataError(f"jets that differ in their {name}: {here} and {there}, cannot be joined")


def common_dtype(parts: Sequence[NDArray[Any]], name: str) -> np.dtype[Any]:
    """Find the type in which the values of a column are joined: one that holds those of all parts exactly.

    Raises
    ------
    DataError
        There is none.

    Examples
    --------
    >>> common_dtype([np.arange(3, dtype="int32"), np.array([0.37])], "weight")
    dtype('float64')
    >>> common_dtype([np.array([2**60]), np.array([2**60 + 1], "uint64")], "event")
    dtype('int64')
    """
    dtypes = list(dict.fromkeys(part.dtype for part in parts))
    if len(dtypes) == 1:
        return dtypes[0]
    if all(dtype.kind in _NUMBERS for dtype in dtypes):
        promoted = np.result_type(*dtypes)
        whole = all(dtype.kind in "biu" for dtype in dtypes)
        # NumPy promotes int64 with uint64 to float64, which rounds.
        candidates = [promoted] if not whole or promoted.kind != "f" else [np.dtype(np.int64), np.dtype(np.uint64)]
        for dtype in candidates:
            if all(_holds(dtype, part) for part in parts):
                return dtype
    raise DataError(
        f"the column {name!r} is {' here and '.join(dtype.name for dtype in dtypes)} there, and no type holds all its "
        f"values exactly; {_ONE_TYPE}"
    )


def cast_exactly(values: NDArray[Any], dtype: np.dtype[Any], name: str, *, where: str) -> NDArray[Any]:
    """Return values of a column in the type in which its others are written already.

    Raises
    ------
    DataError
        It does not hold them exactly.
    """
    if values.dtype == dtype:
        return values
    if not (values.dtype.kind in _NUMBERS and dtype.kind in _NUMBERS and _holds(dtype, values)):
        raise DataError(
            f"{where}: the column {name!r} is {values.dtype.name}, and {dtype.name} in the files before it, which does "
            f"not hold its values exactly; {_ONE_TYPE}, or name this file first if {values.dtype.name} holds all"
        )
    return values.astype(dtype)


def _holds(dtype: np.dtype[Any], values: NDArray[Any]) -> bool:
    """Tell whether a type of numbers holds all values exactly."""
    if values.dtype == dtype or not len(values) or values.dtype.kind == "b":
        return True
    if dtype.kind == "b":
        return bool(((values == 0) | (values == 1)).all())
    if dtype.kind == values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.array_equal(values.astype(dtype), values, equal_nan=True))
    least, most = values.min().item(), values.max().item()  # Python compares whole numbers and others exactly
    if dtype.kind == "f":
        return bool(max(-least, most) <= 2 ** (np.finfo(dtype).nmant + 1))
    return np.iinfo(dtype).min <= least <= most <= np.iinfo(dtype).max and bool((np.trunc(values) == values).all())


def _facts(jets: Any) -> dict[str, Any]:
    return {
        "labels": jets.label is not None,
        "classes": jets.classes,
        "scalars": jets.scalar_names,
        "columns": sorted(jets.columns),
        "inputs": dict(jets.input_forms),
        "dtypes": getattr(jets, "dtype", None),
    }


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the particles of each jet begin (B + 1,), from the number of particles of each."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
