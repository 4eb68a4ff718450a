"""Every kind of saved result: its numbers as a table of pandas, its figure, its page, and its files by suffix."""

from __future__ import annotations

import json
import pkgutil
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jetsym
from jetsym.atoms.packages import quiet
from jetsym.benchmarks.calls.world import World
from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation.stability import stability
from jetsym.probing.measure.attribution import attribute
from jetsym.results import Result
from jetsym.storage import Stored
from jetsym.testing.findings import Assertion, Assertions

BEFORE = Path(__file__).with_name("written_before") / "reports"


def before(kind, file):
    """A result that an older version wrote."""
    return kinds()[kind].from_dict(json.loads((BEFORE / file).read_text()))


def regression(jets):
    from jetsym.jets.evaluation.regression import regress
    from jetsym.jets.models import PointNet
    from jetsym.jets.targets import Target

    tagger = PointNet(("mass",), width=8, heads=2).aimed(Target("mass", 80.0, 20.0))
    return regress(tagger, jets.replace(columns={"mass": jets.jet_p4[:, 0]}), rotated=0)


def faults():
    from jetsym.benchmarks.faults import Faults, Part

    return Faults({"kills": Part({"refused": 2, "right": 1})}, {"seed": 0})


def memory():
    from jetsym.benchmarks.memory import Memory, Run

    return Memory((Run("probe", 10, 300.0, 400.0), Run("probe", 20, 300.0, 401.0)), {"seed": 0})


def scaling():
    from jetsym.benchmarks.scaling import AXES, Law, Scaling

    sizes, times = (1, 2, 4, 8), ((1.0, 1.1), (2.0,), (4.1,), (8.0,))
    return Scaling(tuple(Law("probing", axis, sizes, times, (1.0, 2.0, 4.0, 8.0), 1, 1) for axis in AXES), {"quick": 1})


#: Kind -> one of it.
MADE = {
    "assertions": lambda w: Assertions((Assertion("held", ("energy is invariant",), test="test_it"),)),
    "attribution": lambda w: attribute(w.tagger, w.jets, group="SO2", l_max=1, progress=False),
    "boosts": lambda w: w.boosts,
    "check": lambda w: w.check,
    "comparison": lambda w: w.comparison,
    "cost": lambda w: jetsym.cost(w.tagger, w.jets, n_rotations=4, limit=3, progress=False),
    "diagnosis": lambda w: jetsym.diagnose(w.report),
    "dynamics": lambda w: w.dynamics,
    "evaluation": lambda w: w.evaluation,
    "faults": lambda w: faults(),
    "history": lambda w: w.history,
    "layers": lambda w: jetsym.layers(w.net, w.points),
    "learning-rates": lambda w: before("learning-rates", "learning_rate.json"),
    "local": lambda w: w.lorentz.local["beam"],
    "lorentz": lambda w: w.lorentz,
    "memory": lambda w: memory(),
    "over": lambda w: jetsym.probe(
        lambda x, t: {"y": x[:, 0] * t + 1}, w.points, over={"t": [0.5, 1.0]}, l_max=1, progress=False
    ),
    "parity": lambda w: jetsym.parity(w.tagger, w.jets, limit=3),
    "phonons": lambda w: w.phonons,
    "potential": lambda w: w.evaluated,
    "regimes": lambda w: before("regimes", "regimes.json"),
    "regression": lambda w: regression(w.jets),
    "relaxation": lambda w: w.relaxation,
    "safety": lambda w: w.safety,
    "scaling": lambda w: scaling(),
    "spectrum": lambda w: w.report,
    "stability": lambda w: stability(w.tagger, w.jets, draws=2),
    "watch": lambda w: replace(w.watch, settings={"structures": 5}),
}
#: Kinds that are words and tables, and have no figure.
WITHOUT_FIGURE = {"assertions", "check", "diagnosis", "faults", "layers", "memory", "regimes"}
#: Kinds whose figure has several panels, and how many.
PANELS = {"comparison": 4, "lorentz": 3, "phonons": 2, "relaxation": 2, "scaling": 8}


def kinds():
    """Kind -> class, of all modules of the package."""
    for module in pkgutil.walk_packages(jetsym.__path__, "jetsym."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError), quiet():  # of an optional package
                import_module(module.name)

    def below(kind):
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    return {kind.KIND: kind for kind in below(Stored) if "KIND" in vars(kind) and kind.__module__.startswith("jetsym.")}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def results(world):
    """Return a result of each kind, made once."""
    kept = {}

    def of(kind):
        if kind in ("check", "dynamics", "phonons", "potential", "relaxation", "watch") and find_spec("ase") is None:
            pytest.skip("the extra atoms is not installed")
        if kind not in kept:
            kept[kind] = MADE[kind](world)
        return kept[kind]

    return of


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_every_kind_is_a_result_and_is_tried_here():
    found = kinds()
    assert found.keys() == MADE.keys()
    assert [kind for kind in found.values() if not issubclass(kind, Result)] == []


