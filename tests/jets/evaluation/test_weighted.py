"""Weighted metrics against sums over pairs and sorted loops, repeated jets, finite differences and the bootstrap."""

import json
import re
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation import metrics
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.auc import auc_pair, auc_with_influence, macro_auc, macro_auc_with_influence
from jetsym.jets.evaluation.calibration import measure_calibration
from jetsym.jets.evaluation.discriminants import odds_against_rest
from jetsym.jets.evaluation.evaluate import evaluate
from jetsym.jets.evaluation.rejection import effective_counts, measure_rejection, passing_share_interval
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.scored_files import evaluate_scores
from jetsym.jets.evaluation.shares import share_with_influence
from jetsym.jets.evaluation.stability import stability
from jetsym.jets.evaluation.working_points import background_rejection, cuts_at
from jetsym.jets.models import PointNet
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.jets.schema import CLASSES

NAMES = ("QCD", "W", "top")
KINDS = {
    "positive": lambda rng, n: rng.exponential(1, n),
    "negative": lambda rng, n: rng.choice([-1.0, 1.0], n, p=[0.2, 0.8]) * rng.uniform(0.5, 2, n),
}


@pytest.fixture(params=KINDS)
def sample(request):
    """Logits with ties, labels and weights of 240 jets of three classes."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 3, 240)
    logits = np.round(rng.normal(size=(240, 3)) + 1.2 * np.eye(3)[label], 1)
    return torch.from_numpy(logits), torch.from_numpy(label), KINDS[request.param](rng, 240)


def area_by_pairs(score, is_signal, weights) -> float:
    over, total = 0.0, 0.0
    for i in np.flatnonzero(is_signal):
        for j in np.flatnonzero(~is_signal):
            both = weights[i] * weights[j]
            total += both
            over += both * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    return over / total


def test_areas_are_sums_over_pairs_of_jets(sample):
    logits, label, weights = sample
    truth = label.numpy()
    odds = odds_against_rest(logits)
    for positive in range(3):
        found, _ = auc_with_influence(odds[:, positive], truth == positive, weights=weights)
        assert found == pytest.approx(area_by_pairs(odds[:, positive], truth == positive, weights), rel=1e-12)
    expected = {"ovo": [], "ovr": []}
    for one in range(3):
        expected["ovr"].append(area_by_pairs(odds[:, one], truth == one, weights))
    for one, other in permutations(range(3), 2):
        both = (truth == one) | (truth == other)
        expected["ovo"].append(area_by_pairs(odds[both, one], (truth == one)[both], weights[both]))
    for kind, areas in expected.items():
        found = macro_auc(logits, label, multi_class=kind, weights=weights)
        assert found == pytest.approx(np.mean(areas), rel=1e-12)
    pair = truth != 1
    score = (logits[:, 2] - logits[:, 0]).numpy()
    found = auc_pair(logits, label, "top", "QCD", classes=NAMES, weights=torch.from_numpy(weights))
    assert found == pytest.approx(area_by_pairs(score[pair], truth[pair] == 2, weights[pair]), rel=1e-12)


def test_contributions_are_derivatives_by_the_weights(sample):
    """All these numbers are of degree 0 in the weights of each kind, so that ψ_i = w_i ∂A/∂w_i."""
    logits, label, weights = sample
    odds, truth = odds_against_rest(logits)[:, 2], label.numpy() == 2
    functions = {
        "share": lambda w: share_with_influence((logits.argmax(-1) == label).numpy(), w),
        "area": lambda w: auc_with_influence(odds, truth, weights=w),
        "ovo": lambda w: macro_auc_with_influence(logits, label, weights=w),
        "ovr": lambda w: macro_auc_with_influence(logits, label, weights=w, multi_class="ovr"),
    }
    for name, function in functions.items():
        _, influence = function(weights)
        for jet in (0, 7, 100, 239):
            step = np.zeros(240)
            step[jet] = 1e-5
            slope = (function(weights + step)[0] - function(weights - step)[0]) / 2e-5
            assert influence[jet] == pytest.approx(weights[jet] * slope, rel=1e-6, abs=1e-11), name


def rejection_by_loop(score, is_signal, weights, efficiency) -> float:
    """Loosen the cut jet by jet, until the share of the signal is reached."""
    total = sum(weights[is_signal])
    for cut in sorted(set(score[is_signal]), reverse=True):
        if sum(w for w, s, x in zip(weights, is_signal, score, strict=True) if s and x >= cut) / total >= efficiency:
            passing = sum(w for w, s, x in zip(weights, is_signal, score, strict=True) if not s and x >= cut)
            return sum(weights[~is_signal]) / passing if passing > 0 else np.inf
    raise AssertionError


@pytest.mark.parametrize("efficiency", [0.1, 0.3, 0.5, 0.9, 0.999])
def test_rejections_are_those_of_a_loop_over_cuts(sample, efficiency):
    logits, label, weights = sample
    score, is_signal = odds_against_rest(logits)[:, 2], label.numpy() == 2
    expected = rejection_by_loop(score, is_signal, weights, efficiency)
    options = {"signal_efficiency": efficiency, "weights": weights}
    assert background_rejection(score, is_signal, **options) == pytest.approx(expected, rel=1e-12)
    found = measure_rejection(score, is_signal, **options)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.low <= found.share <= found.high
    passing = score[~is_signal] >= cuts_at(score[is_signal], np.array([efficiency]), weights[is_signal])[0]
    own = weights[~is_signal][passing]
    assert found.passed == passing.sum()
    if len(own):
        assert found.passed_effective == pytest.approx(sum(own) ** 2 / sum(own**2), rel=1e-12)


def test_the_tightest_cut_that_reaches_the_efficiency_is_taken():
    """1 − 1 + 1 + 1 over 2: half is reached at once, lost again, and reached for good."""
    score, weights = np.array([4.0, 3, 2, 1]), np.array([1.0, -1, 1, 1])
    assert cuts_at(score, np.array([0.5, 0.6, 1.0]), weights).tolist() == [4, 1, 1]
    tied = np.array([4.0, 4, 2, 1])  # of which the sum counts
    assert cuts_at(tied, np.array([0.5]), weights).tolist() == [2]


def repeated(logits, label, times):
    return logits.repeat_interleave(times, dim=0), label.repeat_interleave(times)


def test_whole_weights_are_repeated_jets():
    rng = np.random.default_rng(1)
    label = torch.from_numpy(rng.integers(0, 10, 600))
    logits = torch.from_numpy(rng.normal(size=(600, 10)) + 2 * np.eye(10)[label])
    times = torch.from_numpy(rng.integers(1, 4, 600))
    jet_pt = torch.from_numpy(rng.uniform(500, 1000, 600))
    options = {"classes": CLASSES, "pt_edges": [500, 700, 1000]}
    found = assess(logits, label, jet_pt=jet_pt, weights=times, **options)
    many = assess(*repeated(logits, label, times), jet_pt=jet_pt.repeat_interleave(times), **options)
    for own, other in zip((found, *found.bins), (many, *many.bins), strict=True):
        for name, value in other.metrics.items():
            if name != "ece_floor" and not name.endswith("_stderr"):
                assert own.metrics[name] == pytest.approx(value, rel=1e-12), name
    np.testing.assert_array_equal(found.confusion, many.confusion)
    for own, other in zip(found.qualities, many.qualities, strict=True):
        assert (own.found, own.auc) == pytest.approx((other.found, other.auc), rel=1e-12)
        np.testing.assert_allclose(own.roc, other.roc, atol=1e-12)
        if other.rejection is not None:
            assert own.rejection.value == pytest.approx(other.rejection.value, rel=1e-12)
    for name in ("confidence", "accuracy"):
        for own, other in zip(getattr(found.calibration, name), getattr(many.calibration, name), strict=True):
            assert own == (None if other is None else pytest.approx(other, rel=1e-12))
    summary = metrics.summary(logits, label, weights=times)
    for name, value in metrics.summary(*repeated(logits, label, times)).items():
        assert summary[name] == pytest.approx(value, rel=1e-12)


def numbers(data, at=""):
    """All numbers of a dictionary, by where they stand."""
    if isinstance(data, dict):
        return {k: v for name, value in data.items() for k, v in numbers(value, f"{at}/{name}").items()}
    if isinstance(data, list):
        return {k: v for place, value in enumerate(data) for k, v in numbers(value, f"{at}/{place}").items()}
    return {at: data} if isinstance(data, int | float) else {}


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_equal_weights_change_nothing(weight):
    rng = np.random.default_rng(2)
    label = torch.from_numpy(rng.integers(0, 10, 1000))
    logits = torch.from_numpy(rng.normal(size=(1000, 10)) + 2 * np.eye(10)[label])
    options = {"classes": CLASSES, "jet_pt": torch.from_numpy(rng.uniform(500, 1000, 1000))}
    plain = numbers(assess(logits, label, **options).to_dict())
    found = numbers(assess(logits, label, weights=np.full(1000, weight), **options).to_dict())
    for name, value in plain.items():
        scale = weight if re.search("^/confusion|/scores/(signal|background)", name) else 1
        assert found[name] == pytest.approx(scale * value, rel=1e-12, abs=1e-12), name
    assert found["/meta/weights/n_eff"] == 1000
    assert {name for name in found if name.endswith("n_eff")} > {"/qualities/0/n_eff", "/bins/0/n_eff"}


def test_calibration_by_a_loop(sample):
    logits, label, weights = sample
    found = measure_calibration(logits, label, bins=5, weights=weights)
    p = logits.softmax(-1).numpy()
    best, right = p.max(1), p.argmax(1) == label.numpy()
    ece, floor = 0.0, 0.0
    for place in range(5):
        own = (best > place / 5) & (best <= (place + 1) / 5)
        assert found.jets[place] == own.sum()
        ece += abs(sum(weights[own] * (right[own] - best[own])))
        floor += np.sqrt(2 / np.pi * sum(weights[own] ** 2 * best[own] * (1 - best[own])))
        if sum(weights[own]) > 0:
            share = sum(weights[own] * right[own]) / sum(weights[own])
            assert found.accuracy[place] == pytest.approx(share, rel=1e-12)
            assert found.low[place] <= min(max(share, 0), 1) <= found.high[place]
        else:
            assert found.accuracy[place] is found.low[place] is None
    assert found.ece == pytest.approx(ece / sum(weights), rel=1e-12)
    assert found.ece_floor == pytest.approx(floor / sum(weights), rel=1e-12)


# --- errors and intervals ---------------------------------------------------------------------------------------------


def drawn(rng, n, kind):
    """Normal scores 1.5 apart, with weights that know of the score: jets of a background's tail weigh less."""
    is_signal = np.arange(n) % 2 == 1
    score = rng.normal(1.5 * is_signal, 1)
    weights = KINDS[kind](rng, n) * np.where(is_signal, 1, 1 / (1 + np.exp(score)))
    return score, is_signal, weights


