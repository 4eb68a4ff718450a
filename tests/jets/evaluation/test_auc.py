"""Areas under ROC curves against pair counting."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation.auc import auc_pair, macro_auc, macro_auc_with_influence
from jetsym.jets.evaluation.discriminants import pair_score

CLASSES = ("QCD", "Hbb", "Tbqq")


def auc_by_counting(signal: np.ndarray, background: np.ndarray) -> float:
    """Share of the pairs in which the signal has the larger score; a tie is half a pair."""
    difference = signal[:, None] - background[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def test_macro_auc_is_the_mean_of_one_against_the_rest(scored):
    logits, label = scored
    probabilities, truth = logits.double().softmax(-1).numpy(), label.numpy()
    expected = [auc_by_counting(probabilities[truth == c, c], probabilities[truth != c, c]) for c in range(3)]
    assert macro_auc(logits, label, multi_class="ovr") == pytest.approx(np.mean(expected), abs=1e-12)
    assert macro_auc(logits, label, multi_class="ovr") == pytest.approx(
        roc_auc_score(truth, probabilities, multi_class="ovr", average="macro"), abs=1e-12
    )


def test_macro_auc_is_the_mean_over_ordered_pairs(scored):
    """The field's: scikit-learn's one-vs-one, and pair counting; ties count half."""
    logits, label = scored
    logits = (4 * logits).round() / 4
    # rounded, as jets with the same logits in another order, or shifted, tie, and a softmax puts 1e-16 between them
    probabilities, truth = logits.double().softmax(-1).numpy().round(12), label.numpy()
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    expected = np.mean([auc_by_counting(probabilities[truth == a, a], probabilities[truth == b, a]) for a, b in pairs])
    assert macro_auc(logits, label) == pytest.approx(expected, abs=1e-12)
    oracle = roc_auc_score(truth, probabilities, multi_class="ovo", average="macro")
    assert macro_auc(logits, label) == pytest.approx(oracle, abs=1e-12)
    assert abs(oracle - macro_auc(logits, label, multi_class="ovr")) > 1e-4
    with pytest.raises(ConfigError, match="multi_class is 'ova'; expected one of 'ovo', 'ovr'"):
        macro_auc(logits, label, multi_class="ova")


def test_one_against_one_does_not_depend_on_how_many_jets_each_class_has(scored):
    logits, label = scored
    more = torch.cat([torch.arange(200), *[(label == 2).nonzero().flatten()] * 5])
    assert macro_auc(logits[more], label[more]) == pytest.approx(macro_auc(logits, label), abs=1e-12)
    rest = [macro_auc(x, y, multi_class="ovr") for x, y in ((logits, label), (logits[more], label[more]))]
    assert abs(rest[0] - rest[1]) > 1e-4


@pytest.mark.parametrize("multi_class", ["ovo", "ovr"])
def test_errors_of_macro_aucs_are_their_spread_over_samples(multi_class):
    generator, found = torch.Generator().manual_seed(1), []
    for _ in range(150):
        label = torch.tensor([0] * 200 + [1] * 60 + [2] * 25)
        logits = torch.randn(285, 3, generator=generator) + torch.eye(3)[label]
        found.append(macro_auc_with_influence(logits, label, multi_class=multi_class))
    spread = np.std([area for area, _ in found], ddof=1)
    errors = [np.sqrt((influence**2).sum()) for _, influence in found]
    assert np.mean(errors) == pytest.approx(spread, rel=0.2)  # the spread itself is known to 6 %
    if multi_class == "ovo":  # a jet's contribution is what leaving it out takes, up to 1/n
        for place in (0, 230, 270):
            kept = torch.arange(285) != place
            without, n = macro_auc(logits[kept], label[kept]), int((label == label[place]).sum())
            own = macro_auc_with_influence(logits, label)
            assert (own[0] - without) * (n - 1) / n == pytest.approx(own[1][place], rel=0.05, abs=2e-5)


def test_macro_auc_leaves_absent_classes_out(scored):
    logits, label = scored
    kept = label != 1
    probabilities, truth = logits[kept].double().softmax(-1).numpy(), label[kept].numpy()
    expected = [auc_by_counting(probabilities[truth == c, c], probabilities[truth != c, c]) for c in (0, 2)]
    assert macro_auc(logits[kept], label[kept], multi_class="ovr") == pytest.approx(np.mean(expected), abs=1e-12)
    with pytest.raises(DataError, match=r"all .* jets are of class number \[2\]"):
        macro_auc(logits[label == 2], label[label == 2])


def test_auc_pair_uses_two_classes_only(scored):
    logits, label = scored
    probabilities = logits.double().softmax(-1).numpy()
    score = probabilities[:, 2] / (probabilities[:, 2] + probabilities[:, 0])
    expected = auc_by_counting(score[label == 2], score[label == 0])
    assert auc_pair(logits, label, "Tbqq", "QCD", classes=CLASSES) == pytest.approx(expected, abs=1e-12)
    shifted = logits + torch.randn(200, 1) * 50  # a common shift of the logits is no prediction
    assert auc_pair(shifted, label, "Tbqq", "QCD", classes=CLASSES) == pytest.approx(expected, abs=1e-3)
    swapped = auc_pair(logits, label, "QCD", "Tbqq", classes=CLASSES)
    assert swapped == pytest.approx(expected, abs=1e-12)  # both the score and the truth are mirrored
    assert pair_score(logits, label, "Tbqq", "QCD", classes=CLASSES)[1].sum() == int((label == 2).sum())


def test_confident_scores_keep_their_order():
    """p_s / (p_s + p_b) of these rounds to 1 in float32, and would tie."""
    logits = torch.tensor([[0.0, 0, 40], [0, 0, 60]])
    assert auc_pair(logits, torch.tensor([0, 2]), "Tbqq", "QCD", classes=CLASSES) == 1.0


@pytest.mark.parametrize("multi_class", ["ovo", "ovr"])
@pytest.mark.parametrize("scale", [1.0, 40.0, 1000.0])
def test_areas_of_two_classes_are_that_of_the_difference_of_logits(multi_class, scale):
    """However confident the tagger: a softmax of these rounds to 1 beyond differences of 37, and would tie."""
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 2
    logits = scale * (rng.normal(size=(400, 2)) + 0.6 * np.eye(2)[truth])
    expected = roc_auc_score(truth, logits[:, 1] - logits[:, 0])
    pair = torch.from_numpy(logits), torch.from_numpy(truth)
    assert macro_auc(*pair, multi_class=multi_class) == pytest.approx(expected, abs=1e-12)
    one = torch.from_numpy(np.where(truth == 1, rng.uniform(45, 55, 400), rng.uniform(38, 44, 400)))
    assert macro_auc(one, pair[1], multi_class=multi_class) == 1.0


@pytest.mark.parametrize("multi_class", ["ovo", "ovr"])
def test_areas_of_confident_scores_of_many_classes_are_those_of_exact_probabilities(multi_class):
    """Probabilities with 400 digits, of which the order is scikit-learn's score."""
    rng = np.random.default_rng(1)
    truth = np.arange(150) % 3
    logits = 60 * (rng.normal(size=(150, 3)) + np.eye(3)[truth]) + 100 * rng.normal(size=(150, 1))
    with localcontext() as context:
        context.prec = 400
        exact = np.array([[Decimal(value).exp() for value in row] for row in logits.tolist()], dtype=object)
        exact = exact / exact.sum(axis=1, keepdims=True)
        ranks = np.stack([np.argsort(np.argsort(exact[:, number])) for number in range(3)], axis=1)
    against = {
        "ovr": [roc_auc_score(truth == a, ranks[:, a]) for a in range(3)],
        "ovo": [
            roc_auc_score(truth[kept] == a, ranks[kept, a])
            for a in range(3)
            for b in range(3)
            if a != b and (kept := np.isin(truth, (a, b))) is not None
        ],
    }
    found = macro_auc(torch.from_numpy(logits), torch.from_numpy(truth), multi_class=multi_class)
    assert found == pytest.approx(np.mean(against[multi_class]), abs=1e-12)


def test_auc_pair_errors(scored):
    logits, label = scored
    with pytest.raises(DataError, match="no class 'Top'"):
        auc_pair(logits, label, "Top", "QCD", classes=CLASSES)
    with pytest.raises(DataError, match=r"has 0 jets of Tbqq and .* of QCD; expected both"):
        auc_pair(logits[label == 0], label[label == 0], "Tbqq", "QCD", classes=CLASSES)
