"""Reports side by side: sums of known spectra, their errors, words, table, JSON and figure."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch

import jetsym
from jetsym.errors import DataError, ProbeError
from jetsym.probing.reports.comparison import Comparison
from jetsym.probing.reports.derived import bandwidth, weighted
from jetsym.spectrum import O3, Irrep
from jetsym.spectrum.result import jackknife_ratio
from jetsym.testing.spectra import known_modes, known_spectrum

QUIET = {"progress": False}
POWERS = {Irrep(0, 1): 0.4, Irrep(1, 1): 0.3, Irrep(2, -1): 0.2, Irrep(3, 1): 0.1}


def known(powers, **options):
    function = known_spectrum(powers, features=3, rng=np.random.default_rng(0))
    frames = O3().sample(5, np.random.default_rng(1))
    return jetsym.probe(lambda x: function(x.swapaxes(-1, -2)), frames, **{"l_max": 3, **QUIET, **options})


@pytest.fixture(scope="module")
def reports():
    points = np.random.default_rng(0).normal(size=(10, 3))
    wide = jetsym.probe(lambda x: {"first": np.exp(x), "second": x**2}, points, outputs={"first": "vector"}, **QUIET)
    return known(POWERS), wide


def test_bandwidth_and_pseudotensors_of_a_known_spectrum(reports):
    expected = 0.3 * 2 + 0.2 * 6 + 0.1 * 12
    value, stderr = bandwidth(reports[0])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert stderr.max() < 1e-12
    np.testing.assert_allclose(jetsym.compare(reports[0]).pseudo(0).value, 0.2, rtol=1e-12)
    modes = known_modes({0: 0.5, 2: 0.5}, rng=np.random.default_rng(0))
    about = jetsym.probe(modes, np.random.default_rng(0).normal(size=(4, 3)), group="SO2", **QUIET)
    np.testing.assert_allclose(bandwidth(about)[0], 0.5 * 4, rtol=1e-12)
    assert jetsym.compare(about).pseudo(0).value == pytest.approx(0)


def test_rounding_of_a_sum_is_that_of_all_its_irreps():
    """Of an invariant response the bandwidth is rounding, whatever Σ λ(λ+1) makes of it."""
    points = np.random.default_rng(0).normal(size=(6, 3))
    compared = jetsym.compare(jetsym.probe(lambda x: (x**2).sum(-1), points, **QUIET))
    (report,) = compared.reports
    many = sum(irrep.lam * (irrep.lam + 1) for irrep in report.irreps)
    assert compared.bandwidth(0).floor == pytest.approx(many * report.noise_floor)
    assert compared.pseudo(0).floor == pytest.approx(report.noise_floor * sum(i.sigma == -1 for i in report.irreps))
    assert re.search(r"the effective bandwidth goes from <\S+ in", " ".join(compared.sentences()))


def test_errors_of_sums_are_no_smaller_than_those_of_a_jackknife_and_not_much_larger():
    """Power (inputs, irreps) that is shifted between irreps at random; the true error from whole rows."""
    rng = np.random.default_rng(0)
    base = known(POWERS)
    power = rng.dirichlet(np.ones(len(base.irreps) + 1), size=40)
    norm = np.ones(40)
    fractions, stderr = jackknife_ratio(power[:, :-1], norm)
    tail, tail_stderr = jackknife_ratio(power[:, -1], norm)
    report = replace(
        base, fractions=fractions[None], stderr=stderr[None], tail=tail[None], tail_stderr=tail_stderr[None]
    )
    for weight in (
        lambda irrep: irrep.lam * (irrep.lam + 1.0),
        lambda irrep: float(irrep.sigma == -1),
        lambda irrep: 1.0,
    ):
        value, bound = weighted(report, weight)
        weights = np.array([weight(irrep) for irrep in report.irreps])
        expected, true = jackknife_ratio(power[:, :-1] @ weights, norm)
        assert value[0] == pytest.approx(expected)
        assert true <= bound[0] * (1 + 1e-9)
        assert bound[0] < 5 * true


def test_depth_runs_from_input_to_output(reports):
    layered = replace(
        reports[1], equivariance={"second": reports[1].equivariance["second"]}, meta={**reports[1].meta, "model": "a"}
    )
    compared = jetsym.compare(reports[1], layered, names=["all outputs", "one layer"])
    np.testing.assert_allclose(compared.depths(0), [1, 1])
    np.testing.assert_allclose(compared.depths(1), [0.5, 1])
    assert compared.shares(0, "λ = 1").value == pytest.approx(reports[1].fractions[:, 2:4].sum(axis=1))


def test_what_differs_is_said_in_words(reports):
    first, second = reports
    alike = jetsym.compare(first, first)
    assert alike.warnings == []
    assert alike.names == ("<lambda> 1", "<lambda> 2")
    text = "\n".join(jetsym.compare(first, second, known(POWERS, group="SO3", n_rotations=8)).warnings)
    for words in ("differ in group (", "differ in l_max", "differ in method", "differ in normalisation", "random"):
        assert words in text
    assert "dtype" not in text
    single = replace(first, meta={**first.meta, "dtype": "float32"})
    assert "The reports differ in dtype" in str(jetsym.compare(first, single, names=["double", "single"]))


def test_table_frame_and_json(reports, tmp_path):
    compared = jetsym.compare(*reports, names=["known", "wide"])
    text, html = str(compared), compared._repr_html_()
    for words in ("known", "wide", "second", "bandwidth", "A / spread", "goes from 3 in output"):
        assert words in text
        assert words in html
    assert all(len(cells) == len(compared.header) for _, cells in compared.rows())
    loaded = Comparison.load(compared.save(tmp_path / "compared.json"))
    assert str(loaded) == text
    frame = compared.to_dataframe()
    row = frame[(frame.report == "known") & (frame.quantity == "bandwidth")]
    assert row.value.item() == pytest.approx(3.0)
    item = reports[1].equivariance["first"]
    row = frame[(frame.layer == "first") & (frame.quantity == "A / spread")]
    assert (row.value.item(), row.stderr.item()) == (item.over_spread, item.over_spread_stderr)
    data = compared.to_dict()
    with pytest.raises(DataError, match="1 names for 2 reports"):
        Comparison.from_dict({**data, "names": ["known"]})


def drawn(seed, n=12, tilt=0.3, dtype=float, **options):
    """A report on an output that is broken by some amount, which differs between inputs, of inputs of its own."""
    points = np.random.default_rng(seed).normal(size=(n, 3)).astype(dtype)
    return jetsym.probe(
        lambda x: 2 + tilt * x[:, 2] + 0.2 * np.sin(x[:, 0]), points, group="SO3", **{"l_max": 2, **QUIET, **options}
    )


def test_of_the_same_model_nothing_surely_differs():
    """Other inputs are another draw: of 45 pairs, with 6 numbers each, at most one is said to differ."""
    several = [drawn(seed) for seed in range(10)]
    pairs = [(one, two) for place, one in enumerate(several) for two in several[:place]]
    real = [any(item.is_real for item in jetsym.compare(*pair).differences(1)) for pair in pairs]
    assert sum(real) <= 1
    assert not any(item.p_value < 1 for item in jetsym.compare(several[0], several[0]).differences(1))


def test_what_surely_differs_is_found_with_its_sign():
    weak, strong = drawn(0, n=64, limit=64), drawn(1, n=64, tilt=1.0, limit=64)
    compared = jetsym.compare(weak, strong, names=["weak", "strong"])
    (a,) = [item for item in compared.differences(1) if item.quantity == "absolute A"]
    one, two = (report.equivariance["output"] for report in (weak, strong))
    assert a.value == two.absolute - one.absolute > 0
    assert a.stderr == pytest.approx(np.hypot(one.absolute_stderr, two.absolute_stderr))
    assert a.is_real
    (share,) = [item for item in compared.differences(1) if item.quantity == "(0)"]
    assert share.value < 0
    assert share.is_real
    text, page = str(compared), compared._repr_html_()
    assert "Surely not as in weak" in text
    assert "absolute A of output differs by" in text
    assert "as of independent inputs" in page
    back = jetsym.compare(strong, weak).differences(1)
    assert [item.value for item in back] == [-item.value for item in compared.differences(1)]


def test_a_size_that_differs_is_no_difference_of_errors():
    """The output of one has a constant a hundred times larger: relative A differs, and A does not."""
    points = np.random.default_rng(0).normal(size=(32, 3))
    near, far = (jetsym.probe(lambda x, c=c: c + x[:, 2], points, group="SO3", l_max=1, **QUIET) for c in (1.0, 100.0))
    (a,) = [item for item in jetsym.compare(near, far).differences(1) if item.quantity == "absolute A"]
    assert near.equivariance["output"].relative > 50 * far.equivariance["output"].relative
    assert not a.is_real


def test_rounding_and_few_inputs_make_no_difference():
    def length(x):
        return (x**2).sum(-1)

    points = np.random.default_rng(0).normal(size=(16, 3))
    both = [jetsym.probe(length, points.astype(dtype), l_max=1, **QUIET) for dtype in (np.float32, np.float64)]
    assert not any(item.is_real for item in jetsym.compare(*both).differences(1))
    one, other = drawn(0, n=1), drawn(1, n=1, tilt=1.0)
    assert not any(item.is_real for item in jetsym.compare(one, other).differences(1))


def test_draws_differ_as_draws_do():
    """A trained network against untrained ones: their number counts, not that of the inputs."""
    torch.manual_seed(0)
    net, points = torch.nn.Linear(3, 2, bias=False), torch.randn(32, 3)
    report = jetsym.probe(net, points, l_max=1, baseline="untrained", n_draws=3, **QUIET)
    (a,) = [item for item in jetsym.compare(report.baseline, report).differences(1) if item.quantity == "absolute A"]
    spread = report.baseline.equivariance["output"].absolute_stderr * (4 / 3) ** 0.5
    assert a.stderr == pytest.approx(np.hypot(spread, report.equivariance["output"].absolute_stderr))
    assert not a.is_real


def test_reports_under_other_groups_have_nothing_to_compare(reports):
    other = known(POWERS, group="SO3")
    compared = jetsym.compare(reports[0], other)
    assert compared.differences(1) == []
    assert "no layer or output of one name under one group" in " ".join(compared.sentences())


def test_figure(reports):
    compared = jetsym.compare(*reports, names=["known", "wide"])
    with mpl.rc_context({"backend": "agg"}):
        figure = compared.plot()
        assert compared.plot(figure.axes) is figure
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"λ = 0", "known", "wide"} <= set(labels)
    mpl.pyplot.close(figure)


def test_what_cannot_be_compared_is_refused(reports):
    with pytest.raises(ProbeError, match="no reports to compare"):
        jetsym.compare()
    with pytest.raises(ProbeError, match="one of reports is 'report.json'"):
        jetsym.compare("report.json")
    with pytest.raises(ProbeError, match="expected 2 different ones"):
        jetsym.compare(*reports, names=["a", "a"])
