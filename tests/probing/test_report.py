"""Reports survive being written, read, printed and drawn."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pytest

import jetsym
from jetsym.errors import DataError
from jetsym.probing.words import concise


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
    for name in ("fractions", "stderr", "norm", "tail", "tail_stderr", "noise_floor"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(report, name))
    assert (loaded.layers, loaded.irreps, loaded.equivariance) == (report.layers, report.irreps, report.equivariance)
    assert dict(loaded.meta) == dict(report.meta)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no report can be read from"),
        ("not json", "does not hold JSON"),
        ("[1]", "holds a list"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1, "layers": []}', "format 1; this jetsym reads format 2: measure it again"),
        ('{"format": 2, "layers": []}', "damaged"),
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
    ],
)
def test_concise(value, error, text):
    assert concise(value, error) == text
