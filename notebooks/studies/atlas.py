"""An atlas of published networks: which symmetry they have, and what it costs to see it.

    python notebooks/studies/atlas.py [--quick] [--only NAME ...] [--draw] [--out DIR] [--page FILE] [--figures DIR]

It measures what is installed of the models that ``atlas_models.TABLE`` lists, one a row, and keeps what it found of the
others before: their requirements clash, and it is run once in each of several environments. Each model is probed
under SO(3) and O(3), at the precision in which its package makes it, and where its inputs are plain (structures with a
calculator, arrays of points or momenta) the same error is computed once more by hand, without jetsym. The cost
is the processor time of a probe of realistic size over that of its forward passes alone; it is measured by itself, by
--cost, of models whose errors are known.

Results stand in DIR/atlas.json, with versions; the page and the figure are made of that file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from atlas_models import FIELDS, TABLE, Published
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import nn

import jetsym
from jetsym.atoms.calculated import is_calculator
from jetsym.atoms.packages import quiet
from jetsym.benchmarks.measure import commit
from jetsym.benchmarks.passes import as_it_takes, passes_of
from jetsym.files import write_atomically, write_json
from jetsym.plotting import save_figure
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.reading import from_json

HERE = Path(__file__).resolve().parents[1]
GROUPS = ("SO3", "O3")
#: Rotations by hand; repeats of a timing, as long as all of them take less than so many seconds.
BY_HAND, REPEATS, ENOUGH = 8, 3, 10.0
HEAD = "model | weights | inputs | guarantee | lines | layers | A under SO(3) / O(3) (floor) | by hand"
COMMAND = "python notebooks/studies/atlas.py"
#: What stands in front of the table.
INTRODUCTION = """# An atlas of published networks

`python notebooks/studies/atlas.py` measures what is installed of the networks that it lists, {total} of them so far;
this page is made of `notebooks/results/atlas.json`, which holds versions, layers and error spectra as well. *A* is the
relative error of equivariance of an output, in the precision in which the package makes the model, on the inputs that
are named; the floor is what rounding explains of it, known to a factor of three. *By hand* is the same error from
{rotations} random rotations (with and without inversion), computed without jetsym: by the package's own calculator, or
the network itself. Random weights say what an architecture guarantees and how well it keeps that in its numbers,
nothing about a trained model. *Lines* count the call of `jetsym.probe` and the function that passes the inputs on,
where one is needed.
"""
#: What stands in front of the times.
COST = """## Cost

`python notebooks/studies/atlas.py --cost` measures the processor time of a probe of realistic size over that of its
bare passes, under O(3) and with all layers and guards: *over all passes* counts those before the orbit as well, which
find particles and measure rounding, *over the orbit* does not. Every pass is made once more, at once, by a copy of the
model that nothing reads, on the very same moved inputs in the same batch, and the two take turns in coming first.
A ratio below one, which cannot be, says how well they are known: large passes make the system find memory anew, for
either of the two. Graphs are built once; one thread; one probe where it is long. *ms* are milliseconds an evaluation of
the bare network. Of what is not in the table this has not been measured.