@pytest.mark.parametrize("kind", KINDS)
def test_errors_and_intervals_are_those_of_the_bootstrap(kind):
    rng = np.random.default_rng(3)
    score, is_signal, weights = drawn(rng, 3000, kind)
    shares, areas, accuracies = [], [], []
    for _ in range(500):
        chosen = rng.integers(0, 3000, 3000)
        own = score[chosen], is_signal[chosen]
        shares.append(1 / background_rejection(*own, signal_efficiency=0.5, weights=weights[chosen]))
        areas.append(auc_with_influence(*own, weights=weights[chosen])[0])
        accuracies.append(share_with_influence((own[0] > 0.75) == own[1], weights[chosen])[0])
    _, influence = auc_with_influence(score, is_signal, weights=weights)
    assert np.sqrt(np.square(influence).sum()) == pytest.approx(np.std(areas), rel=0.12)
    _, influence = share_with_influence((score > 0.75) == is_signal, weights)
    assert np.sqrt(np.square(influence).sum()) == pytest.approx(np.std(accuracies), rel=0.12)
    found = measure_rejection(score, is_signal, signal_efficiency=0.5, weights=weights)
    expected = np.quantile(shares, [0.025, 0.975])
    width = expected[1] - expected[0]
    assert found.high - found.low == pytest.approx(width, rel=0.2)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.15 * width)
    # the checker: with all weights equal the same interval is far too narrow
    plain = measure_rejection(score, is_signal, signal_efficiency=0.5)
    assert (plain.high - plain.low) / plain.value**-1 < 0.8 * (found.high - found.low) / found.share


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_intervals_cover_the_truth(kind):
    """Weights independent of the scores: the truth is that of the normal distributions."""
    truth, rng = norm.sf(norm.isf(0.3, loc=1.0)), np.random.default_rng(4)
    inside = 0
    for _ in range(150):
        signal, background = rng.normal(1, 1, 200), rng.normal(0, 1, 600)
        low, high = passing_share_interval(
            signal,
            background,
            signal_efficiency=0.3,
            confidence=0.95,
            signal_weights=KINDS[kind](rng, 200),
            background_weights=KINDS[kind](rng, 600),
        )
        inside += low <= truth <= high
    assert 0.9 <= inside / 150 <= 1


