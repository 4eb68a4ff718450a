"""Reports survive being written, read, printed and drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import jetsym
from jetsym.errors import DataError
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.generators import LocalReport
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.text import at_most, concise, concise_root, percent


@pytest.fixture(scope="module")
def report():
    points = np.random.default_rng(0).normal(size=(6, 3))
    return jetsym.probe(
        lambda x: {"mixed": np.exp(x / 3), "flat": (x**2).sum(-1)},
        points,
        l_max=2,
        outputs={"mixed": "logits"},
        progress=False,
    )


def test_json_round_trip(report, tmp_path):
    path = report.save(tmp_path / "report.json")
    loaded = jetsym.SymmetryReport.load(path)
    for name in ("fractions", "stderr", "norm", "tail", "tail_stderr", "unexplained", "noise_floor"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(report, name))
    assert (loaded.layers, loaded.irreps) == (report.layers, report.irreps)
    np.testing.assert_equal(loaded.to_dict(), report.to_dict())
    assert dict(loaded.meta) == dict(report.meta)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no report can be read from"),
        ("not json", "does not hold JSON"),
        ("[1]", "holds a list"),
        ('{"format": 99}', "format 99; this jetsym reads formats up to 4: read it with the version"),
        ('{"format": 2, "layers": []}', "damaged: KeyError"),
        ('{"format": 3, "layers": []}', "damaged"),
        ('{"format": 1, "kind": "boosts"}', "kind 'boosts'; expected 'spectrum'"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, text, message):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        jetsym.SymmetryReport.load(path)


def test_damaged_reports_are_refused(report):
    for key in report.to_dict():
        data = json.loads(json.dumps(report.to_dict()))
        del data[key]
        with pytest.raises(DataError):
            jetsym.SymmetryReport.from_dict(data)


WRITTEN = Path(__file__).parents[2] / "written_before" / "reports"
KINDS = {"o3": SymmetryReport, "boosts": BoostReport, "local": LocalReport}


@pytest.mark.parametrize("data", [[1], None, "report", 3, [("kind", "spectrum")]])
@pytest.mark.parametrize("kind", [*KINDS.values(), LorentzReport, Diagnosis])
def test_what_is_no_dictionary_is_refused(kind, data):
    with pytest.raises(DataError, match=f"a report is .*; expected the dictionary that to_dict of {kind.__name__}"):
        kind.from_dict(data)


@pytest.mark.parametrize("name", KINDS)
def test_arrays_that_are_empty_or_do_not_fit_are_refused(name):
    kind, whole = KINDS[name], json.loads((WRITTEN / f"{name}.json").read_text())
    once = kind.from_dict(whole).to_dict()
    assert json.dumps(once) == json.dumps(kind.from_dict(once).to_dict())  # in which NaN equals itself
    whole = once
    for array, axes in kind.ARRAYS.items():
        value = whole[array]
        one_more = [*value, value[0]]
        for damaged in ([], [[]], None, 3.0, [value], one_more, value[:-1] if len(value) > 1 else []):
            with pytest.raises(DataError, match=f"the report is damaged: .*{array}|damaged: (Type|Value)Error"):
                kind.from_dict({**whole, array: damaged})
        for axis in axes:
            if axis in kind.__dataclass_fields__ and axis not in kind.ARRAYS:
                with pytest.raises(DataError, match="the report is damaged"):
                    kind.from_dict({**whole, axis: whole[axis][:-1]})
    nothing = {array: np.empty([0] * len(axes)).tolist() for array, axes in kind.ARRAYS.items()}
    names = {axis: [] for axes in kind.ARRAYS.values() for axis in axes if axis in whole}
    with pytest.raises(DataError, match=r"expected lengths above 0|has shape \(0"):
        kind.from_dict({**whole, **names, **nothing})
    for array, axes in kind.ARRAYS.items():
        if axes[0] == "layers" != axes[-1]:  # as many rows as layers, but nothing in them
            with pytest.raises(DataError, match="the report is damaged"):
                kind.from_dict({**whole, array: [[]] * len(whole["layers"]), axes[-1]: []})


def test_text_and_html_hold_every_layer(report):
    text, html = str(report), report._repr_html_()
    for layer in report.layers:
        assert layer in text
        assert layer in html
    assert "invariant under O3 to within rounding" in text
    assert "relative A" in text
    assert "<script" not in html
    assert "(1,+)" in html


@pytest.fixture(scope="module")
def turning():
    points = np.random.default_rng(1).normal(size=(6, 3))

    def model(x):
        outer = x[:, :, None] * x[:, None, :]
        return {"force": x, "tilted": x * [1, 1, 1.2] + [0, 0, 0.1], "stress": outer, "axis": x[:, [1, 2, 0]] + 0.1}

    outputs = {"force": "vector", "tilted": "vector", "stress": "rank2", "axis": (1, 1)}
    return jetsym.probe(model, points, l_max=2, outputs=outputs, progress=False)


def test_outputs_that_turn_are_said_in_words(turning):
    sentences = {text.split()[0]: text for text in turning.sentences()[1:]}
    assert sentences["force"].startswith("force is equivariant as vector under O3 to within rounding")
    item = turning.equivariance["tilted"]
    assert sentences["tilted"].startswith("tilted misses its law as vector by 0.")
    assert (
        f"Of its power {percent(item.leakage, item.leakage_stderr)} % lies in irreps that it should not have"
        in (sentences["tilted"])
    )
    assert f"{percent(item.misalignment, item.misalignment_stderr)} % in the right ones" in sentences["tilted"]
    assert "as (1,+) by" in sentences["axis"]
    assert item.relative**2 == pytest.approx(item.leakage + item.misalignment, rel=1e-12)
    assert min(item.leakage, item.misalignment) > 1e-4


def test_outputs_that_turn_are_in_the_table(turning):
    html = turning._repr_html_()
    assert "<th>wrong irrep (%)</th><th>misaligned (%)</th><th>largest in the error spectrum (%)</th>" in html
    item = turning.equivariance["axis"]
    largest = max(item.error_spectrum, key=item.error_spectrum.get)
    assert f"<td>{largest} {percent(item.error_spectrum[largest], item.error_spectrum_stderr[largest])}</td>" in html
    assert html.count("<td>—</td>") == 2  # nothing is largest in the noise of force and stress


def test_outputs_that_turn_survive_json(turning, tmp_path):
    loaded = jetsym.SymmetryReport.load(turning.save(tmp_path / "report.json"))
    assert loaded.equivariance == turning.equivariance
    assert loaded.equivariance["axis"].kind == "(1,+)"
    assert set(loaded.equivariance["axis"].error_spectrum) == {str(irrep) for irrep in turning.irreps[1:]}


def test_dataframe(report):
    frame = report.to_dataframe()
    assert len(frame) == len(report.layers) * len(report.irreps)
    assert frame[frame.irrep == "(0,+)"].fraction.tolist() == report.fractions[:, 0].tolist()


def test_plot(report):
    with mpl.rc_context({"backend": "agg"}):
        ax = report.plot()
        assert report.plot(ax) is ax
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "(0,+)" in labels
    assert ax.get_yscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list(report.layers)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.5, float("nan"), "0.5"),
        (12.0, 0.0, "12"),
        (-0.0123, 0.0004, "-0.01230(40)"),
        (0.0, 0.003, "0.0000(30)"),
        (1.0, 250.0, "1(250)"),
        (1.0, 0.0999, "1.00(10)"),
        (1.0, 1e-14, "1"),
        (-1e-18, 0.02, "0.000(20)"),
        (-0.0, 0.0, "0"),
        (float("nan"), 0.1, "—"),
        (float("inf"), 2.0, "inf"),
        (0.5, float("inf"), "0.5(inf)"),
        (-0.0, float("inf"), "0(inf)"),
        (0.5, -0.1, "0.5"),
        (float("-inf"), float("inf"), "-inf"),
    ],
)
def test_concise(value, error, text):
    assert concise(value, error) == text


@pytest.mark.parametrize("floor", [2.4e-15, 1e-11, 9.6e-3, 0.0301, 1.5, 1e-300, 0.1 + 0.2, 100 * 1.1e-9, 9.99e-5])
def test_a_floor_is_rounded_up_never_down(floor):
    for text in (at_most(floor), concise(0.3 * floor, 0.1 * floor, floor=floor).removeprefix("<")):
        assert floor <= float(text) <= 2 * floor
        assert len(text.partition("e")[0].replace("0", "").replace(".", "")) == 1
    assert concise_root((0.3 * floor) ** 2, 0.0, floor=floor) == f"<{at_most(floor)}"
    assert at_most(1.0) == "1"


def test_an_error_beyond_the_floor_is_not_hidden():
    assert concise(1e-9, 1e-10, floor=1e-8) == "<1e-8"
    assert concise(1e-9, 0.02, floor=1e-8) == "0.000(20)"
    assert concise(1e-9, float("inf"), floor=1e-8) == "1e-09(inf)"
    assert concise(1e-9, float("nan"), floor=1e-8) == "<1e-8"
    assert percent(1e-9, 1e-3, 1e-8) == "0.00(10)"
    assert concise_root(1e-18, 1e-18, floor=1e-8) == "<1e-8"
    # The square may be as large as 1e-4: of the root nothing below 0.01 is told, whatever s is.
    for squared in (-1e-7, 0.0, 1e-18):
        assert concise_root(squared, 1e-4, floor=1e-8) == concise_root(squared, 1e-4) == "0.000(10)"
    assert concise_root(float("nan"), 0.1) == "—"
    assert concise_root(0.0, 0.0) == "0"


def changed(report, **arrays):
    return replace(report, **{name: np.asarray(value, dtype=float) for name, value in arrays.items()})


def test_depth_is_said_as_far_as_it_can_be_told(report):
    rows = len(report.layers)
    first, last = report.layers[0], report.layers[-1]

    def sentence(invariant, error, floor=1e-9):
        fractions, stderr = np.zeros_like(report.fractions), np.zeros_like(report.stderr)
        fractions[[0, -1], 0], stderr[[0, -1], 0] = invariant, error
        return changed(report, fractions=fractions, stderr=stderr, noise_floor=[floor] * rows).sentences()[0]

    start = f"The invariant part {report.irreps[0]}"
    assert sentence([0.5, 0.25], 0.01) == f"{start} is 50.0(10) % of the power in {first} and 25.0(10) % in {last}."
    assert sentence([0.5, 1e-10], [0.01, 1e-11]) == (
        f"{start} is 50.0(10) % of the power in {first} and cannot be told from rounding in {last}."
    )
    assert sentence([1e-10, 0.25], [0.0, 0.01]) == (
        f"{start} cannot be told from rounding in {first} and is 25.0(10) % of the power in {last}."
    )
    assert sentence([0, 0], 0) == (
        f"{start} cannot be told from rounding in {first} and cannot be told from rounding in {last}."
    )
    assert "0.0(10) % in" in sentence([0.5, 1e-10], 0.01)  # its error tells more than the floor
    rows = {name: getattr(report, name)[:1] for name in report.ARRAYS}
    one = replace(report, layers=report.layers[:1], **rows)
    assert one.sentences()[0].endswith(f" % of the power in {first}.")


def test_invariance_is_not_claimed_within_a_large_error(report):
    name, item = next(iter(report.equivariance.items()))
    floor = 2.4e-15

    def sentence(relative, error):
        told = replace(item, kind="scalar", relative=relative, relative_stderr=error, noise_floor=floor)
        seen = {"unexplained": np.zeros(len(report.layers)), "equivariance": {name: told}}
        return replace(report, **seen).sentences()[1]

    assert "to within rounding (relative A below 8e-15)" in sentence(1e-15, 1e-16)
    assert "changes by 0.00(10) of its size (relative A) under O3, which is nothing within its error" in sentence(
        1e-15, 0.1
    )
    assert "4e+13 times what rounding explains" in sentence(0.1, 0.01)
