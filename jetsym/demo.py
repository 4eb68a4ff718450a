"""``jetsym demo``: from ROOT files to trained taggers to their symmetry spectra, on the bundled jets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml
from matplotlib.axes import Axes
from rich.console import Console

from jetsym.errors import ConfigError
from jetsym.files import check_out, write_atomically, write_json
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import evaluate
from jetsym.jets.io.sample import sample, sample_dir
from jetsym.locks import locked
from jetsym.pages import image, render
from jetsym.plotting import plot_spectrum, save_figure
from jetsym.probing.diagnosis.diagnose import diagnose
from jetsym.probing.probe import probe
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.text import at_most, concise, percent
from jetsym.training.config import TrainConfig
from jetsym.training.folder import RunFolder
from jetsym.training.loop import train
from jetsym.training.presets import preset_path

__all__ = ["demo"]

#: The two runs and the presets they follow: the same network, shown original jets or jets rotated at random.
RUNS = {"plain": "pointnet", "rotated": "pointnet-rotated"}


@dataclass(frozen=True)
class Scale:
    """The size of a demo: training and test jets (None: all of them), epochs, probed jets, largest λ."""

    train_jets: int | None
    test_jets: int | None
    epochs: int
    probe_jets: int
    l_max: int


FULL = Scale(train_jets=6000, test_jets=None, epochs=22, probe_jets=40, l_max=3)
QUICK = Scale(train_jets=1500, test_jets=500, epochs=3, probe_jets=24, l_max=2)


def demo(
    out: str = "runs/demo",
    *,
    quick: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Train a tagger without and with rotation augmentation, evaluate and probe both, and write a report.

    Reads the bundled ROOT sample. Run again, it continues where it was stopped. Some five minutes on one core.

    Parameters
    ----------
    out
        Folder for everything: the runs ``plain`` and ``rotated``, ``metrics.json``, the symmetry reports
        ``report_plain.json`` and ``report_rotated.json``, ``spectrum.png`` and ``.pdf``, and ``report.html``.
    quick
        Fewer jets and epochs, under a minute: to see that everything works, not to learn from the numbers.
    resume
        Continue the demo in ``out`` where it was stopped or killed, or begin it; a second call does so by itself.
    overwrite
        Replace what an earlier demo left in ``out``.
    seed
        Of initialisation, shuffling, augmentation and test rotations.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Show what is going on.

    Returns
    -------
    Path
        The page ``report.html``.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite were both given; choose one")
    scale, folder = QUICK if quick else FULL, check_out(out, folder=True)
    console = Console(stderr=True, quiet=not progress)
    with locked(folder, "jetsym demo"):
        for name, preset in RUNS.items():
            console.rule(f"training {name}", align="left")
            train_one(name, preset, folder, scale, overwrite=overwrite, seed=seed, device=device, progress=progress)

        test = sample("test", limit=scale.test_jets, max_particles=64)
        few = sample("test", limit=scale.probe_jets, max_particles=64)
        console.rule("evaluating and probing", align="left")
        reports = probe_runs(folder, few, l_max=scale.l_max, seed=seed, progress=progress)
        metrics = {name: measure(folder / name, test, reports[name], seed=seed) for name in RUNS}

        write_json(folder / "metrics.json", metrics)
        for name, report in reports.items():
            report.save(folder / f"report_{name}.json")
        axes = draw(reports)
        for suffix in ("png", "pdf"):
            save_figure(axes, folder / f"spectrum.{suffix}")
        result = write_atomically(folder / "report.html", html(metrics, reports, axes, quick=quick))
    plt.close(axes.get_figure(root=True))
    for text in findings(metrics, reports):
        console.print(text, highlight=False, markup=False, emoji=False)
    return result


def train_one(
    name: str, preset: str, folder: Path, scale: Scale, *, overwrite: bool, seed: int, device: str, progress: bool
) -> None:
    """Train one of the two taggers, or continue an interrupted training."""
    options: dict[str, Any] = yaml.safe_load(preset_path(preset).read_text(encoding="utf-8"))
    options["epochs"] = scale.epochs
    options |= {"val": str(sample_dir() / "val"), "limit": scale.train_jets, "seed": seed, "device": device}
    data = str(sample_dir() / "train")
    try:
        RunFolder(folder / name).check(TrainConfig(data=data, **options), resume=not overwrite, overwrite=overwrite)
    except ConfigError as error:
        raise ConfigError(
            f"{folder} holds a demo of another size or seed; replace it with --overwrite, or choose another --out"
        ) from error
    train(data, folder / name, resume=not overwrite, overwrite=overwrite, progress=progress, **options)


def probe_runs(folder: Path, jets: JetBatch, *, l_max: int, seed: int, progress: bool) -> dict[str, SymmetryReport]:
    """Probe both taggers; untrained copies are the same networks for both, so they are measured once."""
    reports: dict[str, SymmetryReport] = {}
    untrained = None
    for name in RUNS:
        wanted = None if untrained else "untrained"
        report: Any = probe(folder / name, jets, l_max=l_max, baseline=wanted, seed=seed, progress=progress)
        untrained = untrained or report.baseline
        reports[name] = replace(report, baseline=untrained)
    return reports


def measure(run: Path, test: JetBatch, report: SymmetryReport, *, seed: int) -> dict[str, Any]:
    """Measure how good one tagger is on original and on rotated jets, and take the error of its logits."""
    from jetsym.jets.checkpoint import load

    found = evaluate(load(run), test, rotated=seed)
    original, rotated = found.metrics, found.rotated.metrics if found.rotated else {}
    error = report.equivariance["logits"]
    untrained = None if report.baseline is None else report.baseline.equivariance["logits"]
    return {
        "auc_top_qcd": original["auc_top_qcd"],
        "auc_top_qcd_rotated": rotated["auc_top_qcd"],
        "accuracy_upright": original["accuracy"],
        "accuracy_rotated": rotated["accuracy"],
        "relative_A": error.relative,
        "relative_A_stderr": error.relative_stderr,
        "absolute_A": error.absolute,
        "A_over_spread": error.over_spread,
        "noise_floor": error.noise_floor,
        "relative_A_untrained": None if untrained is None else untrained.relative,
        "relative_A_untrained_stderr": None if untrained is None else untrained.relative_stderr,
        "test_jets": len(test),
    }


def draw(reports: dict[str, SymmetryReport]) -> Axes:
    """Draw the layer spectra of all taggers side by side; return the last axes."""
    panels: Sequence[Axes] = plt.subplots(1, len(reports), figsize=(11.5, 4.2), sharey=True, layout="constrained")[1]
    for ax, (name, report) in zip(panels, reports.items(), strict=True):
        plot_spectrum(report, ax, legend=ax is panels[-1])
        ax.set_title(TITLES[name], fontsize="medium")
    panels[-1].set_ylabel("")
    panels[0].set_ylim(bottom=min(ax.get_ylim()[0] for ax in panels))
    return panels[-1]


TITLES = {"plain": "trained on original jets", "rotated": "trained on rotated jets"}


def findings(metrics: dict[str, Any], reports: dict[str, SymmetryReport]) -> list[str]:
    """Say in plain words what came out."""
    plain, rotated = metrics["plain"], metrics["rotated"]
    ratio = rotated["relative_A"] / plain["relative_A"]
    return [
        f"On original jets the tagger trained on original jets gets {100 * plain['accuracy_upright']:.1f} % of the ten "
        f"classes right (top against QCD: AUC {plain['auc_top_qcd']:.3f}), the one trained on rotated jets "
        f"{100 * rotated['accuracy_upright']:.1f} % (AUC {rotated['auc_top_qcd']:.3f}).",
        f"When every test jet is rotated at random, the first gets {100 * plain['accuracy_rotated']:.1f} %, the second "
        f"{100 * rotated['accuracy_rotated']:.1f} %. What a jet is does not depend on its orientation; the first "
        "tagger has seen many too, as jets leave a collision in nearly every direction, but each jet in one.",
        f"Rotations and reflections change the first tagger's logits by {_relative(plain)} of their size (relative A), "
        f"the second's by {_relative(rotated)}, {ratio:.2f} times as much. The same network untrained stands at "
        f"{_untrained(plain)} (mean and standard deviation of several initialisations); rounding alone would give "
        f"{at_most(rotated['noise_floor'])}. " + _verdict(plain, rotated),
        _where(reports),
        *[text for report in reports.values() for text in report.sentences()[1 + len(report.outputs) :]],
    ]


def _verdict(plain: dict[str, Any], rotated: dict[str, Any]) -> str:
    """Say what the two errors tell, as far as they reach: two standard errors, and the noise floor."""
    exact = [TITLES[name] for name, numbers in (("plain", plain), ("rotated", rotated)) if _is_invariant(numbers)]
    if exact:
        return f"Invariant to within rounding: the one {' and the one '.join(exact)}."
    gain = plain["relative_A"] - rotated["relative_A"]
    error = math.hypot(plain["relative_A_stderr"], rotated["relative_A_stderr"])
    if gain > 2 * error:
        return "Neither tagger is invariant, but augmentation has brought the second nearer."
    return f"Neither tagger is invariant; the difference of the two, {concise(gain, error)}, is within its error."


def _is_invariant(numbers: dict[str, float]) -> bool:
    return abs(numbers["relative_A"]) <= KNOWN_TO * numbers["noise_floor"]


def _relative(numbers: dict[str, Any]) -> str:
    return concise(numbers["relative_A"], numbers["relative_A_stderr"])


def _untrained(numbers: dict[str, Any]) -> str:
    return concise(numbers["relative_A_untrained"], numbers["relative_A_untrained_stderr"])


def _where(reports: dict[str, SymmetryReport]) -> str:
    """Say in which layers the two taggers hold invariant content."""
    parts = []
    for name, report in reports.items():
        shares = [percent(b, e) for b, e in zip(report.fractions[:, 0], report.stderr[:, 0], strict=True)]
        steps = " → ".join(f"{value} ({layer})" for value, layer in zip(shares, report.layers, strict=True))
        parts.append(f"{TITLES[name]}: {steps}")
    return f"The share of the invariant part (0,+), in per cent, through the layers — {'; '.join(parts)}."


def html(metrics: dict[str, Any], reports: dict[str, SymmetryReport], axes: Axes, *, quick: bool) -> str:
    """Return the page: what was learned where, the figure, the numbers, and how to read them."""
    quantities: dict[str, Callable[[dict[str, Any]], str]] = {
        "accuracy, original jets": lambda numbers: f"{100 * numbers['accuracy_upright']:.1f} %",
        "accuracy, rotated jets": lambda numbers: f"{100 * numbers['accuracy_rotated']:.1f} %",
        "AUC top against QCD, original": lambda numbers: f"{numbers['auc_top_qcd']:.4f}",
        "AUC top against QCD, rotated": lambda numbers: f"{numbers['auc_top_qcd_rotated']:.4f}",
        "relative A of the logits": _relative,
        "relative A, untrained copies": _untrained,
        "rounding alone": lambda numbers: at_most(numbers["noise_floor"]),
    }
    diagnoses = {name: diagnose(report) for name, report in reports.items()}
    taggers = [
        {
            "name": name,
            "title": TITLES[name],
            "diagnosis": found.section(explained=not place),
            "gravest": found.findings[0].name if found.findings else None,
            "section": reports[name].section(),
        }
        for place, (name, found) in enumerate(diagnoses.items())
    ]
    source, width = image(axes)
    return render(
        "demo.html",
        title="jetsym demo: which symmetry has a jet tagger learned?",
        quick=quick,
        findings=findings(metrics, reports),
        taggers=taggers,
        rows=[[name, *map(say, (metrics[run] for run in RUNS))] for name, say in quantities.items()],
        source=source,
        width=width,
    )
