"""Benchmark of the tensor-basis head against a direct, unconstrained one, on dipoles and polarizabilities."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from jetsym.benchmarks.molecules import TARGETS, Molecules, read_molecules
from jetsym.errors import ConfigError
from jetsym.files import write_atomically
from jetsym.probing.probe import probe
from jetsym.progress import progress_bar
from jetsym.remedies import CartesianHead, InvariantNetwork
from jetsym.remedies.tensor_basis import TensorBasisHead, rank_note
from jetsym.spectrum import SO3
from jetsym.text import concise, table_of

__all__ = ["run", "tensor_basis"]

#: Name -> options of the tensor-basis heads; "fast" has a single learned vector and one direct term.
BASES: dict[str, dict[str, Any]] = {
    "tensor basis": {"direct": 2},
    "tensor basis, no direct terms": {},
    "tensor basis, fast": {"direct": 1, "tensors": 1},
}
HEADS = (*BASES, "direct", "direct, augmented")


def tensor_basis(
    data: str,
    *,
    targets: list[str] | None = None,
    heads: list[str] | None = None,
    seeds: int = 3,
    epochs: int = 200,
    direct_factor: int = 2,
    width: int = 32,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    test_fraction: float = 0.2,
    out: str | None = None,
) -> None:
    """Train heads for each target and seed, and print their errors on molecules that they have not seen.

    All of them read the features of an :class:`~jetsym.remedies.InvariantNetwork`. "tensor basis" is a
    :class:`~jetsym.remedies.CartesianHead` with two direct terms, also without them, and "fast"; "direct" adds up a
    perceptron of features and positions of every atom, with as many parameters; "direct, augmented" is the same with
    every molecule rotated at random in every step. Optimiser and split of a seed are the same for all; the budget is
    time, of which the direct heads take less a step. Targets are centred and scaled by the training molecules; from the
    trace of polarizabilities a linear fit on the composition is taken off, for all.

    Parameters
    ----------
    data
        Extended XYZ file of molecules with ``mu`` (3) or ``alpha`` (3 × 3) for each.
    targets
        Targets out of "mu" and "alpha" (default: both).
    heads
        Heads to train, "tensor basis" first (default: all).
    seeds
        Number of splits and initialisations.
    epochs, batch_size, learning_rate
        Options of Adam, with a cosine schedule down to zero.
    direct_factor
        Factor by which the direct heads are trained for more epochs, so that all take about the same time.
    width
        Width of the networks.
    test_fraction
        Fraction of the molecules that is held out.
    out
        A JSON file for the numbers.
    """
    chosen, methods = targets or list(TARGETS), heads or list(HEADS)
    unknown = sorted(set(methods) - set(HEADS))
    if unknown or methods[0] != HEADS[0]:
        raise ConfigError(f"heads are {methods}; expected {HEADS[0]!r} first, and then some of {list(HEADS[1:])}")
    if min(seeds, epochs, direct_factor) < 1 or not 0 < test_fraction < 1:
        raise ConfigError(
            f"seeds, epochs, direct_factor are {seeds}, {epochs}, {direct_factor}, test_fraction {test_fraction}; "
            "expected whole numbers ≥ 1, and a fraction within (0, 1)"
        )
    molecules = read_molecules(data, chosen)
    options: dict[str, Any] = {
        "width": width,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "test_fraction": test_fraction,
    }
    found: list[dict[str, Any]] = []
    with progress_bar("models", len(chosen) * len(methods) * seeds) as advance:
        for target in chosen:
            for seed in range(seeds):
                for method in methods:
                    factor = 1 if method in BASES else direct_factor
                    found.append(run(molecules, target, method, seed=seed, **options | {"epochs": factor * epochs}))
                    advance(1)
    console = Console(width=120)
    console.print(_table(found, len(molecules), seeds))
    for target in chosen:
        console.print(f"{target}: {next(row['rank'] for row in found if row['target'] == target)}", highlight=False)
    if out is not None:
        write_atomically(out, json.dumps({"data": Path(data).name, "options": options, "runs": found}, indent=1))


class TensorBasisModel(nn.Module):
    """A network of invariant features, and scalars times tensors."""

    def __init__(self, elements: int, kind: str, width: int, **options: Any) -> None:
        super().__init__()
        self.features = InvariantNetwork(elements, width=width)
        self.head = CartesianHead(kind, features=width, width=width, **options)

    def forward(self, positions: Tensor, elements: Tensor, mask: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.features(elements, positions, mask), positions, mask))


class DirectModel(nn.Module):
    """A network of the same features, and a perceptron of features and positions of every atom, added up."""

    def __init__(self, elements: int, kind: str, width: int, parameters: int) -> None:
        super().__init__()
        self.features = InvariantNetwork(elements, width=width)
        self.symmetric = kind == "symmetric"
        outputs = 9 if self.symmetric else 3
        # Two hidden layers of w: w² + (width + outputs + 5) w parameters and few more, as many as the other head's.
        linear = width + outputs + 5
        hidden = round((linear**2 / 4 + parameters) ** 0.5 - linear / 2)
        layers = [nn.Linear(width + 3, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
        self.head = nn.Sequential(*layers, nn.Linear(hidden, outputs))

    def forward(self, positions: Tensor, elements: Tensor, mask: Tensor) -> Tensor:
        features = self.features(elements, positions, mask)
        added: Tensor = (self.head(torch.cat([features, positions], dim=-1)) * mask[..., None].bool()).sum(dim=1) / 10
        if not self.symmetric:
            return added
        matrix = added.reshape(-1, 3, 3)
        return (matrix + matrix.mT) / 2


def run(
    molecules: Molecules,
    target: str,
    method: str,
    *,
    seed: int,
    epochs: int,
    width: int,
    batch_size: int,
    learning_rate: float,
    test_fraction: float,
) -> dict[str, Any]:
    """Train one model, and measure its errors per component on the test molecules, its A, size and time."""
    torch.manual_seed(seed)
    order = torch.randperm(len(molecules), generator=torch.Generator().manual_seed(seed))
    held_out = max(1, round(test_fraction * len(molecules)))
    train, test = molecules[order[held_out:]], molecules[order[:held_out]]
    unit, baseline = _scaling(train, target)
    kind, elements = TARGETS[target], molecules.elements.shape[-1]
    model: nn.Module = TensorBasisModel(elements, kind, width, **BASES.get(method, BASES[HEADS[0]]))
    if method not in BASES:
        model = DirectModel(elements, kind, width, _count(model.head))
    start = time.perf_counter()
    goal = (train.targets[target] - baseline(train)) / unit
    _fit(model, train, goal, seed, method == "direct, augmented", epochs, batch_size, learning_rate)
    elapsed = time.perf_counter() - start

    model.double().eval()
    positions, rotations = test.positions.double(), torch.from_numpy(SO3().sample(8, np.random.default_rng(seed)))
    with torch.no_grad():
        residual = (test.targets[target] - baseline(test)).double()
        given = unit * model(positions, test.elements.double(), test.mask) - residual
        rotated = [
            unit * model(positions @ matrix.mT, test.elements.double(), test.mask) - _rotated(residual, matrix)
            for matrix in rotations
        ]
    return {
        "target": target,
        "method": method,
        "seed": seed,
        "rmse": given.square().mean().sqrt().item(),
        "rmse_rotated": torch.stack(rotated).square().mean().sqrt().item(),
        "A": _equivariance_error(model, test, kind),
        "head_parameters": _count(model.head),
        "epochs": epochs,
        "seconds": elapsed,
        "rank": _rank(model, test) if isinstance(model, TensorBasisModel) else "",
    }


def _fit(
    model: nn.Module,
    train: Molecules,
    goal: Tensor,
    seed: int,
    augment: bool,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    steps = epochs * -(-len(train) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for choice in torch.randperm(len(train), generator=generator).split(batch_size):
            batch, aim = train[choice], goal[choice]
            positions = batch.positions
            if augment:
                matrices = torch.from_numpy(SO3().sample(len(choice), rng)).float()
                positions, aim = positions @ matrices.mT, _rotated(aim, matrices)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(positions, batch.elements, batch.mask), aim).backward()
            optimizer.step()
            schedule.step()


def _rotated(values: Tensor, rotations: Tensor) -> Tensor:
    """Rotate vectors (B, 3) or matrices (B, 3, 3) by rotations (3, 3) or (B, 3, 3)."""
    if values.ndim == 2:
        return (rotations @ values[..., None])[..., 0]
    return rotations @ values @ rotations.mT


def _scaling(train: Molecules, target: str) -> tuple[float, Any]:
    """Return the unit of a target, and its part that the composition fits linearly: isotropic, so zero for vectors."""

    def composition(molecules: Molecules) -> Tensor:
        return molecules.elements.sum(dim=1)

    values = train.targets[target]
    if values.ndim == 2:
        return values.std().item(), lambda molecules: torch.zeros_like(molecules.targets[target])
    trace = torch.einsum("bii->b", values)[:, None] / 3
    fit: Tensor = torch.linalg.lstsq(composition(train), trace).solution

    def baseline(molecules: Molecules) -> Tensor:
        return (composition(molecules) @ fit)[..., None] * torch.eye(3)

    return (values - baseline(train)).std().item(), baseline


def _equivariance_error(model: nn.Module, test: Molecules, kind: str) -> float:
    """Measure the relative A by :func:`jetsym.probe`: positions move, elements and mask travel with them."""

    def move(inputs: tuple[Tensor, ...], matrices: Any) -> tuple[Tensor, ...]:
        positions, *others = inputs
        rotations = torch.as_tensor(matrices).to(positions).reshape(len(matrices), -1, 1, 3, 3)
        moved = (rotations @ positions[..., None])[..., 0].flatten(0, 1)
        return moved, *(each.repeat(len(matrices), 1, *[1] * (each.ndim - 2)) for each in others)

    inputs = (test.positions.double(), test.elements.double(), test.mask.double())
    name = "rank2" if kind == "symmetric" else kind
    report = probe(model, inputs, action=move, outputs={"y": name}, l_max=2, layers=[], progress=False)
    return report.equivariance["y"].relative


def _rank(model: TensorBasisModel, test: Molecules) -> str:
    """Describe the rank of the basis for the test molecules, in the block of the largest λ."""
    positions, elements = test.positions.double(), test.elements.double()
    with torch.no_grad():
        features = model.features(elements, positions, test.mask)
    block = model.head.blocks[-1]
    assert isinstance(block, TensorBasisHead)
    return rank_note(block.rank(features, positions, test.mask, tolerance=1e-4), block.lam)


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _table(found: Sequence[Mapping[str, Any]], molecules: int, seeds: int) -> Table:
    table = table_of(
        f"{molecules} molecules, {seeds} seeds (standard errors in the last digits): RMSE per component of "
        "held-out ones, as given and rotated at random, and its ratio to that of the first head, seed by seed",
        ("target", "head", "RMSE as given", "RMSE rotated", "to the first", "relative A", "head size", "s"),
        words=2,
    )
    for target, method in dict.fromkeys((row["target"], row["method"]) for row in found):
        rows = [row for row in found if (row["target"], row["method"]) == (target, method)]

        first = [row for row in found if (row["target"], row["method"]) == (target, HEADS[0])]
        ratios = [row["rmse_rotated"] / own["rmse_rotated"] for row, own in zip(rows, first, strict=True)]
        error, size, elapsed = (np.mean([row[name] for row in rows]) for name in ("A", "head_parameters", "seconds"))
        accuracy = (_stated([row["rmse"] for row in rows]), _stated([row["rmse_rotated"] for row in rows]))
        table.add_row(target, method, *accuracy, _stated(ratios), f"{error:.1g}", f"{size:.0f}", f"{elapsed:.0f}")
    return table


def _stated(values: Sequence[float]) -> str:
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return concise(float(np.mean(values)), float(error))