def test_effective_counts_go_on_smoothly_where_hits_cancel():
    """From ε = V^½ (one hit) on, √V is the weight of a hit; the bound stays near 3.7 √V."""
    k, n = effective_counts(np.array([1.0001e-3, 0.9999e-3]), np.array([1e-6 * (1 - 1e-3)] * 2), 1e4)
    assert k[0] == pytest.approx(k[1], rel=1e-3)
    assert n[0] == pytest.approx(n[1], rel=1e-3)
    for share in (1e-6, 0.0, -1e-3):
        k, n = effective_counts(share, 1e-6, 1e4)
        assert (float(k), float(n)) == pytest.approx((max(share, 0) * 1e3, 1e3), rel=1e-3)
    assert [float(x) for x in effective_counts(1.0, 0.0, 50)] == [50, 50]
    assert [float(x) for x in effective_counts(0.0, 0.0, 50)] == [0, 50]
    k, n = effective_counts(1 + 1e-3, 1e-6, 1e4)
    assert float(n - k) == 0


def test_weights_that_cancel_bound_a_rejection_from_below():
    score, is_signal = np.concatenate([np.full(50, 1.0), np.full(4, 2.0), np.zeros(400)]), np.arange(454) < 50
    weights = np.concatenate([np.ones(50), [1, -1, 1, -1.5], np.ones(400)])
    found = measure_rejection(score, is_signal, signal_efficiency=0.5, weights=weights)
    assert found.share < 0
    assert (found.value, found.passed, found.low) == (np.inf, 4, 0)
    assert found.passed_effective == pytest.approx(0.25 / 5.25)
    deviation = np.sqrt(5.25) / 399.5
    assert 2 * deviation < found.high < 5 * deviation
    assert str(found).endswith("(weights cancel)")
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found


