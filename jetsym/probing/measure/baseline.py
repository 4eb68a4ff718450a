"""Baselines: the same measurement of networks that were not trained, or of another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Session
from jetsym.probing.forward.untrained import untrained_copy
from jetsym.probing.reports.draws import INITIAL, UNTRAINED, over_draws, with_model

__all__ = ["UNTRAINED", "prepare_baseline"]


#: What measures a session's model, with a title.
Measured = Callable[[Session, str], Any]


def prepare_baseline(
    session: Session, inputs: Any, *, baseline: Any, model: Any, n_draws: int
) -> Callable[[Measured], Any]:
    """Prepare what a model is compared with; what comes back measures it as the model is measured.

    Parameters
    ----------
    session, inputs
        That of the model, and its inputs.
    baseline, model, n_draws
        As for :func:`jetsym.probe`.

    Raises
    ------
    ProbeError
        There is no such baseline; or, when it is measured, it answers as the model does.
    """
    if not (isinstance(baseline, str) and baseline == UNTRAINED):
        other = _other(session, inputs, baseline, model)
        return lambda measured: with_model(measured(other, "baseline"), _name(baseline))
    if not isinstance(session.model, nn.Module):
        raise ProbeError("baseline='untrained' needs a torch module, whose layers can be initialised afresh")

    def draws(measured: Measured) -> Any:
        reports = []
        for draw in range(n_draws):
            fresh = replace(session, model=untrained_copy(session.model, seed=session.seed, draw=draw))
            _refuse_same(session, fresh, inputs)
            reports.append(measured(fresh, f"untrained copy {draw + 1} of {n_draws}"))
        return over_draws(reports)

    return draws


def _other(session: Session, inputs: Any, baseline: Any, model: Any) -> Session:
    """Return a session of another model, or of a run's weights at step 0, run as the first is."""
    if isinstance(baseline, str) and baseline == INITIAL:
        if not isinstance(model, (str, Path)):
            raise ProbeError(f"baseline={INITIAL!r} needs the folder of a run for a model, which keeps those weights")
        baseline = session.domain.load_initial(model)
    elif isinstance(baseline, (str, Path)) and not Path(baseline).expanduser().exists():
        raise ProbeError(
            f"baseline is {str(baseline)!r}; expected {UNTRAINED!r}, {INITIAL!r}, a model, or the path of one"
        )
    other = Session.of(baseline, inputs, {**session.kinds, **dict.fromkeys(session.without_law)} or None)
    return replace(
        session,
        model=other.model,
        kinds=other.kinds,
        without_law=other.without_law,
        declared=other.declared,
        notes=other.notes,
    )


def _name(baseline: Any) -> str:
    return str(baseline) if isinstance(baseline, (str, Path)) else type(baseline).__name__


def _refuse_same(session: Session, fresh: Session, inputs: Any) -> None:
    """Refuse an untrained copy that answers bit for bit as the model does: it is not what was evaluated."""
    answers = []
    for each in (session, fresh):
        with each.open(session.domain.select(inputs, slice(0, 1))) as (running, placed):
            found = running.along(placed, np.eye(3)[None], in_lab=True)
            answers.append({name: np.asarray(found[name].tolist()) for name in running.outputs})
    one, other = answers
    if one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one):
        raise ProbeError(
            "an untrained copy answers bit for bit as the model does, so it is no baseline: if call=… closes over a "
            "model of its own, let it use the one that it is given; or give another baseline"
        )
