"""Benchmark of one backbone, trained in every regime at equal budget: accuracy, learned symmetry and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetsym.benchmarks.compare_regimes import REGIMES, compare_runs, regime_options
from jetsym.errors import ConfigError
from jetsym.files import check_out
from jetsym.jets.io.sample import sample, sample_dir
from jetsym.symmetry import GroupName
from jetsym.training.loop import train

__all__ = ["regimes"]


def regimes(
    names: list[str] | None = None,
    *,
    out: str = "runs/regimes",
    runs: list[str] | None = None,
    backbone: str = "pointnet",
    options: dict[str, Any] | None = None,
    group: str = GroupName.SO3,
    frame: str | None = None,
    weight: float = 0.1,
    epochs: int = 8,
    limit: int | None = None,
    batch_size: int = 128,
    lr: float = 0.002,
    max_particles: int = 40,
    seeds: list[int] | None = None,
    test_jets: int | None = None,
    probed: int = 64,
    n_rotations: int = 32,
    monitor_every: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Train a backbone in several regimes on the bundled jets, for as many epochs each, and print them side by side.

    Runs that are there already are continued, or only measured. The table is kept as ``regimes.json``.

    Parameters
    ----------
    names
        Regimes out of none, augmentation, penalty, generators, canonicalised and exact; all by default.
    out
        Folder of the runs, ``none-0`` and so on.
    runs
        Folders of runs that were trained elsewhere, to measure instead of training any.
    backbone, options
        Name and options of the tagger; a small PointNet by default.
    group, frame
        The symmetry that the regimes aim at.
    weight
        Weight of the penalties.
    epochs, limit, batch_size, lr, max_particles
        Options of every run; see :class:`jetsym.training.config.TrainConfig`.
    seeds
        One run of every regime for each; [0] by default.
    test_jets
        Test jets to take; all by default.
    probed, n_rotations
        Jets whose orbits are measured, and random rotations of each.
    monitor_every
        Steps between two spectra of all layers; 0 for none.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Show a line per epoch.
    """
    if options is None and backbone == "pointnet":
        options = {"width": 32, "blocks": 2, "heads": 4}
    chosen = [*REGIMES] if names is None else names
    aim: dict[str, Any] = {"backbone": backbone, "options": options, "group": group, "frame": frame, "weight": weight}
    settings = {name: regime_options(name, **aim) for name in chosen}  # refuses a wrong name before anything is trained
    table = check_out(Path(out, "regimes.json"))
    pairs: list[tuple[str, str]] = [(run, Path(run).name) for run in runs or []]
    for seed in [] if runs else seeds or [0]:
        for name, own in settings.items():
            folder = Path(out, f"{name}-{seed}")
            common: dict[str, Any] = {
                "val": str(sample_dir() / "val"),
                "epochs": epochs,
                "limit": limit,
                "batch_size": batch_size,
                "lr": lr,
                "warmup": 0.1,
                "max_particles": max_particles,
                "monitor_every": monitor_every,
                "device": device,
                "seed": seed,
                "progress": progress,
            }
            try:
                train(str(sample_dir() / "train"), folder, resume=True, **common, **own)
            except ConfigError as error:
                raise ConfigError(f"{name} (seed {seed}): {error}") from error
            pairs.append((str(folder), name))
    test = sample("test", limit=test_jets, max_particles=max_particles)
    found = compare_runs(pairs, test, probed=probed, n_rotations=n_rotations)
    found.save(table)
    print(found, end="")
