"""Metrics against pair counting and hand-made samples."""

import numpy as np
import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets.evaluation.auc import auc_pair, macro_auc
from jetsym.jets.evaluation.metrics import accuracy, summary

CLASSES = ("QCD", "Hbb", "Tbqq")


def test_accuracy(scored):
    logits, label = scored
    assert accuracy(logits, label) == pytest.approx(np.mean(logits.numpy().argmax(1) == label.numpy()))
    assert accuracy(torch.eye(3), torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)


def test_summary_holds_what_the_sample_allows(scored):
    logits, label = scored
    full = summary(logits, label, classes=CLASSES, efficiencies=(0.3, 0.5, 0.995))
    assert set(full) == {"accuracy", "macro_auc_ovo", "auc_top_qcd", "rejection_30", "rejection_50", "rejection_99.5"}
    assert full["auc_top_qcd"] == auc_pair(logits, label, "Tbqq", "QCD", classes=CLASSES)
    without = summary(logits[label != 2], label[label != 2], classes=CLASSES)
    assert set(without) == {"accuracy", "macro_auc_ovo"}
    assert set(summary(logits, label, classes=CLASSES, multi_class="ovr")) > {"macro_auc_ovr"}
    assert set(summary(logits[label == 0], label[label == 0], classes=CLASSES)) == {"accuracy"}


def test_bad_input_is_refused(scored):
    logits, label = scored
    with pytest.raises(DataError, match=r"logits have shape \(200, 3\) and labels \(5,\)"):
        accuracy(logits, label[:5])
    with pytest.raises(DataError, match="logits have shape"):
        accuracy(logits[:0], label[:0])
    with pytest.raises(DataError, match="not all finite"):
        macro_auc(logits.masked_fill(logits > 2, torch.nan), label)
    with pytest.raises(DataError, match="labels are 0 to 2; expected 0 to 1 for 2 classes"):
        macro_auc(logits[:, :2], label)
    with pytest.raises(DataError, match=r"tells 3 classes apart, and there are 2: QCD, Hbb"):
        summary(logits, label, classes=CLASSES[:2])