def test_a_class_of_no_weight_is_refused_and_a_bin_of_none_left_out():
    rng = np.random.default_rng(6)
    label = torch.from_numpy(np.arange(200) % 2)
    logits, weights = torch.from_numpy(rng.normal(size=(200, 2))), np.ones(200)
    jet_pt = torch.linspace(500, 699, 200)
    weights[(jet_pt.numpy() < 600) & (label.numpy() == 1)] = -0.5
    found = assess(logits, label, classes=NAMES[:2], jet_pt=jet_pt, pt_edges=[500, 600, 700], weights=weights)
    assert (found.bins[0].metrics, found.bins[0].rejections, found.bins[0].jets) == ({}, {}, 100)
    assert found.bins[1].metrics["accuracy"] > 0
    with pytest.raises(DataError, match=r"the weights of the 100 jets of 'W' sum to -100; .*--weights none"):
        assess(logits, label, classes=NAMES[:2], weights=np.where(label == 1, -1.0, 1.0))
    values = metrics.summary(logits, label, classes=NAMES[:2], weights=np.where(label == 1, -0.5, 1.0))
    assert list(values) == ["accuracy"]
    with pytest.raises(DataError, match="sum to -25; expected more than 0"):
        metrics.accuracy(logits[label == 1][:50], label[label == 1][:50], weights=np.full(50, -0.5))


# --- reports, models and tables ---------------------------------------------------------------------------------------


def test_the_report_says_by_what_and_how_much(tmp_path):
    rng = np.random.default_rng(7)
    label = torch.from_numpy(np.arange(300) % 3)
    logits, weights = torch.from_numpy(rng.normal(size=(300, 3))), KINDS["negative"](rng, 300)
    jet_pt = torch.linspace(500, 800, 300)
    found = assess(logits, label, classes=NAMES, jet_pt=jet_pt, weights=weights, column="genWeight")
    n_eff = weights.sum() ** 2 / (weights**2).sum()
    assert found.meta["weights"] == pytest.approx(
        {"column": "genWeight", "n_eff": n_eff, "sum": weights.sum(), "negative": np.mean(weights < 0)}
    )
    text = str(found)
    assert f"'genWeight' ({100 * np.mean(weights < 0):.2g} % negative): the 300 jets count as {n_eff:,.4g}" in text
    own = weights[label.numpy() == 1]
    assert f"100 ({own.sum() ** 2 / (own**2).sum():,.4g})" in text
    assert Evaluation.load(found.save(tmp_path / "e.json")).to_dict() == found.to_dict()
    plain = assess(logits, label, classes=NAMES)
    assert plain.meta["weights"] is None
    assert "Not weighted: every jet counts once." in str(plain)
    former = plain.to_dict() | {"format": 3}
    former["meta"] = {name: value for name, value in former["meta"].items() if name != "weights"}
    former["qualities"] = [{k: v for k, v in item.items() if k != "n_eff"} for item in former["qualities"]]
    for item in former["qualities"]:
        for name in ("share", "passed_effective") if item["rejection"] else ():
            del item["rejection"][name]
    text = str(Evaluation.from_dict(former))
    assert "Weighted" not in text
    assert "Not weighted" not in text
    assert "300 jets" in text


