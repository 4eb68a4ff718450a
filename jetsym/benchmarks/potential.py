"""Benchmark of a probe of a PET against its forward passes alone, and against metatomic's own instrument."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy.integrate import lebedev_rule
from torch import nn

from jetsym.atoms.calculated import is_calculator
from jetsym.atoms.model import Model, without_baseline
from jetsym.atoms.packages import quiet
from jetsym.atoms.read import read_frames
from jetsym.benchmarks.measure import alternate
from jetsym.benchmarks.passes import as_it_takes, passes_of
from jetsym.errors import require
from jetsym.lazy import imported
from jetsym.probing.probe import probe
from jetsym.spectrum import O3
from jetsym.spectrum.quadrature import Quadrature
from jetsym.text import table_of

__all__ = ["LAYERS", "Fractions", "by_jetsym", "by_metatomic", "potential", "same_nodes"]

#: Layer or output -> (λ, σ) -> its fraction.
Fractions = Mapping[str, Mapping[tuple[int, int], float]]

#: Layers that both read, beside the energy.
LAYERS = ("gnn_layers.0_node", "gnn_layers.0_edge", "gnn_layers.1_node", "node_heads.energy.0")
#: Largest λ of the characters, and Lebedev's order for it.
L_MAX, ORDER = 4, 9
#: What metatomic's outputs are called: the character projection of an output, or of a layer.
PROJECTION, FEATURE = "o3::character_projection::", "mtt::feature::"


def potential(
    frames: str | None = None,
    *,
    network: str | None = None,
    limit: int = 4,
    width: int = 32,
    batch_size: int = 64,
    repeats: int = 5,
    seed: int = 0,
) -> None:
    """Print the processor's seconds of a probe of a PET, of its forward passes alone, and of metatomic's instrument.

    The probe, with all that guards its numbers, and ``metatomic.torch.o3.SymmetrizedModel`` evaluate the same
    rotations, with and without inversion, for l_max 4, in float64 and in batches of one size, and give the same
    fractions of the same layers, which is checked. The forward passes alone are those of the probe. They take turns.

    Of another network, or a calculator, the probe of all layers in its own numbers stands beside its bare passes alone,
    pass by pass: see :func:`jetsym.benchmarks.passes.passes_of`.

    Parameters
    ----------
    frames
        File of structures; molecules of ethanol with displaced atoms by default, and cells of eight atoms of rock salt
        for another network.
    network
        A Python entry, module:factory, that makes a network of a package that is known, or a calculator of ASE; its
        code runs.
    limit
        Structures that are probed.
    width
        Size of all features of the PET, whose two layers have random weights.
    batch_size
        Evaluations per forward pass, of all.
    repeats
        Number of alternating timings; medians are printed.
    seed
        Seed of the weights and displacements.
    """
    molecules = frames is None and network is None
    given = _displaced(limit, seed, molecules=molecules) if frames is None else read_frames(Path(frames), limit=limit)
    if network is not None:
        _print_passes(network, given, batch_size, repeats)
    else:
        _print_beside_metatomic(given, width, batch_size, repeats, seed)


def _print_passes(network: str, structures: Sequence[Any], batch_size: int, repeats: int) -> None:
    """Print the times of probes of a network or calculator, and of their bare passes."""
    made = imported(network)
    model, inputs = as_it_takes(made if is_calculator(made) else made(), structures)
    if isinstance(model, nn.Module):
        model.eval()
    options: dict[str, Any] = {"l_max": L_MAX, "batch_size": batch_size, "progress": False}
    turns = [passes_of(model, inputs, **options) for _ in range(repeats)]
    meta = turns[0].report.meta
    columns = ("evaluations", "passes", "ms an evaluation", "probe s", "over all passes", "over the orbit")
    title = (
        f"{network}, {len(structures)} structures, l_max {L_MAX}, {meta['dtype']}, {torch.get_num_threads()} threads"
    )
    table = table_of(title, columns, words=0)
    table.add_row(
        str(meta["evaluations"]),
        str(turns[0].number),
        f"{1e3 * np.median([turn.orbit for turn in turns]) / meta['evaluations']:.3g}",
        f"{np.median([turn.probe for turn in turns]):.2f}",
        *(_with_spread(np.array([getattr(turn, of) for turn in turns])) for of in ("over_all", "over_orbit")),
    )
    Console(width=140).print(table)


def _print_beside_metatomic(structures: Sequence[Any], width: int, batch_size: int, repeats: int, seed: int) -> None:
    """Print the times of a probe of a PET, of its passes, and of metatomic's instrument."""
    model = Model(_pet(sorted({int(z) for atoms in structures for z in atoms.numbers}), width, seed))
    with same_nodes():
        report, passes = _recorded(model, structures, batch_size)
        tasks: dict[str, Callable[[], Any]] = {
            "forward": lambda: _again(model, passes),
            "jetsym": lambda: by_jetsym(model, structures, batch_size=batch_size),
            "metatomic": lambda: by_metatomic(model, structures, batch_size=batch_size),
        }
        difference = largest_difference(tasks["jetsym"](), tasks["metatomic"]())
        forward, ours, theirs = alternate(tasks, repeats, clock=time.process_time).values()
    columns = ("evaluations", "forward s", "jetsym s", "metatomic s", "over forward", "over metatomic", "difference")
    title = f"PET({width}), {len(structures)} structures, l_max {L_MAX}, float64, {torch.get_num_threads()} threads"
    table = table_of(title, columns, words=0)
    table.add_row(
        str(report.meta["evaluations"]),
        *(f"{np.median(each):.2f}" for each in (forward, ours, theirs)),
        *map(_with_spread, (ours / forward, ours / theirs)),
        f"{difference:.0e}",
    )
    Console(width=140).print(table)


