"""``jetsym.probe``: from a model to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter
from typing import Any, Unpack, cast, overload

from jetsym.arguments import above, anything, at_least, by_name, checked
from jetsym.errors import ProbeError
from jetsym.probing.forward.calling import plain_call, taken
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.baseline import prepare_baseline
from jetsym.probing.measure.boosts import measure_boosts
from jetsym.probing.measure.lorentz import measure_lorentz
from jetsym.probing.measure.rotations import measure_rotations
from jetsym.probing.options import AUTO, ProbeOptions, check, check_kinds, values_over
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.read import Report
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import Axis, BoostGroup, Distribution, GroupName, LorentzGroup, RotationGroup, Symmetry

__all__ = ["probe"]

#: ``measure(session, inputs, symmetry, **options)``: prepares a measurement from the options of a probe; what comes
#: back measures a session's model, with a title, and gives a report.
Measure = Callable[..., Callable[[Session, str], Any]]

#: Group without a spectrum -> how it is measured.
MEASUREMENTS: dict[str, Measure] = {
    GroupName.BOOST: measure_boosts,
    GroupName.LORENTZ: measure_lorentz,
}


@overload
def probe(
    model: Any,
    inputs: Any = None,
    *,
    over: Mapping[str, Sequence[float]],
    group: str = ...,
    **options: Unpack[ProbeOptions],
) -> ReportsOver: ...


@overload
def probe(
    model: Any, inputs: Any = None, *, group: RotationGroup = ..., over: None = ..., **options: Unpack[ProbeOptions]
) -> SymmetryReport: ...


@overload
def probe(
    model: Any, inputs: Any = None, *, group: BoostGroup, over: None = ..., **options: Unpack[ProbeOptions]
) -> BoostReport: ...


@overload
def probe(
    model: Any, inputs: Any = None, *, group: LorentzGroup, over: None = ..., **options: Unpack[ProbeOptions]
) -> LorentzReport: ...


@overload
def probe(
    model: Any, inputs: Any = None, *, group: str, over: None = ..., **options: Unpack[ProbeOptions]
) -> Report: ...


@checked(
    ProbeError,
    l_max=anything,
    tolerance=above(0),
    widths=above(0),
    limit=at_least(1),
    seed=at_least(0),
    batch_size=at_least(1),
    n_draws=at_least(2),
    device=anything,
    moves=anything,
    outputs=by_name,
    tokens=by_name,
    over=anything,
    axis=anything,
)
def probe(
    model: Any,
    inputs: Any = None,
    *,
    group: str = GroupName.O3,
    frame: str | None = None,
    axis: Axis | None = None,
    moves: Mapping[Any, Any] | None = None,
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    layers: str | Sequence[str] | Mapping[str, str | None] = "auto",
    tokens: Mapping[str, int | tuple[int, int] | None] | None = None,
    outputs: Mapping[str, Kind | None] | None = None,
    l_max: int | str = 4,
    tolerance: float = 0.01,
    method: str = "auto",
    n_rotations: int | None = None,
    distribution: Distribution = "uniform",
    widths: Sequence[float] = (0.1, 0.25, 0.5, 1.0, 1.5),
    limit: int = 64,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | str = "auto",
    baseline: Any = None,
    n_draws: int = 5,
    over: Mapping[str, Sequence[float]] | None = None,
    progress: bool = True,
) -> Report | ReportsOver:
    """Measure which symmetry a model has, layer by layer.

    Every input is evaluated along its orbit under the group. For every layer the power of the response is split over
    the irreps, B_λσ(x) = d_λ ‖∫ D^λσ(g)* u(g) dμ‖², and for every output, that should transform as ρ, the error of its
    equivariance, A² = ∫ ‖z − f̄‖² dμ with z(g) = ρ(g)⁻¹ f(g·x) and f̄ = ∫ z dμ (Domina, Abbott, Pegolo, Bigi,
    Ceriotti, arXiv:2603.24638).

    Parameters
    ----------
    model
        A torch module, the path of a run directory or checkpoint, or any callable that returns an array or a
        dictionary of arrays (only its outputs are then measured). With structures for inputs: a PET, or another
        model of metatrain, loaded or as a ``.ckpt`` or ``.pt`` file (see :class:`jetsym.atoms.Model`), or a network of
        CHGNet, SevenNet or MACE. A file that asks
        to run something is refused; ``jetsym.atoms.load(path, trust=True)`` opens it.
    inputs
        A :class:`~jetsym.jets.JetBatch`, paths of ROOT files, or arrays with the samples along the first axis: one, a
        tuple of arguments, or a dictionary of keywords; a list of dictionaries is one sample each, of any sizes. A list
        of ``ase.Atoms``, or files of such structures; their neighbour lists are built once and move along. With
        ``action`` anything that has a length. None takes the bundled jets.
    group
        "O3" (rotations and inversion), "SO3" (rotations) or "SO2" (rotations about an axis, with modes m for irreps);
        "boost" for boosts along an axis, in windows of rapidity; or "lorentz" for all that can be said of jets: O(3) in
        two frames, SO(2) about jet and beam, the six generators, and boosts along three axes.
    frame
        Of "O3" and "SO3": "lab" (the default), or "rest", where the constituents of each jet have no total momentum.
    axis
        Of "SO2" and "boost": "beam" (the default), "x", "y", "z" or three numbers; for jets also "jet", the stored axis
        of each, or "random", a direction of each jet's own.
    moves
        Which arrays move, and how: {"points": "vector", "momenta": "four-vector"}, by the names of the model's
        arguments, by position, or by key; everything else stays. A four-vector is (E, px, py, pz) along the last axis,
        unless :func:`jetsym.moves` says another order or axis; any kind of an output may stand there. Where nothing is
        named the only floating-point array (…, 3), a vector, or (…, 4), a four-vector, moves; several are refused.
        Integers and marks never move. What was computed from momenta would be stale: compute it in ``call``; where such
        an input is recognised it is refused, unless it is named with None. Of arrays (samples, points) of 0 and 1, one
        that hides points from the model is the mask: real points alone are counted. ``report.meta["moves"]`` lists all.
    action
        ``action(inputs, matrices)`` moves inputs of another kind: matrices are numpy (n, 3, 3) or, for random
        rotations, (n, samples, 3, 3); the result holds n · samples inputs, all under the first element before those
        under the second. It is checked: the identity must change nothing, and moving by h and then g be moving by gh.
    call
        ``call(model, inputs)`` says how to call a model that does not take the inputs as they are.
    layers
        "auto" takes the blocks of the module, by what ran in a dry pass: modules are opened, at whatever depth, until a
        stack of equal blocks appears, and what stands beside it, such as embedding, pooling and head, is taken as it
        is; not what hands its input on, nor what returns the output. Or names as in ``model.named_modules()``, or
        patterns: "blocks.*" means the blocks, "blocks.**" everything in them; or names as :func:`jetsym.layers` and
        reports show them, such as "att.0" for a part of what a module returned. [] measures the outputs only. A module
        that knows its layers best is a :class:`jetsym.Layered`. The layers of a PET go by metatrain's names, such as
        "gnn_layers.0_node", and * also stands for dots in them.
        A dictionary says the irreps of layers as well: {"blocks.*": "8x0e+8x1o", "head": None}, of features
        (…, Σ n d), (…, n, Σ d) or (…, Σ d, n). Where nothing is said, ``irreps_out`` of a module is believed if it fits
        what the module returned. A of such layers stands in ``report.equivariance``.
    tokens
        Layer or output -> the axis of what it returns along which the points of an input are (two axes for pairs of
        them, None for neither), where a dry pass cannot find it out: a few inputs with their points in other slots, and
        with more slots and fewer points. ``report.meta["tokens"]`` says what was found, the notes what was left out.
    outputs
        Output name -> "logits" (invariant up to a shift common to all classes), "scalar", "pseudoscalar", "vector",
        "pseudovector" (…, 3), "rank2" (…, 3, 3), "four-vector" (…, 4) as (E, px, py, pz), or (λ, σ) for spherical
        tensors (…, 2λ+1) in the order m = −λ … λ of real harmonics, σ = −1 for pseudotensors; irreps as e3nn writes
        them, "8x0e+8x1o", in its order of components; or a function R → ρ(R)
        from (3, 3) to the orthogonal matrix (d, d) that outputs (…, d) turn with, which is checked; None for an output
        that has no law, whose content is measured as that of a layer. A single unnamed output takes the name given
        here; dictionaries, named tuples and dataclasses name theirs, and what lies deeper is "name.key" or "name.0".
        Default: what a model declares (metatrain's, logits of the taggers of jetsym and weaver, ``probe_outputs`` of
        any module), scalar otherwise, with a note.
    l_max
        Largest λ (for "SO2", m) to report, or "auto": a few inputs are measured with rising l_max until what is
        unexplained is below ``tolerance``; ``report.meta["resolution"]`` holds all steps, and whether that was
        reached. The error spectrum of an output with irreps up to λ_α is exact up to l_max − λ_α by quadrature (see
        :class:`~jetsym.probing.reports.equivariance.Equivariance`): add λ_α to have all of it.
    tolerance
        Of l_max="auto", as a fraction of power.
    method
        "quadrature" is exact for responses of bandwidth l_max; what lies beyond, and what aliases from there, is found
        at random elements beside the rule (``report.unexplained``), and estimates without bias take over;
        "icosahedral" is a quadrature of 60 rotations for l_max ≤ 2; "random" is unbiased for any bandwidth and noisier.
        "auto" is quadrature, unless ``n_rotations`` is given.
    n_rotations
        Rotations per input of the random method (default 32).
    distribution, widths
        Of "boost" and "lorentz": "uniform" on [−y₀, y₀], or "normal", and the y₀ or standard deviations. l_max is then
        the largest order of the windows' polynomials.
    limit
        At most so many inputs.
    seed
        Of random rotations and of the untrained copy.
    device
        Where a torch module is evaluated; default where it is. The module is brought back afterwards.
    batch_size
        Evaluations per forward pass. "auto" starts from a size that is fast and halves it where memory does not
        suffice; ``report.meta["batch_size"]`` says what was used in the end.
    baseline
        What to compare with, as ``report.baseline``: "untrained" measures ``n_draws`` copies of the module, each
        initialised afresh, and holds the means over them, its standard errors being the standard deviations over the
        draws; "initial" measures the run's own weights before its first step (of runs of ``jetsym train``); any other
        model or path of one is measured as the model is, such as the pretrained network behind a fine-tuned one.
    n_draws
        Number of untrained copies, at least two: a single one says nothing of the next.
    over
        An argument of the model and the numbers it is given, one after the other, such as the time of a velocity field:
        {"t": [0.0, 0.5, 1.0]}. It goes in as a keyword, also to ``call(model, inputs, t=…)``, which can make an array
        of it. For groups with a spectrum.
    progress
        Show a progress bar on the standard error stream.

    Returns
    -------
    SymmetryReport
        For "boost" a :class:`~jetsym.probing.reports.boosts.BoostReport`, for "lorentz" a
        :class:`~jetsym.probing.reports.lorentz.LorentzReport`. All have ``layers``, ``equivariance``, ``meta``,
        ``plot()`` and ``save()``. With ``over`` a :class:`~jetsym.probing.reports.over.ReportsOver`, a report for each
        number.

    Notes
    -----
    Memory above the forward pass does not grow with the number of rotations: the estimators hold coefficients, within
    ``jetsym.probing.forward.memory.MEMORY_BUDGET``. Where those of one input need more, the layers, and the features
    of a large layer, are measured in several passes over its orbit: ``report.meta["passes"]``.

    Raises
    ------
    ProbeError
        An option, a layer name or an output that cannot be used; responses that are not finite.
    DataError
        Inputs that cannot be read or used.

    Examples
    --------
    A length is invariant, a component of a vector is not:

    >>> import numpy as np
    >>> points = np.random.default_rng(0).normal(size=(8, 3))
    >>> report = probe(lambda x: {"length": (x**2).sum(-1), "height": x[:, 2]}, points, l_max=1, progress=False)
    >>> [f"{name} {item.relative:.3f}" for name, item in report.equivariance.items()]
    ['length 0.000', 'height 1.000']

    Three colours of each point do not turn:

    >>> clouds, colours = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
    >>> def model(points, colours):
    ...     return ((points**2).sum(-1) * colours[..., 0]).sum(-1)
    >>> report = probe(model, (clouds, colours), moves={"points": "vector"}, l_max=1, progress=False)
    >>> report.meta["moves"], abs(report.equivariance["output"].relative) < 1e-12
    ({'points': 'vector', 'colours': 'held fixed'}, True)
    """
    check(
        method=method,
        l_max=l_max,
        n_rotations=n_rotations,
        limit=limit,
        seed=seed,
        n_draws=n_draws,
        device=device,
    )
    symmetry = Symmetry.parse(group, frame, axis, error=ProbeError)
    _refuse_rotations(symmetry, method=method, n_rotations=n_rotations)
    if "distribution" in symmetry.named.takes:
        symmetry = Symmetry.parse(group, frame, axis, None, distribution, error=ProbeError)
    given = None if over is None else values_over(over, symmetry)
    session = Session.of(
        model,
        inputs,
        outputs,
        layers=layers,
        tokens=tokens or {},
        moves=moves,
        call=plain_call if call is None and given else call,
        action=action,
        device=device,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    check_kinds(session.kinds, None)
    if given:
        _refuse_untaken(given[0], session.model if call is None else call, inputs)
    inputs = session.domain.load(inputs, limit=limit, model=session.model)

    def measured_in(session: Session) -> Any:
        measure: Measure = MEASUREMENTS.get(symmetry.group, measure_rotations)
        measured = measure(
            session,
            inputs,
            symmetry,
            l_max=l_max,
            tolerance=tolerance,
            method=method,
            n_rotations=n_rotations,
            widths=widths,
        )
        compared = None
        if baseline is not None:
            compared = prepare_baseline(session, inputs, baseline=baseline, model=model, n_draws=n_draws)
        report: Any = measured(session, "probing")
        return replace(report, baseline=compared(measured)) if compared else report

    if given is None:
        return cast(Report, measured_in(session))
    argument, values = given
    called: Any = session.call
    reports = (measured_in(replace(session, call=partial(called, **{argument: value}))) for value in values)
    return ReportsOver(argument, values, tuple(reports))


def _refuse_rotations(symmetry: Symmetry, **given: Any) -> None:
    """Refuse a choice of rotations where there are none; options of other groups may stand there, as in a loop."""
    if symmetry.is_whole or symmetry.is_compact:
        return
    for name, value in given.items():
        if value not in (None, AUTO):
            reason = f"but {name} goes with rotations, and this is group={symmetry.group!r}"
            raise ProbeError(f"{name} is {value!r}, {reason}; leave it out")


def _refuse_untaken(argument: str, called: Callable[..., Any], inputs: Any) -> None:
    """Refuse an argument that what is called does not take beside the inputs, as far as it says."""
    if isinstance(inputs, Mapping) and argument in inputs:
        raise ProbeError(f"over names {argument!r}, which is one of the inputs; leave it out of these")
    if (takes := taken(called)) is None:
        return
    parameters = takes.parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    if not takes_all and (argument not in parameters or parameters[argument].kind is Parameter.POSITIONAL_ONLY):
        raise ProbeError(
            f"over names {argument!r}, which what is called does not take; it takes {', '.join(parameters)}. "
            f"Say with call=lambda model, inputs, {argument}: … what becomes of it"
        )
