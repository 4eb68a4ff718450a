"""Assessment of logits: closed forms, hand-made samples, and what is written and read back."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import norm

from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation import metrics
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.schema import CLASSES, CLASSES_II


@pytest.fixture(scope="module")
def scored() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(3000) % 10
    return torch.randn(3000, 10, generator=generator) + 2 * torch.eye(10)[label], label


def two_classes(n: int, shift: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Likelihood ratios of two normal distributions ``shift`` apart: the best tagger there is."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    x = rng.normal(shift * label, 1)
    ratio = shift * x - shift**2 / 2
    return torch.from_numpy(np.stack([np.zeros(n), ratio], axis=1)), torch.from_numpy(label)


def test_of_two_normal_distributions_everything_is_known():
    found = assess(*two_classes(40_000), classes=("g", "q"))
    best = norm.cdf(0.5)
    area = norm.cdf(1 / 2**0.5)
    assert found.background == ("g",)
    assert found.metrics["accuracy"] == pytest.approx(best, abs=3 * found.metrics["accuracy_stderr"])
    assert found.metrics["accuracy_stderr"] == pytest.approx((best * (1 - best) / 40_000) ** 0.5, rel=0.02)
    assert found.metrics["macro_auc_ovo"] == pytest.approx(area, abs=3 * found.metrics["macro_auc_ovo_stderr"])
    quality = found.qualities[1]
    assert quality.auc == pytest.approx(quality.auc_background)
    assert quality.auc_background == pytest.approx(area, abs=3 * quality.auc_background_stderr)
    lower, upper = quality.rejection.interval
    assert lower < 1 / norm.sf(1.0) < upper  # half of N(1, 1) lies above 1
    efficiency, share = map(np.array, quality.roc)
    np.testing.assert_allclose(share[:-1], norm.sf(norm.isf(efficiency[:-1], loc=1)), atol=0.015)
    assert (np.diff(share) >= 0).all()
    # a likelihood ratio is calibrated, and one that is twice as sharp is not
    assert found.metrics["ece"] < 3 * found.metrics["ece_floor"]
    logits, label = two_classes(40_000)
    assert assess(2.5 * logits, label, classes=("g", "q")).metrics["ece"] > 0.1


def test_numbers_are_those_of_the_metrics(scored):
    logits, label = scored
    found = assess(logits, label, classes=CLASSES)
    expected = metrics.summary(logits, label)
    for name in ("accuracy", "macro_auc_ovo", "auc_top_qcd"):
        assert found.metrics[name] == pytest.approx(expected[name])
    assert found.rejections["Tbqq"].value == pytest.approx(expected["rejection_50"])
    points = {name: item.signal_efficiency for name, item in found.rejections.items()}
    assert points == {**dict.fromkeys(CLASSES[1:], 0.5), "Hqql": 0.99, "Tbl": 0.995}
    confusion = np.array(found.confusion)
    assert confusion.sum() == 3000
    assert np.trace(confusion) / 3000 == pytest.approx(expected["accuracy"])
    assert [item.found for item in found.qualities] == pytest.approx(np.diag(confusion) / confusion.sum(1))
    assert found.metrics["log_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, label)))
    for item in found.qualities[1:]:  # the curve goes through the working point
        efficiency, share = item.roc
        place = efficiency.index(item.rejection.signal_efficiency)
        assert share[place] == pytest.approx(item.rejection.passed / 300)


def test_areas_of_confident_logits_do_not_tie():
    """One logit of 38 to 44 for one class and of 45 to 55 for the other tells them apart without a mistake."""
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    z = np.where(label == 1, rng.uniform(45, 55, 400), rng.uniform(38, 44, 400))
    found = assess(torch.from_numpy(z), torch.from_numpy(label), classes=("QCD", "top"))
    assert found.metrics["macro_auc_ovo"] == 1
    assert [item.auc for item in found.qualities] == [1, 1]
    assert found.qualities[1].auc_background == 1


def test_standard_errors_are_the_spread_over_samples():
    areas = [assess(*two_classes(400, seed=seed), classes=("g", "q")).metrics for seed in range(60)]
    spread = np.std([item["macro_auc_ovo"] for item in areas], ddof=1)
    assert np.mean([item["macro_auc_ovo_stderr"] for item in areas]) == pytest.approx(spread, rel=0.3)


def test_background_and_working_points_are_chosen(scored):
    logits, label = scored
    found = assess(logits, label, classes=CLASSES, background=["Zqq", "Wqq"], working_points={"Tbqq": 0.3})
    assert set(found.rejections) == set(CLASSES) - {"Zqq", "Wqq"}
    assert found.rejections["Tbqq"].signal_efficiency == 0.3
    assert found.rejections["Tbqq"].n_background == 600
    assert "each class against Zqq, Wqq" in str(found)


def test_bins_of_pt(scored):
    logits, label = scored
    jet_pt = torch.linspace(500, 999, 3000)
    found = assess(logits, label, classes=CLASSES, jet_pt=jet_pt)
    assert [each.jets for each in found.bins] == pytest.approx([600] * 5, abs=8)  # edges are whole GeV
    assert (found.bins[0].low, found.bins[-1].high) == (500, 1000)
    chosen = (jet_pt >= found.bins[1].low) & (jet_pt < found.bins[1].high)
    alone = assess(logits[chosen], label[chosen], classes=CLASSES)
    assert found.bins[1].metrics["macro_auc_ovo"] == alone.metrics["macro_auc_ovo"]
    assert found.bins[1].rejections == alone.rejections
    own = assess(logits, label, classes=CLASSES, jet_pt=jet_pt, pt_edges=[500, 600, 2000, 3000]).bins
    assert sum(each.jets for each in own) == 3000
    assert (own[2].jets, own[2].metrics, own[2].rejections) == (0, {}, {})
    assert "2000–3000" in str(assess(logits, label, classes=CLASSES, jet_pt=jet_pt, pt_edges=[500, 2000, 3000]))


def test_a_jet_on_an_edge_is_in_the_upper_bin():
    jet_pt = torch.tensor([500.0, 600, 700, 650] * 5)
    found = assess(*two_classes(20), classes=("g", "q"), jet_pt=jet_pt, pt_edges=[500, 600, 700])
    assert [each.jets for each in found.bins] == [5, 10]


def test_jets_of_equal_pt_share_one_bin():
    found = assess(*two_classes(20), classes=("g", "q"), jet_pt=torch.full((20,), 600.0))
    assert [(each.low, each.high, each.jets) for each in found.bins] == [(600, 601, 20)]


def test_what_a_sample_lacks_is_left_out(scored):
    logits, label = scored
    without = label != 0
    found = assess(logits[without], label[without], classes=CLASSES)
    assert "auc_top_qcd" not in found.metrics
    assert found.rejections == {}
    alone = assess(logits[label == 3], label[label == 3], classes=CLASSES)
    assert "macro_auc_ovo" not in alone.metrics
    assert [(item.name, item.auc) for item in alone.qualities] == [("Hgg", None)]
    assert len(str(alone)) > 100


def test_jetclass_ii_has_many_backgrounds():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 188, (600,), generator=generator)
    found = assess(torch.randn(600, 188, generator=generator), label, classes=CLASSES_II)
    assert len(found.background) == 27
    assert next(iter(found.rejections.values())).n_background == int((label >= 161).sum())
    assert "The first 20 of" in str(found)


def test_written_and_read_back(scored, tmp_path):
    logits, label = scored
    found = assess(logits[:200], label[:200], classes=CLASSES, jet_pt=torch.rand(200))
    found.save(tmp_path / "e.json")
    json.loads((tmp_path / "e.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    again = Evaluation.load(tmp_path / "e.json")
    assert again.to_dict() == found.to_dict()
    assert str(again) == str(found)
    (tmp_path / "e.json").write_text('{"kind": "evaluation", "format": 1}')
    with pytest.raises(DataError, match="the report is damaged: KeyError 'metrics'"):
        Evaluation.load(tmp_path / "e.json")


def test_the_table_says_what_few_jets_cannot(scored):
    logits, label = scored
    text = str(assess(logits[:60], label[:60], classes=CLASSES))
    assert "no background jet passes" in text
    assert "too few jets of the signal" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "* fewer than 10" in str(assess(logits[:300], label[:300], classes=CLASSES))
    large = str(assess(*two_classes(4000), classes=("g", "q")))
    assert "*" not in large
    assert ">" not in large


def test_mistakes(scored):
    logits, label = scored
    with pytest.raises(ConfigError, match=r"pt_edges is \[600\]; expected two or more rising"):
        assess(logits, label, classes=CLASSES, jet_pt=torch.ones(3000), pt_edges=[600])
    with pytest.raises(ConfigError, match="expected two or more rising"):
        assess(logits, label, classes=CLASSES, jet_pt=torch.ones(3000), pt_edges=[600, 500])
    with pytest.raises(ConfigError, match="confidence is 95"):
        assess(logits, label, classes=CLASSES, confidence=95)
    with pytest.raises(DataError, match="not all finite"):
        assess(logits / 0, label, classes=CLASSES)
