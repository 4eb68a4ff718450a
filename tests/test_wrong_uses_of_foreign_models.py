"""Wrong uses of models from elsewhere: each ends in one sentence with the value, what was expected, and what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.cli import main
from jetsym.errors import JetsymError
from jetsym.jets.weaver_files import files_of, weaver
from jetsym.jets.weaver_network import WeaverNetwork
from jetsym.testing import assert_equivariant

pytest.importorskip("ase")
pytest.importorskip("vesin")

from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from jetsym.atoms import check, graph

POINTS = np.random.default_rng(0).normal(size=(6, 5, 3))
EVENTS = np.concatenate([np.linalg.norm(POINTS, axis=-1, keepdims=True), POINTS], -1)
COPPER = bulk("Cu", cubic=True)
QUIET = {"progress": False, "l_max": 2}


class Given(Calculator):
    """A calculator that returns what it is told to."""

    implemented_properties = ("energy", "forces")

    def __init__(self, **found):
        super().__init__()
        self.found = found

    def calculate(self, atoms=None, properties=None, system_changes=None):
        self.results = dict(self.found)


class Free(Given):
    implemented_properties = ("free_energy",)


class Forces(Given):
    implemented_properties = ("forces",)


class Net(nn.Module):
    def forward(self, graphs):
        return graphs.positions.new_zeros(len(graphs)).index_add(0, graphs.batch, graphs.positions[:, 0])


class Few(Net):
    def forward(self, graphs):
        return graphs.positions[:3]


def heights(p):
    return p[..., -1].sum(1)


def field(x, t):
    return x * t


def probe(model, inputs=None, **options):
    return jetsym.probe(model, inputs, **{**QUIET, **options})


def sums(p):
    return p.sum(1)


def asserted(**options):
    return assert_equivariant(sums, POINTS, **{"outputs": {"sum": "vector"}, **options})


#: What is done -> what is said of it: the value, what was expected, and the remedy.
USES = {
    # calculators
    "no output that is known": (
        lambda: probe(Free(), COPPER),
        r"Free implements none of energy, .* \['free_energy'\]\), so that there is nothing to measure",
    ),
    "nothing is returned": (
        lambda: probe(Given(), COPPER),
        r"Given gives nothing for structure 0 \(Cu4\): it returned nothing; expected energy, forces: give structures",
    ),
    "an unknown element": (
        lambda: probe(EMT(), bulk("Si")),
        r"EMT gives nothing for structure 0 \(Si2\): No EMT-potential for Si; expected energy, .*: give structures",
    ),
    "an unknown element, later": (
        lambda: probe(EMT(), [COPPER, bulk("Si")]),
        r"EMT fails for structure 1 \(Si2\): No EMT-potential for Si; leave it out of the inputs",
    ),
    "an energy of complex numbers": (
        lambda: probe(Given(energy=1 + 2j, forces=np.ones((4, 3))), COPPER),
        r"energy is \(1\+2j\); expected real numbers, as ASE's calculators give them",
    ),
    "forces that are words": (
        lambda: probe(Given(energy=1.0, forces="none"), COPPER),
        "forces is 'none'; expected real numbers, as ASE's calculators give them",
    ),
    "forces of two components": (
        lambda: probe(Given(energy=1.0, forces=np.ones((4, 2))), COPPER),
        r"forces has shape \(4, 2\) for a structure of 4 atoms; expected what ASE's calculators give",
    ),
    "an energy that is no number": (
        lambda: probe(Given(energy=np.nan, forces=np.ones((4, 3))), COPPER),
        "'energy' cannot be measured: its responses .* are not finite; leave out the inputs for which",
    ),
    "a calculator's class": (lambda: probe(EMT, COPPER), r"model is the class EMT; expected a calculator .*: EMT\(…\)"),
    "a calculator without structures": (lambda: probe(EMT()), "there are no structures; expected ase.Atoms, a list of"),
    "a calculator of arrays": (
        lambda: probe(EMT(), POINTS),
        "model is a EMT; expected .* and with structures a calculator of ASE; the inputs are ndarray",
    ),
    "no atoms": (lambda: probe(EMT(), Atoms()), "structure 0 has no atoms; leave it out of the inputs"),
    "a position that is no number": (
        lambda: probe(EMT(), Atoms("Cu", [[0, 0, np.nan]])),
        "structure 0 has positions or a cell that are not finite; leave it out",
    ),
    "a stress with too small an l_max": (
        lambda: probe(EMT(), COPPER, l_max=1),
        "output 'stress' is said to be 'rank2', with λ up to 2, but l_max is 1; expected l_max of at least 2",
    ),
    "an output that is not implemented": (
        lambda: probe(EMT(), COPPER, outputs={"dipole": "vector"}),
        "the model has no output 'dipole'; there is 'energy', 'energies', 'forces', 'stress'",
    ),
    "boosts of a crystal": (
        lambda: probe(EMT(), COPPER, group="boost"),
        "group='boost' needs jets; structures of atoms move under group='O3', 'SO3' or 'SO2'",
    ),
    "layers of a calculator": (
        lambda: probe(EMT(), COPPER, layers=["blocks.*"]),
        r"layers=\['blocks.\*'\] of EMT; only torch modules have layers: leave it out",
    ),
    # check
    "a check of a module": (
        lambda: check(nn.Linear(3, 1), COPPER, progress=False),
        "model is a Linear; expected an ASE calculator, a model of jetsym.atoms.load, or the name",
    ),
    "a check without an energy": (
        lambda: check(Forces(forces=np.ones((4, 3))), COPPER, progress=False),
        "Forces gives forces and no energy, which the check is about",
    ),
    "an allowance for no output": (
        lambda: check(EMT(), COPPER, at_most={"force": 1.0}, progress=False),
        "at_most is 'force'; the nearest are 'forces'",
    ),
    "an allowance in words": (
        lambda: check(EMT(), COPPER, at_most={"forces": "small"}, progress=False),
        r"at_most\['forces'\] is 'small'; expected a number ≥ 0, in meV/Å",
    ),
    "one allowance for all": (
        lambda: check(EMT(), COPPER, at_most=0.1, progress=False),
        "at_most is 0.1; expected a dictionary, such as {'energy': 0.1}",
    ),
    "a check that finds out its l_max": (
        lambda: check(EMT(), COPPER, l_max="auto", progress=False),
        "l_max is 'auto'; expected an integer ≥ 0",
    ),
    "a check of very many": (
        lambda: check(EMT(), [COPPER] * 20, limit=20, progress=False),
        "20 structures take more than 1,000 calls; expected limit of at most [0-9]+, or n_rotations",
    ),
    # graphs
    "a cutoff that is true": (lambda: graph(COPPER, True), "cutoff is True; expected a length, such as 5.0 Å"),
    "one structure of graphs": (
        lambda: graph([COPPER, COPPER], 3.0)[0],
        "the selection of structures is 0; expected a slice",
    ),
    "structures for a network of graphs": (
        lambda: probe(Net(), COPPER),
        r"model is a Net, but the inputs are structures, .*; give their graphs, jetsym.atoms.graph\(frames, cutoff\)",
    ),
    "rows that belong to nothing": (
        lambda: probe(Few(), graph(COPPER, 3.0)),
        r"the Few returned an array of shape \(3, 3\) for 1 structures of \[4\] atoms; expected rows for structures",
    ),
    "layers that are not there": (
        lambda: probe(Net(), graph(COPPER, 3.0), layers=["blocks.*"]),
        "layer 'blocks.\\*' matches no module of Net; there is none",
    ),
    "moves of a graph": (
        lambda: probe(Net(), graph(COPPER, 3.0), moves={"positions": "vector"}),
        "moves={'positions': 'vector'} goes with arrays; structures of atoms move under .*: leave it out",
    ),
    # events, and inputs that cannot be moved
    "points at rest": (
        lambda: probe(heights, POINTS, frame="rest"),
        r"an input array that moves as vector has shape \(6, 5, 3\); expected four-vectors \(…, 4\) as \(E, px,",
    ),
    "events that have no frame at rest": (
        lambda: probe(heights, EVENTS * [0.1, 1, 1, 1], frame="rest"),
        "6 of 6 samples have no rest frame; .*; expected a mass of at least E/1000: leave them out, or move them",
    ),
    "one width": (
        lambda: probe(heights, EVENTS, group="boost", widths=0.5),
        "widths is 0.5; expected a list of numbers > 0",
    ),
    "widths in words": (
        lambda: probe(heights, EVENTS, group="boost", widths="wide"),
        "widths is 'wide'; expected a list of numbers > 0",
    ),
    "a vector under boosts": (
        lambda: probe(lambda p: p[:, 0, 1:], EVENTS, group="boost", outputs={"out": "vector"}),
        "output 'out' is said to be 'vector', whose law is known for rotations .*; measure logits or scalar",
    ),
    "whole numbers": (
        lambda: probe(heights, (10 * POINTS).astype(int)),
        "an input array has dtype int64; expected one of float64, .*: convert it first",
    ),
    "columns of no vector": (
        lambda: probe(heights, np.zeros((3, 4, 5))),
        r"an input array has shape \(3, 4, 5\); expected \(samples, …, 3\) for vectors .* action=… what moves your",
    ),
    "a set": (lambda: probe(heights, {1, 2}), "inputs of type set are not known; expected a JetBatch, .* and action=…"),
    "two arrays that may move": (
        lambda: probe(lambda p, q: heights(p), (POINTS, POINTS)),
        "what of the inputs moves cannot be told: .* Name what does: moves={'p': 'vector', 'q': 'vector'}",
    ),
    "more inputs than a model takes": (
        lambda: probe(heights, (POINTS, np.zeros(6))),
        r"the model takes \(p\), and is given 2 inputs by position and none by name; say with call=… how to call it",
    ),
    "a module's class": (
        lambda: probe(nn.Linear, POINTS),
        r"model is the class Linear; expected a module .*Linear\(…\)",
    ),
    # over
    "an argument that is none": (
        lambda: probe(field, POINTS, over={"time": [0.0, 1.0]}),
        "over names 'time', which what is called does not take; it takes x, t. Say with call=lambda model",
    ),
    "an argument that is an input": (
        lambda: probe(field, {"x": POINTS}, over={"x": [0.0, 1.0]}),
        "over names 'x', which is one of the inputs; leave it out of these",
    ),
    "a value twice": (
        lambda: probe(field, POINTS, over={"t": [1.0, 1.0]}),
        r"over={'t': \[1.0, 1.0\]} holds a number twice; expected each once",
    ),
    # assert_equivariant
    "an allowance for no output of a model": (
        lambda: asserted(at_most={"energy": 1e-3}),
        "at_most is 'energy'; there is 'sum'",
    ),
    "an allowance that is no number": (
        lambda: asserted(at_most=float("nan")),
        "at_most is nan; expected a relative A, a number ≥ 0",
    ),
    "an allowance below zero": (lambda: asserted(at_most=-1.0), "at_most is -1.0; expected a relative A, a number"),
    "allowances in a list": (lambda: asserted(at_most=[1e-3]), r"at_most is \[0.001\]; expected a relative A"),
    "an option that is none": (
        lambda: asserted(tolerence=0.1),
        "an option is 'tolerence'; the nearest are 'tolerance'",
    ),
    "what to do with what cannot be told": (
        lambda: asserted(unresolved="pass"),
        "unresolved is 'pass'; expected one of 'error', 'skip'",
    ),
    "no law": (lambda: asserted(outputs={"sum": None}), "no output has a law; say what they are with outputs=…"),
}


@pytest.mark.parametrize("use", USES)
def test_one_sentence_says_what_is_wrong(use):
    done, said = USES[use]
    with pytest.raises(JetsymError, match=said) as caught:
        done()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of a small network of weaver-core."""
    pytest.importorskip("weaver")
    place = tmp_path_factory.mktemp("net")
    (place / "network.py").write_text(NETWORK)
    (place / "data.yaml").write_text(DATA)
    torch.save(nn.Linear(4, 2).state_dict(), place / "net_state.pt")
    return place


