"""A random sketch of the feature axis, for responses whose coefficients would not fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from jetsym.arguments import at_least, checked
from jetsym.errors import SpectrumError
from jetsym.spectrum.responses import as_like

__all__ = ["FeatureSketch"]


class FeatureSketch:
    """Random projection u → u S of F features on fewer, with S of independent signs ±1/√width.

    E[S Sᵀ] = 1, so that scalar products, and with them every B_α and the norm, are right on average over S; Parseval
    holds for each S. The price is noise: for one input the variance of ‖u S‖² is 2(‖u‖⁴ − Σ u_f⁴)/width, at most
    2‖u‖⁴/width. As one S serves all inputs, this error does not average out over them, and the jackknife over inputs
    does not see it: compare two seeds.

    Parameters
    ----------
    features
        F, the size of the last axis of the responses.
    width
        Size of the sketch, ≥ 1.
    rng
        Draws the signs, once: all rotations and all inputs must share them.

    Raises
    ------
    SpectrumError
        Sizes below one.

    References
    ----------
    Achlioptas, Database-friendly random projections, J. Comput. Syst. Sci. 66 (2003) 671.

    Examples
    --------
    >>> sketch = FeatureSketch(1000, 50, np.random.default_rng(0))
    >>> u = np.ones((9, 2, 1000))  # (n_chunk, samples, features)
    >>> sketch(u).shape
    (9, 2, 50)
    """

    @checked(SpectrumError, features=at_least(1), width=at_least(1))
    def __init__(self, features: int, width: int, rng: np.random.Generator) -> None:
        self.matrix = rng.choice([-1.0, 1.0], size=(features, width)) / np.sqrt(width)

    def __call__(self, u: Any) -> Any:
        """Project responses (…, F) of any library, real or complex, on (…, width) of the same type and dtype.

        Raises
        ------
        SpectrumError
            Another number of features, or numbers that are not floating-point.
        """
        xp = array_namespace(u)
        if u.ndim < 1 or u.shape[-1] != len(self.matrix):
            raise SpectrumError(f"responses have shape {tuple(u.shape)}; expected (…, {len(self.matrix)})")
        if not xp.isdtype(u.dtype, ("real floating", "complex floating")):
            raise SpectrumError(f"responses have dtype {u.dtype}; expected floating-point or complex numbers")
        return u @ as_like(self.matrix, u)
