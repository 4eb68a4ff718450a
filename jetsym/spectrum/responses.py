"""Raw responses of a network along an orbit: checked, and laid out as the columns that the estimators multiply."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_array_api_strict_namespace,
    is_jax_array,
    is_numpy_array,
    is_torch_array,
    to_device,
)
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.groups import Group

__all__ = [
    "EPS",
    "InputColumns",
    "Responses",
    "as_like",
    "check_finite",
    "is_mutable",
    "lasting",
    "prepare",
    "rounding_floor",
    "to_numpy",
]

#: Rounding of a response and of its accumulation, in units of the dtype's eps, that the noise floor allows for.
ROUNDING_FACTOR = 8.0


def rounding_floor(eps: float) -> float:
    """Return the noise floor of a spectrum, as a fraction of power, for a relative rounding eps of the responses.

    By Parseval all irreps together hold no more of a rounding error than its own power, (ROUNDING_FACTOR · eps)².
    """
    return (ROUNDING_FACTOR * eps) ** 2


def to_numpy(array: Any) -> NDArray[Any]:
    """Return a numpy view or copy of an array of any library, wherever it lives."""
    if isinstance(array, np.ndarray | np.generic):  # a single number of numpy is no array
        return np.asarray(array)
    if is_jax_array(array):
        return np.asarray(array)  # jax knows no device by the name of "cpu"
    if is_torch_array(array):
        array = array.detach()  # torch refuses to export tensors that require gradients
        if str(array.dtype) == "torch.bfloat16":  # a type that numpy does not have
            array = array.float()
    on_host = array if is_array_api_strict_namespace(array_namespace(array)) else to_device(array, "cpu")
    return np.from_dlpack(on_host)


def as_like(matrix: NDArray[np.float64], like: Any) -> Any:
    """Convert a numpy matrix to an array of the library, dtype and device of another array."""
    return array_namespace(like).asarray(matrix, dtype=like.dtype, device=device(like))


def lasting(array: Any) -> bool:
    """Tell whether an array may be kept for later calls.

    What jax and torch make while they trace must not outlive the trace, and autograd refuses what torch makes in
    inference mode.
    """
    if is_torch_array(array):
        return type(array).__name__ != "FakeTensor" and not array.is_inference()
    return "Tracer" not in type(array).__name__


def is_mutable(array: Any) -> bool:
    """Return whether an array can be written to."""
    return is_torch_array(array) or is_numpy_array(array)


@dataclass(frozen=True, eq=False)
class InputColumns:
    """The input that each column of flattened responses belongs to.

    Parameters
    ----------
    samples
        Number of inputs.
    owner
        (tokens,) input of each token that is not padding, or None where every input has the same number of columns.
    """

    samples: int
    owner: NDArray[np.int64] | None = None

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(samples + 1,) first token of each input, and the number of all."""
        return np.searchsorted(self.owner if self.owner is not None else [], np.arange(self.samples + 1))

    def squared_norms(self, u: Any) -> Any:
        """Compute squared norms (rows, samples) of responses (rows, columns), in their library and dtype."""
        xp = array_namespace(u)
        if self.owner is None:
            norms = xp.linalg.vector_norm(xp.reshape(u, (u.shape[0], self.samples, -1)), axis=-1)
        else:
            parts = [xp.linalg.vector_norm(u[:, columns], axis=-1) for columns in self.slices(u.shape[1])]
            norms = xp.stack(parts, axis=-1)
        return norms * norms

    def is_padded(self, u: Any) -> bool:
        """Return whether blocks are padded copies: of inputs that differ in their tokens, where calls are dear."""
        return self.owner is not None and not str(device(u)).startswith("cpu")

    def blocks(self, u: Any) -> list[tuple[slice, Any]]:
        """Return responses (rows, columns) as arrays (samples, rows, features) of some inputs each, and which.

        Where inputs differ in their tokens, each has its own on a CPU, without a copy.
        """
        if self.owner is None or self.is_padded(u):
            return [(slice(0, self.samples), self.by_input(u))]
        parts = enumerate(self.slices(u.shape[1]))
        return [(slice(place, place + 1), u[None, :, columns]) for place, columns in parts]

    def by_input(self, u: Any) -> Any:
        """Return responses (rows, columns) as (samples, rows, features), with zeros where an input has fewer tokens."""
        xp = array_namespace(u)
        if self.owner is None:
            return xp.permute_dims(xp.reshape(u, (u.shape[0], self.samples, -1)), (1, 0, 2))
        features = u.shape[1] // max(1, len(self.owner))  # of no tokens at all, none
        tokens = xp.reshape(u, (u.shape[0], len(self.owner), features))
        empty = xp.zeros((u.shape[0], 1, features), dtype=u.dtype, device=device(u))
        padded = xp.concat([tokens, empty], axis=1)
        taken = xp.take(padded, self._places_like(u), axis=1)
        slots = taken.shape[1] // self.samples
        return xp.permute_dims(xp.reshape(taken, (u.shape[0], self.samples, slots * features)), (1, 0, 2))

    def _places_like(self, u: Any) -> Any:
        """Return the token in every slot of padded inputs (samples · slots,), one past the last where it is empty."""
        key = (array_namespace(u).__name__, str(device(u)))
        if key not in self._places:  # it is sent to a device once
            counts = np.diff(self._starts)
            slot = np.arange(max(1, counts.max()))
            places = np.where(slot < counts[:, None], self._starts[:-1, None] + slot, self._starts[-1])
            self._places[key] = array_namespace(u).asarray(places.reshape(-1), device=device(u))
        return self._places[key]

    @cached_property
    def _places(self) -> dict[tuple[str, str], Any]:
        return {}

    def slices(self, total: int) -> list[slice]:
        """Return the columns of each input, among ``total`` ones."""
        if self.owner is None:
            bounds = np.arange(self.samples + 1) * (total // self.samples)
        else:
            bounds = self._starts * (total // max(1, len(self.owner)))
        return [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses to R, and for O(3) to −R, as real arrays (n_chunk, columns) in the dtype of accumulation."""

    cosets: tuple[Any, ...]
    columns: InputColumns
    eps: float


def prepare(
    group: Group | None,
    n_chunk: int,
    u_proper: Any,
    u_improper: Any,
    *,
    mask: Any = None,
    accumulate: str | None = None,
) -> Responses:
    """Check raw responses (n_chunk, samples, features…) and flatten them.

    Parameters
    ----------
    group
        Says whether there have to be responses to −R; None for boosts, which have none.
    n_chunk
        Number of rotations or boosts they belong to.
    u_proper, u_improper
        The responses; complex features become two real ones.
    mask
        (samples, tokens) bool; only True tokens are kept.
    accumulate
        "float64", or None for the responses' own dtype (at least 32 bits).
    """
    if group is not None and group.has_inversion != (u_improper is not None):
        need = "responses to R and to −R" if group.has_inversion else "responses to R only (u_improper=None)"
        raise SpectrumError(f"{group.name} takes {need}")
    xp = array_namespace(u_proper)
    if not xp.isdtype(u_proper.dtype, ("real floating", "complex floating")):
        raise SpectrumError(f"responses have dtype {u_proper.dtype}; expected floating-point or complex numbers")
    if u_proper.ndim < 2 or u_proper.shape[0] != n_chunk:
        raise SpectrumError(f"responses have shape {tuple(u_proper.shape)}; expected ({n_chunk}, samples, features…)")
    if u_improper is not None and tuple(u_improper.shape) != tuple(u_proper.shape):
        raise SpectrumError(f"u_improper has shape {tuple(u_improper.shape)}; u_proper has {tuple(u_proper.shape)}")
    kept = None if mask is None else _kept_tokens(mask, u_proper)
    columns = InputColumns(int(u_proper.shape[1]), None if kept is None else kept // int(u_proper.shape[2]))
    cosets = tuple(_flatten(xp, u, kept, accumulate) for u in (u_proper, u_improper) if u is not None)
    return Responses(cosets, columns, float(xp.finfo(u_proper.dtype).eps))


def _kept_tokens(mask: Any, u: Any) -> NDArray[np.int64] | None:
    """Return the positions of the real tokens among all (samples · tokens); None if every token is real."""
    if tuple(u.shape[1:3]) != tuple(mask.shape):
        raise SpectrumError(f"mask has shape {tuple(mask.shape)}; the responses' tokens are {tuple(u.shape[1:3])}")
    flat = to_numpy(mask).reshape(-1)
    return None if flat.all() else np.flatnonzero(flat)


def _flatten(xp: Any, u: Any, kept: NDArray[np.int64] | None, accumulate: str | None) -> Any:
    if is_torch_array(u):
        u = u.detach()  # a measurement has no gradients
    if kept is not None:
        tokens = xp.reshape(u, (u.shape[0], u.shape[1] * u.shape[2], *u.shape[3:]))
        if len(kept) and len(kept) == 1 + kept[-1] - kept[0]:  # as those of one input mostly are: no copy is made
            u = tokens[:, int(kept[0]) : int(kept[-1]) + 1, ...]
        else:
            u = xp.take(tokens, xp.asarray(kept, device=device(u)), axis=1)
    if xp.isdtype(u.dtype, "complex floating"):
        u = xp.stack([xp.real(u), xp.imag(u)], axis=-1)
    flat = xp.reshape(u, (u.shape[0], -1))
    if accumulate == "float64":
        return xp.astype(flat, xp.float64)
    if xp.finfo(flat.dtype).bits < 32:  # sums over an orbit need more than half precision
        return xp.astype(flat, xp.float32)
    return flat


def check_finite(norm: NDArray[np.float64]) -> None:
    """Refuse responses whose summed squares say that some were NaN or infinite."""
    if not np.isfinite(norm).all():
        bad = np.flatnonzero(~np.isfinite(norm))
        raise SpectrumError(f"responses of {len(bad)} of {norm.size} inputs are not finite, or overflow when squared")


#: Relative rounding of floating-point types, by name.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