class Texts(HTMLParser):
    """The texts of a page, its pictures, and whether what was opened was closed."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.pictures, self.open = [], 0, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.pictures += tag == "img"
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("kind", MADE)
def test_numbers_are_a_table(kind, results):
    table = results(kind).to_dataframe()
    if kind != "diagnosis":  # which may find nothing
        assert len(table) > 0
        assert table.select_dtypes("number").shape[1] > 0 or kind in ("assertions", "layers")
    assert not table.map(lambda cell: isinstance(cell, dict | list | np.ndarray)).any(axis=None)


@pytest.mark.parametrize("kind", MADE)
def test_figures_are_drawn_into_axes_that_are_given_or_refused(kind, results):
    result = results(kind)
    if kind in WITHOUT_FIGURE:
        with pytest.raises(ConfigError, match=f"kind '{kind}' has no figure; print it"):
            result.plot()
        return
    assert isinstance(result.plot(), Axes | Figure)
    figure, (left, right) = pyplot.subplots(1, 2)
    alone, open_figures = right.get_children(), pyplot.get_fignums()
    drawn = result.plot(ax=left)
    assert drawn in (left, figure)
    assert pyplot.get_fignums() == open_figures
    assert right.get_children() == alone
    assert any(one.has_data() for one in (left, *left.child_axes))


@pytest.mark.parametrize("kind", PANELS)
def test_figures_of_panels_take_as_many_axes(kind, results):
    axes = list(pyplot.subplots(1, PANELS[kind])[1])
    results(kind).plot(axes)
    assert all(ax.has_data() for ax in axes)
    with pytest.raises(ConfigError, match=f"expected {PANELS[kind]} to draw into"):
        results(kind).plot([*axes, *axes])


@pytest.mark.parametrize("kind", sorted(MADE.keys() - WITHOUT_FIGURE))
def test_legends_are_left_out(kind, results):
    def legends(drawn):
        figure = drawn if isinstance(drawn, Figure) else drawn.figure
        inset = [one for ax in figure.axes for one in ax.child_axes]
        return [*figure.legends, *(ax.get_legend() for ax in [*figure.axes, *inset] if ax.get_legend())]

    result = results(kind)
    assert legends(result.plot(legend=False)) == []
    assert legends(result.plot(legend=False, ax=pyplot.subplots()[1])) == []
    if kind not in ("phonons", "potential", "relaxation"):  # one run, and no names, tell themselves
        assert legends(result.plot())


def test_legends_of_other_axes_stay(results):
    left, right = pyplot.subplots(1, 2)[1]
    right.plot([0, 1], label="mine")
    right.legend()
    for kind in ("spectrum", "boosts", "lorentz"):
        results(kind).plot(ax=left, legend=False)
        assert right.get_legend() is not None
        assert [one.get_legend() for one in (left, *left.child_axes) if one.get_legend()] == []


@pytest.mark.parametrize("kind", MADE)
def test_files_by_suffix(kind, results, tmp_path):
    result, open_figures = results(kind), pyplot.get_fignums()
    again = type(result).load(result.save(tmp_path / "x.json"))
    assert str(again) == str(result)

    page = Texts(result.save(tmp_path / "x.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert (page.pictures > 0) == (kind not in WITHOUT_FIGURE)  # of some there are several
    word = [word for word in str(result).split() if word.isalpha()][-1]
    assert word in " ".join(page.texts)

    if kind in WITHOUT_FIGURE:
        with pytest.raises(ConfigError, match="no figure"):
            result.save(tmp_path / "x.png")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.html", "x.json"]
    else:
        assert result.save(tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.json .* \.html .* \.png"):
        result.save(tmp_path / "x.docx")
    with pytest.raises(DataError, match="is not a report"):
        type(result).load(tmp_path / "x.html")
    assert pyplot.get_fignums() == open_figures


@pytest.mark.parametrize("kind", MADE)
def test_notebooks_show_them(kind, results):
    html = results(kind)._repr_html_()
    assert html.strip().startswith("<")
    assert Texts(html).open == []


def test_what_is_shown_of_text_is_escaped():
    found = Assertions((Assertion("held", ("<script>alert(1)</script>",), test="<b>"),))
    assert "<script>alert" not in found._repr_html_()
    assert "&lt;script&gt;alert" in found._repr_html_()