"""
COST_HEAD = "model | inputs | l_max, method | layers | evaluations | ms | over all passes | over the orbit"


# ------------------------------------------------------------------------------------------------------------ measuring


def measured(row: Published, *, quick: bool) -> dict[str, Any]:
    """Probe one model under both groups, time that, and compute its errors by hand."""
    torch.manual_seed(0)
    model, inputs = row.make(), row.some(quick=quick)
    if isinstance(model, nn.Module):
        model.eval()
    options = {"l_max": 2, "progress": False, **row.options, **({"n_rotations": 4} if quick else {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        on_rotations = jetsym.probe(model, inputs, group="SO3", **{**options, "layers": []})
        report = jetsym.probe(model, inputs, group="O3", **options)
        found = {
            "package": row.package,
            "versions": {name: version(name) for name in (row.package, "torch", "numpy", "jetsym")},
            "python": platform.python_version(),
            "commit": commit(),
            "weights": row.weights,
            "inputs": row.described,
            "n_inputs": report.meta["n_inputs"],
            "dtype": report.meta["dtype"],
            "parameters": parameters(model),
            "method": report.meta["method"],
            "l_max": report.meta["l_max"],
            "outputs": {
                name: {
                    "kind": str(item.kind),
                    **{group: errors(one.equivariance[name]) for group, one in (("SO3", on_rotations), ("O3", report))},
                }
                for name, item in report.equivariance.items()
                if name in report.outputs
            },
            "layers": layers(report),
            "irreps": [str(irrep) for irrep in report.irreps],
            "by hand": by_hand(row, model, inputs),
            "remarks": {text: check(model) for text, check in row.checks.items()},
            "evaluations": report.meta["evaluations"],
        }
    found = json.loads(json.dumps(found, default=float))
    return {**found, **said_of(row, found)}


def errors(item: Any) -> dict[str, Any]:
    """Return A of one output, its floor, and the irrep that holds most of A² where rounding does not."""
    within = bool(item.is_within_rounding)
    numbers = {
        "relative": item.relative,
        "stderr": item.relative_stderr,
        "floor": item.noise_floor,
        "absolute": item.absolute,
        "rounding": item.rounding,
        "over spread": item.over_spread,
    }
    kept = {name: None if not math.isfinite(value) else float(f"{value:.3g}") for name, value in numbers.items()}
    return {**kept, "within rounding": within, "irrep": None if within else item.largest_irrep}


def layers(report: Any) -> list[dict[str, Any]]:
    """Return the spectrum of every layer, and its law where it has one."""
    found = []
    for index, name in enumerate(report.layers):
        if name in report.outputs:
            continue
        law = report.equivariance.get(name)
        found.append(
            {
                "name": name,
                "fractions": [float(f"{value:.4g}") for value in report.fractions[index]],
                "tail": float(f"{report.tail[index]:.3g}"),
                "floor": float(f"{report.noise_floor[index]:.2g}"),
                **({} if law is None else {"law": str(law.kind), **errors(law)}),
            }
        )
    return found


def parameters(model: Any) -> int | None:
    """Count the weights of a model, or of the network that a calculator holds; None where there is none."""
    held = [model] if isinstance(model, nn.Module) else [*vars(model).values(), getattr(model, "model", None)]
    modules = [each for each in held if isinstance(each, nn.Module)]
    return max((sum(weight.numel() for weight in each.parameters()) for each in modules), default=None)


# ------------------------------------------------------------------------------------------------------ without jetsym


def by_hand(row: Published, model: Any, inputs: Any) -> dict[str, dict[str, float]]:
    """Compute relative A of an output at random rotations: √(Σ(z − z̄)² n/(n − 1) / Σz²), z = f(g x) turned back."""
    if row.calculator is not None or is_calculator(model):
        calculator = model if row.calculator is None else row.calculator(model)
        evaluate, kinds = partial(of_calculator, calculator, inputs), {"forces": "vector"}
    elif isinstance(inputs, torch.Tensor):
        call = row.options.get("call", lambda network, x: network(x))
        evaluate, kinds = partial(of_arrays, call, model, inputs, [*row.options["outputs"]]), row.options["outputs"]
    else:
        return {}
    turns = Rotation.random(BY_HAND, random_state=0).as_matrix()
    along = {sign: [(sign * turn, evaluate(sign * turn)) for turn in turns] for sign in (1, -1)}
    found = {}
    for name, kind in kinds.items():
        if kind in ("scalar", "vector", "four-vector"):
            z = {sign: [turned_back(f[name], g, kind) for g, f in each] for sign, each in along.items()}
            found[name] = {"SO3": scattered(z[1]), "O3": scattered([*z[1], *z[-1]])}
    return found


def of_calculator(calculator: Any, frames: Sequence[Any], g: NDArray[np.float64]) -> dict[str, Any]:
    """Return the forces on structures that g has moved; a crystal that is inverted keeps its cell's handedness."""
    forces = []
    for frame in frames:
        one = frame.copy()
        one.set_cell(np.sign(np.linalg.det(g)) * frame.cell.array @ g.T)
        one.positions = frame.positions @ g.T
        one.calc = calculator
        forces.append(one.get_forces())
    return {"forces": np.concatenate(forces)}