NETWORK = """
import torch

class Sum(torch.nn.Linear):
    def forward(self, vectors, mask):
        return super().forward((vectors * mask).sum(-1))

def get_model(data_config, **kwargs):
    return Sum(4, kwargs.get("num_classes", 2)), {}
"""
DATA = """
new_variables: {part_mask: ak.ones_like(part_energy)}
preprocess: {method: manual}
inputs:
   pf_vectors: {length: 8, vars: [[part_px, null], [part_py, null], [part_pz, null], [part_energy, null]]}
   pf_mask: {length: 8, vars: [[part_mask, null]]}
labels: {type: simple, value: [label_QCD, label_Hbb]}
"""


def replaced(folder, name, old, new):
    """Return the files with a part of one in other words."""
    files = dict(zip((".py", ".yaml", ".pt"), files_of(folder), strict=True))
    other = folder / "other" / name
    other.parent.mkdir(exist_ok=True)
    other.write_text((folder / name).read_text().replace(old, new))
    return [*(files | {other.suffix: other}).values()]


WEAVERS = {
    "no function": (
        lambda place: weaver(*replaced(place, "network.py", "get_model", "make")),
        r"other/network.py makes no network .*no attribute 'get_model'.*; expected get_model\(data_config",
    ),
    "no network": (
        lambda place: weaver(*replaced(place, "network.py", "return Sum", "return repr, Sum")),
        "get_model of .*/network.py returns a .*; expected a torch.nn.Module",
    ),
    "no momenta": (
        lambda place: weaver(*replaced(place, "data.yaml", "pf_vectors", "momenta")),
        "no input holds px, py, pz and energy .momenta, pf_mask., .*; name the one that does: vectors=",
    ),
    "code in expressions": (
        lambda place: weaver(*replaced(place, "data.yaml", "ak.ones_like", "os.system")),
        "holds a call of 'os.system'; allowed are",
    ),
    "weights of another network": (
        lambda place: weaver(*files_of(place), options={"num_classes": 3}),
        r"does not fit the network: .* \(file: \(2,.*\), network: \(3,.*\)\); give the options that it was",
    ),
    "one column for a list": (
        lambda place: weaver(*files_of(place), fixed="part_px"),
        "fixed is 'part_px'; expected a list of texts",
    ),
    "a column that is none": (
        lambda place: weaver(*files_of(place), fixed=["part_weird"]),
        "fixed names 'part_weird', of which no input of .* is; expected some of part_",
    ),
    "arrays for jets": (
        lambda place: probe(weaver(*files_of(place)), POINTS),
        r"the inputs are \w+, and a network of weaver-core by its files takes jets; read them for it: net.read",
    ),
    "no files": (
        lambda place: files_of(place.parent),
        r"holds none as \*.py; expected one network",
    ),
}


