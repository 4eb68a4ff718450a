"""What an evaluation of a potential found: errors by subset, in one table, and what each of them was compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from markupsafe import Markup
from rich.table import Table

from jetsym.arguments import checked
from jetsym.atoms.units import in_ev
from jetsym.errors import DataError
from jetsym.pages import sections_of
from jetsym.results import Result, flat
from jetsym.text import as_text, concise, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ALL", "Evaluation", "Scores"]

ALL = "all"
#: Structures below which errors over them are hardly known themselves.
FEW = 8
#: Scores of energies, which are shown in the unit of the file: name -> how it is written, and per what.
ENERGIES = {
    "energy_mae": ("E MAE", "atom"),
    "energy_rmse": ("E RMSE", "atom"),
    "forces_mae": ("F MAE", "Å"),
    "forces_rmse": ("F RMSE", "Å"),
    "sigma": ("σ(E)", "atom"),
    "energy_a": ("E A", "atom"),
    "forces_a": ("F A", "Å"),
    "torque": ("−∂E/∂θ", "atom"),
}
#: What names of outputs begin with -> how they are written in a table, which has many columns.
SHORT = {"non_conservative_force": "nc F", "non_conservative_stress": "nc S"}
OTHERS = {
    "pull": "error/σ",
    "stress_mae": "S MAE [GPa]",
    "stress_rmse": "S RMSE [GPa]",
    "energy_a_over_spread": "E A/spread",
    "forces_a_over_spread": "F A/spread",
}
ORDER = (
    "energy_mae",
    "energy_rmse",
    "forces_mae",
    "forces_rmse",
    "stress_mae",
    "stress_rmse",
    "sigma",
    "pull",
    "energy_a",
    "energy_a_over_spread",
    "forces_a",
    "forces_a_over_spread",
    "torque",
)


@dataclass(frozen=True)
class Scores:
    """Errors on the structures of one subset. Energies are in meV/atom, forces in meV/Å, component by component.

    Parameters
    ----------
    structures, atoms
        How many.
    energy_mae, energy_rmse
        Mean absolute and root mean square error of the energy per atom; None without reference energies.
    forces_mae, forces_rmse
        The same of forces; None without reference forces.
    sigma
        Root mean square of the model's own uncertainty of the energy per atom; None where it has none.
    pull
        Root mean square of error over uncertainty: 1 where the uncertainty is right.
    energy_a, forces_a
        A of energy, and of forces component by component: the part of the errors that averaging the model over O(3)
        takes away, ⟨RMSE²⟩ = RMSE²[f̄] + A². Of a few of the structures; None where none was looked at.
    torque
        Root mean square of −∂E/∂θ of the same structures, turned as a whole, in meV/atom for a radian.
    turned
        How many structures these are; None in older evaluations, as are the errors of A.
    energy_a_stderr, forces_a_stderr, torque_stderr
        Their standard errors by leaving out one structure at a time; None for a single one.
    energy_a_over_spread, forces_a_over_spread
        A over the standard deviation of what is predicted for all structures of the subset, free of A itself: of
        energies per atom about the mean of their composition (None where every composition comes once), and of the
        components of forces.
    energy_a_over_spread_stderr, forces_a_over_spread_stderr
        Their errors, which are those of A.
    stress_mae, stress_rmse
        Errors of the stress, component by component, in GPa; of crystals alone.
    others
        Other outputs -> their mean absolute ("mae") and root mean square ("rmse") error, in the model's unit.
    """

    structures: int
    atoms: int
    energy_mae: float | None
    energy_rmse: float | None
    forces_mae: float | None
    forces_rmse: float | None
    sigma: float | None
    pull: float | None
    energy_a: float | None = None
    forces_a: float | None = None
    torque: float | None = None
    stress_mae: float | None = None
    stress_rmse: float | None = None
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    turned: int | None = None
    energy_a_stderr: float | None = None
    forces_a_stderr: float | None = None
    torque_stderr: float | None = None
    energy_a_over_spread: float | None = None
    energy_a_over_spread_stderr: float | None = None
    forces_a_over_spread: float | None = None
    forces_a_over_spread_stderr: float | None = None


@checked()
@dataclass(frozen=True)
class Evaluation(Result):
    """Errors of a potential.

    Parameters
    ----------
    scores
        By subset, in alphabetical order, and "all" last. A subset that is called so itself is "KEY=all".
    meta
        Key of the subsets, unit of the file's energies, how many structures were left out, how many elements had their
        energy fitted, and notes.
    parity
        Output -> "reference" and "predicted", at most some thousand components, and the "unit" of both.
    """

    scores: Mapping[str, Scores]
    meta: Mapping[str, Any]
    parity: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    KIND: ClassVar[str] = "potential"
    FORMAT: ClassVar[int] = 2

    def _content(self) -> dict[str, Any]:
        scores = {name: asdict(scores) for name, scores in self.scores.items()}
        return {"scores": scores, "meta": dict(self.meta), "parity": {k: dict(v) for k, v in self.parity.items()}}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        scores = {name: Scores(**scores) for name, scores in data["scores"].items()}
        return cls(scores, dict(data["meta"]), dict(data.get("parity", {})))  # which older versions did not write

    def table(self) -> Table:
        """Return a table with a line for each subset, energies in the unit of the file."""
        unit, whole = self.meta.get("unit") or "eV", self.scores[ALL]
        milli, factor = ("m", 1.0) if unit.lower() == "ev" else ("", 1e-3 / in_ev(unit))
        columns = []
        for key in ORDER:
            if getattr(whole, key) is None:
                continue
            name = f"{ENERGIES[key][0]} [{milli}{unit}/{ENERGIES[key][1]}]" if key in ENERGIES else OTHERS[key]
            by = factor if key in ENERGIES else 1.0
            error = f"{key}_stderr"
            pairs = [(getattr(scores, key), getattr(scores, error, None)) for scores in self.scores.values()]
            columns.append((name, [(value, by, stderr) for value, stderr in pairs]))
        for output in whole.others:
            of = self.parity.get(output, {}).get("unit", "")
            for error in ("mae", "rmse"):
                values = [(scores.others.get(output, {}).get(error), 1.0, None) for scores in self.scores.values()]
                columns.append((f"{_short(output)} {error.upper()}{f' [{of}]' if of else ''}", values))
        title = "energies relative to a least-squares energy of every element" if self.meta["fit_baseline"] else None
        heads = ("structures", "atoms", *(name for name, _ in columns))
        table = table_of(title, (str(self.meta["by"] or "subset"), *heads))
        for row, (subset, scores) in enumerate(self.scores.items()):
            cells = [_written(*values[row]) for _, values in columns]
            table.add_row(subset, str(scores.structures), str(scores.atoms), *cells)
        return table

    def notes(self) -> list[str]:
        """Return what a reader must know."""
        left_out, elements, whole = self.meta["left_out"], self.meta["fitted_elements"], self.scores[ALL].structures
        notes = list(self.meta.get("notes", []))
        if any(_short(output) != output for output in self.scores[ALL].others):
            notes.append("nc: non-conservative, forces and stress that the model predicts beside its energy")
        turned = self.scores[ALL].turned
        if turned:
            few = f", of which errors are known to {100 / (2 * (turned - 1)) ** 0.5:.0f} %" if 1 < turned < FEW else ""
            words = "a single structure, and have no errors" if turned == 1 else f"{turned} structures{few}"
            notes.append(f"A and torque are those of {words}; more by turned (--turned)")
        if left_out:
            notes.append(f"{left_out} structures with elements that the model does not know are left out")
        if elements is not None and 3 * elements > whole:
            notes.append(
                f"the energies of {elements} elements were fitted to {whole} structures, so that errors of energies "
                "are too small"
            )
        return notes

    def _heading(self) -> str:
        return "Errors of a potential"

    def section(self) -> Markup:
        """Return it for a notebook's cell or a page."""
        return sections_of([self.table()], self.notes())

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per subset, with the errors of other outputs as "NAME mae" and "NAME rmse"."""
        for subset, scores in self.scores.items():
            others = {f"{name} {error}": value for name, of in scores.others.items() for error, value in of.items()}
            yield {"subset": subset} | flat(asdict(scores)) | others

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, legend: bool = True) -> Figure:
        """Draw what was predicted against what was expected, a panel for each output.

        Raises
        ------
        DataError
            It was saved by a version that did not keep this.
        """
        from jetsym.plotting.parity import plot_parity
        from jetsym.plotting.style import parts_of, with_legend

        if not self.parity:
            raise DataError("this evaluation keeps no single predictions; expected one of this version: evaluate again")
        return with_legend(plot_parity(self.parity, parts_of(ax, len(self.parity))), legend, ax)

    def __str__(self) -> str:
        return "".join([as_text(self.table(), width=240), *(f"{note}\n" for note in self.notes())])


def _short(output: str) -> str:
    """Return how an output is written, with its variant."""
    start = next((start for start in SHORT if output.startswith(start)), None)
    return output if start is None else SHORT[start] + "/".join(("", *output.split("/")[1:]))


def _written(value: float | None, factor: float, stderr: float | None) -> str:
    if value is None:
        return "–"
    return f"{factor * value:.4g}" if stderr is None else concise(factor * value, factor * stderr)