def test_a_column_of_the_jets_counts(make_jets):
    model = PointNet(CLASSES, width=8, blocks=1)
    jets = make_jets(120)
    weights = torch.from_numpy(KINDS["positive"](np.random.default_rng(8), 120))
    both = jets.replace(columns={**jets.columns, "weight": weights, "mass": weights**2})
    plain, found, named = evaluate(model, jets), evaluate(model, both), evaluate(model, both, weights="mass")
    for result, own in ((found, weights), (named, weights**2)):
        assert result.metrics["log_loss"] != plain.metrics["log_loss"]
        assert np.sum(result.confusion) == pytest.approx(float(own.sum()))
    assert named.meta["weights"]["column"] == "mass"
    assert evaluate(model, both, weights="none").to_dict() == plain.to_dict()
    assert evaluate(model, both, rotated=1).rotated.meta["weights"] == found.meta["weights"]
    with pytest.raises(
        ConfigError, match="weights is 'wait', which is no column of the jets; the nearest are 'weight'"
    ):
        evaluate(model, both, weights="wait")


def test_flips_and_their_metrics_are_weighted(make_jets):
    model, jets = PointNet(("QCD", "Tbqq"), width=8, blocks=1), make_jets(60)
    jets = jets.replace(label=torch.arange(60) % 2, classes=("QCD", "Tbqq"))
    times = torch.from_numpy(np.random.default_rng(9).integers(1, 4, 60))
    actions = {"lab": AugmentationConfig("O3")}
    found = stability(model, jets.replace(columns={"weight": times}), actions=actions, draws=2)
    many = stability(model, jets[torch.arange(60).repeat_interleave(times)], actions=actions, draws=2)
    for name, change in found.changes["lab"].items():
        assert change.mean == pytest.approx(many.changes["lab"][name].mean, rel=1e-5), name
    assert "Weighted by the column 'weight'" in str(found)
    assert "eighted" not in str(many)


def table(path, n=60, seed=0, **columns):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    score = 1 / (1 + np.exp(-rng.normal(label, 1)))
    np.savez(path, score_QCD=1 - score, score_top=score, label=label, jet_pt=rng.uniform(500, 900, n), **columns)
    return torch.from_numpy(np.stack([1 - score, score], axis=1)).log(), torch.from_numpy(label)


def test_a_column_of_a_table_of_scores_counts(tmp_path):
    weights = KINDS["negative"](np.random.default_rng(10), 60)
    logits, label = table(tmp_path / "a.npz", weight=weights, other=weights**2)
    path = str(tmp_path / "a.npz")
    expected = assess(logits, label, classes=("QCD", "top"), weights=weights).metrics
    assert evaluate_scores(path).metrics == pytest.approx(expected)
    plain = assess(logits, label, classes=("QCD", "top")).metrics
    assert evaluate_scores(path, weights="none").metrics == pytest.approx(plain)
    other = evaluate_scores(path, weights="other")
    assert other.meta["weights"]["column"] == "other"
    assert other.metrics == pytest.approx(assess(logits, label, classes=("QCD", "top"), weights=weights**2).metrics)
    with pytest.raises(ConfigError, match="weights is 'oter', which is no column of the jets; the nearest are 'other'"):
        evaluate_scores(path, weights="oter")
    table(tmp_path / "b.npz", seed=1)
    with pytest.raises(DataError, match=r"b.npz has no column 'weight' of weights, and .*a.npz has one"):
        evaluate_scores([path, str(tmp_path / "b.npz")])
    assert evaluate_scores([path, str(tmp_path / "b.npz")], weights="none").meta["jets"] == 120
    table(tmp_path / "c.npz", weight=np.where(weights < 0, np.nan, weights))
    with pytest.raises(DataError, match=r"c.npz: the column 'weight' weighs the jets: .* are NaN or infinite"):
        evaluate_scores(str(tmp_path / "c.npz"))