@pytest.mark.parametrize("use", WEAVERS)
def test_one_sentence_says_what_is_wrong_with_files_of_weaver(use, folder):
    done, said = WEAVERS[use]
    with pytest.raises(JetsymError, match=said) as caught:
        done(folder)
    assert "\n" not in str(caught.value)


COMMANDS = [
    (["probe", "--calculator", "ase.calculators.emt:EMT"], "--inputs names no files; expected those of structures"),
    (
        ["probe", "--calculator", "ase:none", "--inputs", "a.xyz"],
        "--calculator is 'ase:none', which gives no calculator: .*; expected module:factory, of a function",
    ),
    (["atoms", "check", "emt", "none.xyz"], "there is no file none.xyz"),
    (["probe", "--weaver", "nowhere"], "--weaver is 'nowhere'; expected a folder with a network, a data configuration"),
    (["attribute", "--weaver", "nowhere"], "--weaver is 'nowhere'; expected a folder with a network, a data configu"),
]


@pytest.mark.parametrize(("words", "said"), COMMANDS)
def test_commands_say_so_in_one_line(words, said, capsys):
    assert main(words) != 0
    assert re.search(said, " ".join(capsys.readouterr().err.split()))


def test_an_error_of_the_model_itself_is_its_own_and_says_what_it_was_called_with():
    def broken(p):
        raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own") as caught:
        probe(broken, POINTS)
    assert caught.value.__notes__ == ["The model was called with ndarray; say with call=… how to call it otherwise."]


def test_what_a_calculator_claims_and_does_not_give_stands_in_the_notes():
    report = probe(Given(forces=np.ones((4, 3))), COPPER)
    assert list(report.equivariance) == ["forces"]
    assert "Given claims energy and does not give it." in report.meta["notes"]


def test_those_files_are_right_when_nothing_is_changed(folder):
    assert isinstance(weaver(*files_of(folder)), WeaverNetwork)