def of_arrays(
    call: Any, model: Any, inputs: torch.Tensor, outputs: Sequence[str], g: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the outputs of a network for points (…, 3), or momenta (E, px, py, pz), that g has moved."""
    moved = inputs.double().clone()
    moved[..., -3:] = moved[..., -3:] @ torch.as_tensor(g).T
    found = call(model, moved.to(inputs))
    found = found if isinstance(found, Mapping) else dict.fromkeys(outputs, found)
    return {name: values.detach().numpy() for name, values in found.items()}


def turned_back(values: NDArray[Any], g: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return g⁻¹ on an output: on its last three components, unless it is a scalar."""
    z = np.array(values, dtype=np.float64)
    if kind != "scalar":
        z[..., -3:] = z[..., -3:] @ g
    return z


def scattered(values: Sequence[NDArray[np.float64]]) -> float:
    """Return the root of the variance of arrays over their mean square."""
    z = np.stack(values)
    variance = ((z - z.mean(axis=0)) ** 2).sum() / (len(z) - 1) * len(z)
    return float(f"{math.sqrt(variance / (z**2).sum()):.3g}")


# ----------------------------------------------------------------------------------------------------------------- cost


def cost(row: Published, *, quick: bool) -> dict[str, Any]:
    """Measure the processor time of probes of realistic size over that of their bare passes, pass by pass.

    The inputs are ``row.large()``, moved along the whole orbit of O(3) for l_max 4, and all layers are read. "orbit"
    counts the passes along the orbit alone, "all" also those before it, which find out what rounding does.
    """
    torch.manual_seed(0)
    model, inputs = row.make(), row.large(quick=quick)
    if isinstance(model, nn.Module):
        model.eval()
    options: dict[str, Any] = {"l_max": 2 if quick else 4, "progress": False, **row.options}
    options.pop("n_rotations", None)
    if "call" not in options and row.field == "atoms":
        model, inputs = as_it_takes(model, inputs)  # graphs are built once
    jetsym.probe(model, inputs[:1], **{**options, "l_max": 1, "n_rotations": 4})  # imports, and compiles what there is
    turns = [passes_of(model, inputs, **options)]
    while len(turns) < REPEATS and not quick and sum(map(spent, turns)) < ENOUGH:
        turns.append(passes_of(model, inputs, **options))
    report = turns[0].report
    over_all = [turn.over_all for turn in turns]
    return {
        "inputs": f"{report.meta['n_inputs']} × {row.described_large}",
        "group": "O3",
        "l_max": report.meta["l_max"],
        "method": report.meta["method"],
        "dtype": report.meta["dtype"],
        "layers": len(report.layers) - len(report.outputs),
        "evaluations": report.meta["evaluations"],
        "calls": report.meta.get("calls"),
        "batch": report.meta["batch_size"],
        "threads": torch.get_num_threads(),
        "repeats": len(turns),
        "milliseconds an evaluation": rounded(1e3 * np.median([t.orbit for t in turns]) / report.meta["evaluations"]),
        "over all passes": rounded(np.median(over_all), 4),
        "over all passes, from": rounded(min(over_all), 4),
        "over all passes, to": rounded(max(over_all), 4),
        "over the orbit": rounded(np.median([turn.over_orbit for turn in turns]), 4),
        "commit": commit(),
    }


def spent(turn: Any) -> float:
    """Return the seconds of a probe and of its bare passes."""
    return turn.probe + turn.before + turn.orbit


def rounded(value: Any, digits: int = 3) -> float:
    """Return a number in a few digits."""
    return float(f"{float(value):.{digits}g}")


# -------------------------------------------------------------------------------------------------- table, page, figure


def error_of(item: Mapping[str, Any], group: str) -> tuple[str, float, float]:
    """Return A of an output, in words and as a number, and its floor; of energies that come once, A itself."""
    one = item[group]
    if one["relative"] is None:
        return "A", one["absolute"], one["rounding"]
    return "relative A", one["relative"], one["floor"]


def is_above(item: Mapping[str, Any], group: str) -> bool:
    """Tell whether A of an output is more than rounding explains: the floor of either group, to a factor of three."""
    _, value, _ = error_of(item, group)
    return abs(value) > KNOWN_TO * max(error_of(item, each)[2] for each in GROUPS)


def findings(models: Mapping[str, Any]) -> list[str]:
    """Say what reads otherwise than the architecture guarantees, and what was checked beside, with the numbers."""
    said = []
    for name, one in models.items():
        groups = {"O3": GROUPS, "SO3": ("SO3",)}.get(one["guarantee"], ())
        what = f"{name} ({one['package']} {one['versions'][one['package']]}, {one['inputs']}, {one['dtype']})"
        for output, item in one["outputs"].items():
            hand = one["by hand"].get(output, {})
            for group in filter(lambda group, item=item: is_above(item, group), groups):
                which, value, floor = error_of(item, group)
                said.append(
                    f"{what}: {which} of the {output} is {size(value)} under {group}, where rounding explains "
                    f"{size(floor)}, most of it in {item[group]['irrep']}"
                    + (f"; by hand {size(hand[group])}." if hand else ".")
                )
            if one["guarantee"] == "SO3" and is_above(item, "O3"):
                under = size(item["SO3"]["relative"]) + ("" if is_above(item, "SO3") else ", which is rounding,")
                said.append(
                    f"{what}: A of the {output} is {under} under rotations and {size(item['O3']['relative'])} under "
                    f"O3, most of it in {item['O3']['irrep']}: inversion breaks it"
                    + (f"; by hand {size(hand['O3'])}." if hand else ".")
                )
        said += [f"{what}: {text} {value}" for text, value in one["remarks"].items()]
    return said


def size(value: float | None) -> str:
    """Write a relative error in two digits."""
    return "–" if value is None else f"{value:.2g}" if abs(value) >= 0.01 else f"{value:.1e}".replace("e-0", "e-")


def shown(output: str, item: Mapping[str, Any]) -> str:
    """Write A of an output under both groups, and what rounding explains; of energies that come once, A itself."""
    pair = " / ".join(size(item[group]["relative"]) for group in GROUPS)
    if item["O3"]["relative"] is None:
        pair = " / ".join(f"{item[group]['absolute']:.1g}" for group in GROUPS)
        return f"{output} {pair}, absolute ({item['O3']['rounding']:.1g})"
    return f"{output} {pair} ({size(max(item[group]['floor'] for group in GROUPS))})"


def depth(one: Mapping[str, Any]) -> str:
    """Say how many layers were read, how many of them have laws and miss none, and how invariant the invariant are."""
    laws = [each for each in one["layers"] if "law" in each]
    kept = sum(each["within rounding"] for each in laws)
    text = str(len(one["layers"])) + (f", {kept} of {len(laws)} laws kept" if laws else "")
    fixed = [each for each in one["layers"] if each["invariant"]]
    if not fixed:
        return text
    worst = max(max(map(abs, each["fractions"][1:])) for each in fixed)
    return f"{text}; {len(fixed)} invariant to {worst:.0e}"


def rendered(models: Mapping[str, Any]) -> str:
    """Make the page from what was measured."""
    counted = [one for one in models.values() if not one["reference"]]
    parts = [
        INTRODUCTION.format(total=len(counted), rotations=BY_HAND),
    ]
    for field, title in FIELDS.items():
        rows = {name: one for name, one in models.items() if one["field"] == field}
        if not rows:
            continue
        lines = [f"## {title}\n", HEAD, " | ".join("---" for _ in HEAD.split("|"))]
        for name, one in rows.items():
            hand = "; ".join(
                f"{output} {size(each['SO3'])} / {size(each['O3'])}" for output, each in one["by hand"].items()
            )
            number = "" if one["parameters"] is None else f", {one['parameters']:,}"
            cells = (
                f"{name} ({one['package']} {one['versions'][one['package']]})",
                f"{one['weights']}{number}",
                f"{one['n_inputs']} × {one['inputs']}, {one['evaluations']} evaluations",
                one["guarantee"] or "none",
                str(one["lines"]),
                depth(one),
                "; ".join(shown(output, item) for output, item in one["outputs"].items()),
                hand or "–",
            )
            lines.append(" | ".join(cells))
        parts.append("\n".join(f"| {line} |" if " | " in line else line for line in lines) + "\n")
    said = findings(models)
    parts.append("## What was found\n\n" + "\n".join(f"- {one}" for one in said) + "\n" if said else "")
    parts.append(costs(models))
    return "\n".join(part for part in parts if part)


def costs(models: Mapping[str, Any]) -> str:
    """Write what probes take over their bare passes, and how many stay within the times that they are meant to take."""
    known = {name: one["cost"] for name, one in models.items() if one.get("cost")}
    if not known:
        return ""
    lines = [COST_HEAD, " | ".join("---" for _ in COST_HEAD.split("|"))]
    for name, one in known.items():
        ends = f"{one['over all passes, from']:.3f} to {one['over all passes, to']:.3f}"
        cells = (
            name,
            f"{one['inputs']}, {one['dtype']}",
            f"{one['l_max']}, {one['method']}",
            str(one["layers"]),
            f"{one['evaluations']:,} in batches of {one['batch']}"
            if one["calls"] is None
            else f"{one['calls']:,} calls",
            f"{one['milliseconds an evaluation']:.3g}",
            f"{one['over all passes']:.3f}" + (f" ({ends})" if one["repeats"] > 1 else ""),
            f"{one['over the orbit']:.3f}",
        )
        lines.append(" | ".join(cells))
    text = [COST, "\n".join(f"| {line} |" for line in lines), "\n"]
    for what, most, chosen in within(known):
        if chosen:
            values = [one["over all passes"] for one in chosen.values()]
            beyond = [f"{name} {one['over all passes']:.2f}" for name, one in chosen.items() if is_beyond(one, most)]
            text.append(
                f"\n- Within {most} of all their passes: {len(values) - len(beyond)} of {len(values)} {what} "
                f"(median {np.median(values):.2f})" + (f"; others: {', '.join(beyond)}." if beyond else ".")
            )
    return "".join(text) + "\n"


def is_beyond(one: Mapping[str, Any], most: float) -> bool:
    """Tell whether a probe takes longer than it is meant to, over its bare passes."""
    return float(one["over all passes"]) > most


def within(known: Mapping[str, Any]) -> list[tuple[str, float, dict[str, Any]]]:
    """Return kinds of models, how long their probes may take over bare passes, and the costs of these models."""

    def some(*, calculators: bool, least: float) -> dict[str, Any]:
        return {
            name: one
            for name, one in known.items()
            if (one["calls"] is not None) == calculators and one["milliseconds an evaluation"] >= least
        }

    return [
        ("networks", 1.1, some(calculators=False, least=0)),
        ("calculators whose calls take 50 ms or more", 1.02, some(calculators=True, least=50)),
    ]


def drawn(models: Mapping[str, Any]) -> Figure:
    """Draw A of the outputs under both groups against their floors, and the invariant part layer by layer."""
    rows = [(name, output, item) for name, one in models.items() for output, item in one["outputs"].items()]
    rows = [row for row in rows if row[2]["O3"]["relative"] is not None]
    deep = {name: one["layers"] for name, one in models.items() if one["layers"]}
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 1.5 + 0.16 * max(len(rows), 2 * len(deep), 4)), layout="constrained"
    )
    for place, (_, _, item) in enumerate(rows):
        floor = max(max(item[group]["floor"] for group in GROUPS), 1e-17)
        left.plot([1e-17, floor], [place, place], color="#CCCCCC", linewidth=5, solid_capstyle="butt")
        for group, marker, colour in (("SO3", "o", "#0072B2"), ("O3", "x", "#D55E00")):
            left.plot(max(abs(item[group]["relative"]), 1e-17), place, marker, color=colour, markersize=4)
    left.set(xscale="log", xlabel="relative A: ● SO(3), × O(3); grey: rounding", xlim=(1e-17, 2))
    left.set_yticks(range(len(rows)), [f"{name}: {output}" for name, output, _ in rows], fontsize=5)
    left.invert_yaxis()
    for place, each in enumerate(deep.values()):
        share = np.array([[layer["fractions"][0] for layer in each]])
        right.imshow(share, extent=(0, 1, place + 0.4, place - 0.4), aspect="auto", cmap="cividis", vmin=0, vmax=1)
    right.set(xlim=(0, 1), ylim=(max(len(deep), 1) - 0.5, -0.5), xlabel="depth, first to last layer", xticks=[])
    right.set_yticks(range(len(deep)), list(deep), fontsize=6)
    right.set_title("invariant part (0,+) of each layer", fontsize=8)
    if deep:
        figure.colorbar(right.images[0], ax=right, fraction=0.03)
    return figure