def _with_spread(ratios: NDArray[np.float64]) -> str:
    return f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


@contextmanager
def same_nodes() -> Iterator[None]:
    """Let probes take the rotations of metatomic: γ = 2πk/9, at the south pole from α = 0 as well."""

    def quadrature(group: Any, l_max: int, **options: Any) -> Quadrature:
        (x, y, z), weights = lebedev_rule(ORDER)
        angles = np.arctan2(y, x), np.arccos(np.clip(z, -1, 1))
        return Quadrature(*angles, weights / weights.sum(), ring_size=ORDER, l_max=l_max, degree=ORDER - 1)

    with patch.object(O3, "quadrature", quadrature):
        yield


def by_metatomic(
    model: Model, frames: Sequence[Any], *, layers: Sequence[str] = LAYERS, batch_size: int = 342
) -> Fractions:
    """Return fractions of the character projections of layers and energy by metatomic."""
    with quiet():
        package = require("metatomic.torch", extra="atoms", purpose="the benchmark potential")
        instruments = require("metatomic.torch.o3", extra="atoms", purpose="the benchmark potential")
        wanted = {f"{PROJECTION}{FEATURE}{name}": package.ModelOutput(sample_kind="atom") for name in layers}
        wanted[f"{PROJECTION}energy"] = package.ModelOutput(sample_kind="system")
        instrument = instruments.SymmetrizedModel(
            model.module, max_angular_momentum_target=0, max_angular_momentum_character=L_MAX, batch_size=batch_size
        )
        with torch.no_grad(), without_baseline(model.module):
            found = instrument(model.systems(frames), wanted, None)
    fractions = {}
    for name, projection in found.items():
        powers = {
            (int(key["chi_lambda"]), int(key["chi_sigma"])): float(block.values.sum())
            for key, block in projection.items()
        }
        total = sum(powers.values())
        own = name.removeprefix(PROJECTION).removeprefix(FEATURE)
        fractions[own] = {irrep: power / total for irrep, power in powers.items()}
    return fractions


def by_jetsym(
    model: Model, frames: Sequence[Any], *, layers: Sequence[str] = LAYERS, batch_size: int | str = "auto"
) -> Fractions:
    """Return the same of a probe: of what is up to l_max, as metatomic has it."""
    report: Any = probe(model, frames, layers=list(layers), l_max=L_MAX, batch_size=batch_size, progress=False)
    rows = report.fractions / report.fractions.sum(axis=1, keepdims=True)
    return {
        name: {(irrep.lam, irrep.sigma): value for irrep, value in zip(report.irreps, row, strict=True)}
        for name, row in zip(report.layers, rows, strict=True)
    }


def largest_difference(ours: Fractions, theirs: Fractions) -> float:
    """Return the largest difference of two sets of fractions, of the same layers and irreps."""
    return max(abs(ours[name][irrep] - theirs[name][irrep]) for name in theirs for irrep in theirs[name])


def _recorded(model: Model, frames: Sequence[Any], batch_size: int) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return the report of a probe, and what it gave to the network in every forward pass."""
    passes: list[tuple[Any, Any]] = []
    handle = model.module.register_forward_hook(
        lambda module, given, named, returned: passes.append((given, named)), with_kwargs=True
    )
    try:
        report = probe(model, frames, layers=list(LAYERS), l_max=L_MAX, batch_size=batch_size, progress=False)
    finally:
        handle.remove()
    return report, passes


def _again(model: Model, passes: Sequence[tuple[Any, Any]]) -> None:
    with torch.no_grad(), without_baseline(model.module):
        for given, named in passes:
            model.module(*given, **named)


def _displaced(count: int, seed: int, *, molecules: bool) -> list[Any]:
    """Return molecules of ethanol, or cells of rock salt, each with other displacements of its atoms."""
    build = require("ase.build", extra="atoms", purpose="the benchmark potential")
    one = build.molecule("CH3CH2OH") if molecules else build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    found = [one.copy() for _ in range(count)]
    for index, atoms in enumerate(found):
        atoms.rattle(0.1, seed=seed + index)
    return found


def _pet(elements: Sequence[int], width: int, seed: int) -> nn.Module:
    """Return a PET of two layers with random weights and an energy, in float64."""
    with quiet():
        architectures = require("metatrain.utils.architectures", extra="atoms", purpose="the benchmark potential")
        data = require("metatrain.utils.data", extra="atoms", purpose="the benchmark potential")
        targets = require("metatrain.utils.data.target_info", extra="atoms", purpose="the benchmark potential")
        option = {"quantity": "energy", "unit": "", "type": "energy", "sample_kind": "system", "num_subtargets": 1}
        energy = targets.get_energy_target_info("energy", {**option, "description": ""})
        info = data.DatasetInfo("Angstrom", list(elements), {"energy": energy})
        sizes = {"d_pet": width, "d_node": width, "d_head": width, "d_feedforward": width, "num_gnn_layers": 2}
        options = architectures.get_default_hypers("pet")["model"] | sizes | {"num_heads": 2}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: nn.Module = architectures.import_architecture("pet").__model__(options, info)
        return made.to(torch.float64).eval()
