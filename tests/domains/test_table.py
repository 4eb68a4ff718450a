"""Whose the inputs are: by their type, their path, or the model; and how another package joins."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.domains import table
from jetsym.domains.arrays import ARRAYS
from jetsym.domains.base import Domain
from jetsym.domains.table import TABLE, Known, Row, domain_of, load_model, register
from jetsym.errors import ProbeError

HERE = __name__


class Cloud:
    """Points with charges, as a package of its own may hold them."""

    def __init__(self, points, charges):
        self.points, self.charges = points, charges
        self.dtype = points.dtype

    def __len__(self):
        return len(self.points)

    def __getitem__(self, selection):
        return Cloud(self.points[selection], self.charges[selection])


class Clouds(Domain):
    """Clouds rotate, their charges stay."""

    notes = ("Charges stay as they are.",)

    def load(self, source, *, limit, model):
        return source[:limit] if isinstance(source, Cloud) else Cloud(np.eye(3)[None].repeat(2, 0), np.ones((2, 3)))

    def load_model(self, path):
        return dipole

    def move(self, inputs, matrices):
        return Cloud(ARRAYS.move(inputs.points, matrices), np.tile(inputs.charges, (len(matrices), 1)))


CLOUDS = Clouds()


def dipole(cloud):
    return {"dipole": (cloud.charges[..., None] * cloud.points).sum(1)}


class Model:
    """A model of the same package."""

    def __call__(self, cloud):
        return dipole(cloud)


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    return Cloud(rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 6)))


@pytest.fixture
def joins(monkeypatch):
    """``joins(name, place)``: a package with an entry point."""

    def install(name, place):
        entry = metadata.EntryPoint(name, place, table.ENTRY_POINTS)
        monkeypatch.setattr(metadata, "entry_points", lambda *, group: (entry,) if group == entry.group else ())

    return install


def check(report):
    """A dipole is a vector."""
    np.testing.assert_allclose(report.fractions[0], [0, 0, 1, 0], atol=1e-12)
    assert report.equivariance["dipole"].relative < 1e-12
    assert "Charges stay as they are." in report.meta["notes"]


OPTIONS = {"outputs": {"dipole": "vector"}, "l_max": 1, "progress": False}


def test_a_package_joins_by_an_entry_point(clouds, joins):
    joins(HERE, f"{HERE}:CLOUDS")
    assert domain_of(clouds) is CLOUDS
    check(jetsym.probe(dipole, clouds, **OPTIONS))
    # Inputs that say nothing belong to the model's package; arrays stay arrays, and jets stay jets.
    assert domain_of({"points": 1}, Model()) is CLOUDS
    assert domain_of("some.file", Model()) is CLOUDS
    assert domain_of(np.ones((2, 3)), Model()) is ARRAYS
    check(jetsym.probe(Model(), **OPTIONS))
    assert type(domain_of(None, nn.Linear(3, 2))).__name__ == "Jets"


def test_a_package_joins_by_the_registry(clouds, monkeypatch):
    monkeypatch.setattr(table, "TABLE", list(table.TABLE))
    row = Row("clouds", CLOUDS, lambda inputs, model: isinstance(inputs, Cloud) or str(inputs).endswith(".cloud"))
    register(row)
    check(jetsym.probe(dipole, clouds, **OPTIONS))
    check(jetsym.probe("a run of clouds", "some.cloud", **OPTIONS))
    with pytest.raises(ProbeError, match="there is a domain 'clouds' already"):
        register(row)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("clouds", object(), Known()), "the domain 'clouds' is <object .*; expected a .*Domain | .*EntryPoint"),
        (("clouds", "jetsym.atoms.domain:ATOMS", Known()), "the domain 'clouds' is 'jetsym.atoms.domain:ATOMS'"),
        (("clouds", Domain, Known()), "the domain 'clouds' is <class"),
        ((None, ARRAYS, Known()), "the name of a domain is None; expected a str"),
        (("clouds", ARRAYS, "everything"), "owns of the domain 'clouds' is 'everything'; expected a Callable"),
    ],
)
def test_what_is_no_row_is_refused(values, message):
    with pytest.raises(ProbeError, match=message):
        register(Row(*values))
    with pytest.raises(ProbeError, match="row is .*; expected a Row"):
        register(values)
    assert all(row.name != "clouds" for row in TABLE)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no_such_package.domain:CLOUDS", "No module named 'no_such_package'"),
        ("jetsym.errors:CLOUDS", "has no attribute 'CLOUDS'"),
        ("jetsym.errors:closest", "is a function; expected an instance of jetsym.domains.base.Domain"),
    ],
)
def test_an_entry_point_that_gives_no_domain_is_named(clouds, joins, place, message):
    joins(HERE, place)
    assert domain_of(np.ones((2, 3))) is ARRAYS  # nothing is imported before its inputs turn up
    with pytest.raises(ProbeError, match=f"the domain '{HERE}' of these inputs \\({place}\\).*{message}"):
        jetsym.probe(dipole, clouds, **OPTIONS)


def test_rows_look_at_inputs_and_models():
    known = Known(types=("numpy",), models=("torch",), endings=(".npz",))
    linear = nn.Linear(3, 2)
    assert known(np.ones(3), None)
    assert known([np.ones(3)], None)
    assert known("points.NPZ", None)
    assert known(None, linear)
    assert known("points.xyz", linear)
    assert not known(None, None)
    assert not known("points.xyz", None)
    assert not known(torch.ones(3), linear)
    assert not Known(types=("num",))(np.ones(3), None)
    assert Known(are_nothing=True)(None, None)


def test_paths_of_models_go_by_the_inputs(monkeypatch):
    asked = []
    for module, name in (("jetsym.jets.domain", "Jets"), ("jetsym.atoms.domain", "Atoms")):
        cls = getattr(pytest.importorskip(module), name)
        monkeypatch.setattr(cls, "load_model", lambda self, path: asked.append(type(self).__name__))
    for inputs in (None, "jets.root", np.ones((2, 3)), "water.xyz"):
        load_model("runs/x", inputs)
    assert asked == ["Jets", "Jets", "Jets", "Atoms"]