# ----------------------------------------------------------------------------------------------------------------- main


def reason_against(row: Published) -> str | None:
    """Say why a model cannot be measured here; None where it can."""
    try:
        if find_spec(row.module) is None:
            return f"{row.module} is not installed"
        version(row.package)
    except (PackageNotFoundError, ModuleNotFoundError):
        return f"{row.package} is not installed"
    if row.needs_data and not os.environ.get("JETSYM_REAL_DATA"):
        return "its weights are in JETSYM_REAL_DATA, which is not set"
    return None


def merged(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured now with what a file holds of other models, in the table's order.

    What the table says, and does not measure, is as it says now.
    """
    before = from_json(json.loads(path.read_text(encoding="utf-8")))["models"] if path.is_file() else {}
    known = {**before, **found}
    return {row.name: {**known[row.name], **said_of(row, known[row.name])} for row in TABLE if row.name in known}


def kept_cost(path: Path, name: str) -> dict[str, Any]:
    """Return the cost that a file holds of a model, if any."""
    one = merged(path, {}).get(name, {})
    return {"cost": one["cost"]} if "cost" in one else {}


def said_of(row: Published, one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table says of a model, and of its layers."""
    marks = [any(fnmatchcase(layer["name"], pattern) for pattern in row.invariant) for layer in one["layers"]]
    return {
        "field": row.field,
        "guarantee": row.guarantee,
        "lines": row.lines,
        "reference": row.reference,
        "layers": [{**layer, "invariant": mark} for layer, mark in zip(one["layers"], marks, strict=True)],
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is installed, and write the results, the page and the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small version: to see that it works, not to learn from")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="models whose names begin so, or are so")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of atlas.json")
    parser.add_argument("--page", type=Path, default=HERE / "docs" / "atlas.md", help="the page that is made of it")
    parser.add_argument("--figures", type=Path, default=Path("runs/figures"), help="folder for the figure")
    parser.add_argument("--cost", action="store_true", help="measure what probes take over bare passes, nothing else")
    parser.add_argument("--draw", action="store_true", help="measure nothing, and draw what is known")
    options = parser.parse_args(words)
    chosen = [
        row for row in TABLE if not options.only or row.name.lower().startswith(tuple(map(str.lower, options.only)))
    ]
    if not chosen:
        parser.error(f"--only {' '.join(options.only)} names none of {', '.join(row.name for row in TABLE)}")
    path, failed = options.out / "atlas.json", 0
    if any(row.package == "metatrain" for row in chosen) and find_spec("metatensor") is not None:
        with quiet():  # its scripts do not compile once PyG has put its own index_select in place
            import_module("metatensor.torch")
    for row in [] if options.draw else chosen:
        if reason := reason_against(row):
            print(f"{row.name}: left out, {reason}", flush=True)
            continue
        start = time.perf_counter()
        try:
            if options.cost:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = {**merged(path, {})[row.name], "cost": cost(row, quick=options.quick)}
            else:
                found = {**measured(row, quick=options.quick), **kept_cost(path, row.name)}
        except Exception as error:  # whatever a foreign model raises
            failed += 1
            print(f"{row.name}: failed, {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
            continue
        kept = {"command": COMMAND, "models": merged(path, {row.name: found})}
        write_json(path, kept)  # after each: the next may take long
        text = "; ".join(shown(output, item) for output, item in found["outputs"].items())
        if options.cost:
            text = f"{found['cost']['over all passes']} of all passes"
        print(f"{row.name}: {text}, {time.perf_counter() - start:.0f} s", flush=True)
    models = merged(path, {})
    if models:
        write_atomically(options.page, rendered(models))
        figure = drawn(models)
        for suffix in ("pdf", "png"):
            save_figure(figure, options.figures / f"atlas.{suffix}")
        print(f"{len(models)} models: {path}, {options.page}, {options.figures / 'atlas.pdf'}")
    return int(failed > 0)


if __name__ == "__main__":
    plt.switch_backend("Agg")
    sys.exit(main())
