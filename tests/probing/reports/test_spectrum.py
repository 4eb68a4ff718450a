"""Reports survive being written, read, printed and drawn."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pytest

import jetsym
from jetsym.errors import DataError
from jetsym.text import concise, percent


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
    ],
)
def test_concise(value, error, text):
    assert concise(value, error) == text
