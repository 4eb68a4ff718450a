"""Scores: probabilities are not taken for logits, logits not for probabilities, and one logit is two."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import uproot
from torch import nn

from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation import predict as predict_module
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.auc import auc_pair, macro_auc
from jetsym.jets.evaluation.calibration import measure_calibration
from jetsym.jets.evaluation.discriminants import log_odds, pair_score
from jetsym.jets.evaluation.evaluate import evaluate, predict_logits
from jetsym.jets.evaluation.metrics import accuracy, summary
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.evaluation.scores import as_logits, look_like_probabilities
from jetsym.jets.evaluation.stability import stability
from jetsym.jets.models import PointNet

NAMES = ("g", "q")
LOOKS = "as probabilities do and logits do not; say scores='probabilities'"


def logits_of(n: int = 400, classes: int = 3, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(n) % classes
    return spread * torch.randn(n, classes, generator=generator) + torch.eye(classes)[label], label


# --- what is refused, and what is not ---


@pytest.mark.parametrize("classes", [2, 10, 188])
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_softmax_outputs_of_every_precision_are_refused(classes, spread, dtype):
    logits, _ = logits_of(100, classes, spread)
    for probabilities in (
        logits.to(dtype).softmax(-1),
        logits.softmax(-1).to(dtype),
        logits.to(dtype).softmax(-1).float(),  # float32, and no more exact than what it was computed in
        logits.to(dtype).float().softmax(-1).double(),
    ):
        with pytest.raises(DataError, match=f"sum to 1 over the classes, {LOOKS}"):
            as_logits(probabilities)
        assert torch.equal(as_logits(probabilities, "logits"), probabilities)
        assert torch.equal(as_logits(probabilities.log(), None), probabilities.log())  # which are logits


def test_probabilities_of_few_digits_and_one_hot_rows_are_refused():
    logits, _ = logits_of(100, 10)
    for table in (
        logits.double().softmax(-1).mul(1000).round() / 1000,
        torch.eye(10),
        torch.eye(10, dtype=torch.int64),
    ):
        with pytest.raises(DataError, match="say scores='probabilities'"):
            as_logits(table)


@pytest.mark.parametrize(
    "logits",
    [
        torch.rand(50, 4, generator=torch.Generator().manual_seed(0)),  # in [0, 1], without a sum
        torch.tensor([[0.3, 0.7], [0.5, 0.4]]),
        torch.tensor([[0.3, 0.7], [1.3, -0.3]]),  # sum to one, and are not in [0, 1]
        torch.full((5, 3), 1 / 3) + torch.tensor([[0.02], [0], [0], [0], [0]]),
        torch.zeros(5, 3),
        torch.zeros(5),  # of a head that begins with zeros
        torch.tensor([0.2, 0.9, -1e-3]),
        torch.tensor([[0.2], [1.5]]),
        torch.tensor([[0.2, 0.8], [torch.nan, 0.5]]),
        torch.zeros(0, 4),
    ],
    ids=str,
)
def test_what_is_no_table_of_probabilities_are_logits(logits):
    assert not look_like_probabilities(logits[:, None] if logits.ndim == 1 else logits)
    as_logits(logits)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_sigmoid_outputs_are_refused(shape):
    z = logits_of(200, 1)[0].reshape(shape)
    for dtype in (torch.float64, torch.float32, torch.float16):
        with pytest.raises(DataError, match=r"all 200 jets are in \[0, 1\], one for each, .* ends in a sigmoid"):
            as_logits(z.to(dtype).sigmoid())
    torch.testing.assert_close(as_logits(z.sigmoid(), "logits")[:, 1], z.flatten().sigmoid())


def test_every_function_that_takes_logits_refuses_probabilities():
    logits, label = logits_of()
    probabilities, classes = logits.softmax(-1), ("QCD", "Hbb", "Tbqq")
    calls = {
        "macro_auc": lambda x, **k: macro_auc(x, label, **k),
        "pair_score": lambda x, **k: pair_score(x, label, "Tbqq", "QCD", classes=classes, **k),
        "log_odds": lambda x, **k: log_odds(x, label, "Tbqq", ["QCD"], classes=classes, **k),
        "auc_pair": lambda x, **k: auc_pair(x, label, "Tbqq", "QCD", classes=classes, **k),
        "summary": lambda x, **k: summary(x, label, classes=classes, **k),
        "measure_calibration": lambda x, **k: measure_calibration(x, label, **k),
        "assess": lambda x, **k: assess(x, label, classes=classes, **k),
    }
    for name, call in calls.items():
        with pytest.raises(DataError, match=LOOKS):
            call(probabilities)
        expected, found = call(logits), call(probabilities.double(), scores="probabilities")
        again = call(probabilities.log())
        for one in (found, again):
            flat, other = (np.hstack([np.ravel(x) for x in _numbers(value)]) for value in (one, expected))
            np.testing.assert_allclose(flat, other, rtol=1e-4, atol=1e-5, err_msg=name)
        with pytest.raises(ConfigError, match="scores is 'probability'; expected one of None, 'logits', 'prob"):
            call(logits, scores="probability")
    assert accuracy(probabilities, label) == accuracy(logits, label)  # the largest is the same


def _numbers(value):
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, dict):
        return [x for item in value.values() for x in _numbers(item)]
    if isinstance(value, list | tuple):
        return [x for item in value for x in _numbers(item)]
    return [] if value is None or isinstance(value, str) else [np.asarray(value, float)]


def test_log_loss_and_calibration_are_those_of_the_probabilities():
    logits, label = logits_of(500, 3)
    probabilities = logits.double().softmax(-1)
    found = assess(probabilities, label, classes=("a", "b", "c"), scores="probabilities")
    assert found.metrics["log_loss"] == pytest.approx(float(-probabilities[torch.arange(500), label].log().mean()))
    best = probabilities.max(-1).values.numpy()
    assert found.calibration.confidence[-1] == pytest.approx(best[best > 14 / 15].mean())


def test_what_rounds_to_zero_keeps_its_place():
    """0 counts as the smallest number of the dtype: below all others, and finite."""
    for dtype in (torch.float64, torch.float32, torch.float16):
        smallest = torch.finfo(dtype).tiny
        table = torch.tensor([[1, 0], [1 - smallest, smallest], [0.5, 0.5], [0, 1]], dtype=dtype)
        odds = as_logits(table, "probabilities").diff(dim=1).flatten()
        assert odds.isfinite().all()
        assert (odds.diff() > 0).all()
        alone = torch.tensor([0, smallest, 0.5, 1 - torch.finfo(dtype).eps, 1], dtype=dtype)
        odds = as_logits(alone, "probabilities")[:, 1]
        assert odds.isfinite().all()
        assert (odds.diff() > 0).all()
        torch.testing.assert_close(odds[2].item(), 0.0)
    z = torch.linspace(-15, 15, 61, dtype=torch.float64)
    torch.testing.assert_close(as_logits(z.sigmoid(), "probabilities"), torch.stack([0 * z, z], 1))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            [[0.5, 0.5], [0.2, 0.7], [0.1, 0.1]],
            r"of 2 of 3 jets are none, the first \(jet 1\): 0.2, 0.7, which sum to 0.9",
        ),
        (
            [[0.5, 0.5], [1.2, -0.2]],
            r"of 1 of 2 jets .* 1.2, -0.2, which sum to 1; expected finite numbers in \[0, 1\]",
        ),
        ([[0.5, 0.5], [torch.nan, 0.5]], "nan, 0.5"),
        ([0.5, 1.5], r"\(jet 1\): 1.5; expected finite numbers in \[0, 1\]$"),
    ],
    ids=str,
)
def test_what_is_said_to_be_probabilities_and_is_not(table, message):
    with pytest.raises(DataError, match=message):
        as_logits(torch.tensor(table), "probabilities")


def test_shapes_that_are_no_logits():
    for shape in ((2, 3, 4), (3, 0), ()):
        with pytest.raises(DataError, match=r"expected \(B, classes\), or \(B, 1\) or \(B,\) for two classes"):
            as_logits(torch.ones(shape))
    with pytest.raises(DataError, match=r"shape \(4,\), which tells 2 classes apart, and there are 3: a, b, c"):
        as_logits(torch.ones(4), classes=("a", "b", "c"))
    with pytest.raises(DataError, match=r"shape \(4, 3\), which tells 3 classes apart, and there are 2"):
        as_logits(torch.ones(4, 3), classes=NAMES)


# --- one logit for two classes ---


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_measures_as_the_two_that_it_stands_for(shape):
    z, label = logits_of(600, 1)[0], torch.arange(600) % 2
    z = z + 2 * label[:, None]
    both, one = torch.cat([torch.zeros_like(z), z], dim=1), z.reshape(shape)
    pt = torch.linspace(500, 900, 600)
    expected = assess(both, label, classes=NAMES, jet_pt=pt).to_dict()
    assert assess(one, label, classes=NAMES, jet_pt=pt).to_dict() == expected
    assert summary(one, label, classes=NAMES) == summary(both, label, classes=NAMES)
    assert accuracy(one, label) == float(((z.flatten() > 0) == (label == 1)).double().mean())
    assert measure_calibration(one, label) == measure_calibration(both, label)
    assert (
        macro_auc(one, label)
        == macro_auc(one, label, multi_class="ovr")
        == auc_pair(one, label, "q", "g", classes=NAMES)
    )
    said = assess(one.double().sigmoid(), label, classes=NAMES, jet_pt=pt, scores="probabilities")
    np.testing.assert_allclose(_numbers(said.metrics), _numbers(expected["metrics"]), rtol=1e-6)
    # told against the other class, the score is turned around
    turned = assess(one, label, classes=NAMES, background="q")
    assert turned.qualities[0].auc_background == pytest.approx(1 - (1 - expected["qualities"][1]["auc_background"]))
    assert turned.rejections["g"].n_background == 300


def test_accuracy_of_single_probabilities_has_to_be_said():
    p, label = torch.tensor([0.2, 0.4, 0.9]), torch.tensor([0, 1, 1])
    with pytest.raises(DataError, match="one for each"):
        accuracy(p, label)
    assert accuracy(p, label, scores="probabilities") == pytest.approx(2 / 3)
    assert accuracy(p, label, scores="logits") == pytest.approx(2 / 3)


class Foreign(nn.Module):
    """A tagger of another's making: what it gives is a function of the jets' pz."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, jets):
        z = jets.jet_p4[:, 3] / 1000
        return {
            "one": z,
            "column": z[:, None],
            "two": torch.stack([torch.zeros_like(z), z], dim=-1),
            "sigmoid": z.sigmoid(),
            "softmax": torch.stack([torch.zeros_like(z), z], dim=-1).softmax(-1),
            "half": torch.stack([torch.zeros_like(z), z], dim=-1).half().softmax(-1),
            "three": torch.stack([z, z, z], dim=-1),
            "late": torch.full_like(z, 0.5) if len(jets) == 1 else z,
        }[self.form]


@pytest.fixture
def pairs(make_jets):
    jets = make_jets(300)
    return jets.replace(classes=("QCD", "Tbqq"), label=jets.label % 2)


@pytest.mark.parametrize("form", ["one", "column"])
def test_models_with_one_logit(form, pairs):
    two = Foreign("two")
    assert torch.equal(predict_logits(Foreign(form), pairs), predict_logits(two, pairs))
    assert evaluate(Foreign(form), pairs, rotated=2).to_dict() == evaluate(two, pairs, rotated=2).to_dict()
    options = {"draws": 2, "seed": 1}
    assert stability(Foreign(form), pairs, **options).to_dict() == stability(two, pairs, **options).to_dict()


def test_models_that_give_probabilities(pairs):
    for form in ("sigmoid", "softmax", "half"):
        for call in (evaluate, stability, predict_logits):
            with pytest.raises(DataError, match=LOOKS):
                call(Foreign(form), pairs)
        found = evaluate(Foreign(form), pairs, rotated=2, scores="probabilities")
        expected = evaluate(Foreign("two"), pairs, rotated=2)
        exact = {"rtol": 2e-2 if form == "half" else 1e-5}
        np.testing.assert_allclose(_numbers(found.metrics), _numbers(expected.metrics), atol=1e-3, **exact)
        decided = stability(Foreign(form), pairs, draws=2, scores="probabilities").changes["O3 lab"]["flips"]
        assert decided.mean == pytest.approx(
            stability(Foreign("two"), pairs, draws=2).changes["O3 lab"]["flips"].mean, abs=0.01
        )


def test_few_moved_jets_are_not_judged_by_themselves(pairs):
    """Where the sample has shown that the numbers are logits, some that a move puts into [0, 1] remain so."""
    flat = {"flat": lambda jets, generator: jets.replace(jet_p4=jets.jet_p4.abs() * 1e-3)}
    assert (Foreign("one")(flat["flat"](pairs, None)) <= 1).all()
    assert stability(Foreign("one"), pairs, actions=flat).changes["flat"]["flips"].mean > 0


def test_models_with_other_numbers_of_outputs(pairs, make_jets):
    with pytest.raises(DataError, match=r"tells 3 classes apart, and there are 2: QCD, Tbqq"):
        evaluate(Foreign("three"), pairs)
    with pytest.raises(DataError, match=r"tells 2 classes apart, and there are 10: QCD, Hbb"):
        evaluate(Foreign("one"), make_jets(20))


def test_predictions_of_one_logit_and_of_probabilities(jetclass_file, tmp_path, monkeypatch):
    data = jetclass_file("a.root", n=41)
    monkeypatch.setattr(predict_module, "ROWS", 20)  # the last portion is one jet, which may look like anything
    monkeypatch.setattr(predict_module, "BUFFER", 20)
    expected = None
    for form, scores in (("two", None), ("one", None), ("sigmoid", "probabilities"), ("softmax", "probabilities")):
        model = Foreign(form)
        model.classes = NAMES
        out = predict(model, data, tmp_path / f"{form}.root", logits=True, scores=scores, progress=False)
        with uproot.open(out) as file:
            found = file["tree"].arrays(library="np")
        expected = expected or found
        np.testing.assert_allclose(found["score_g"] + found["score_q"], 1, atol=1e-6)
        np.testing.assert_allclose(found["score_q"], expected["score_q"], atol=1e-6)
        difference = found["logit_q"] - found["logit_g"]
        np.testing.assert_allclose(difference, expected["logit_q"] - expected["logit_g"], rtol=1e-3, atol=1e-4)
        if scores:
            with pytest.raises(DataError, match=LOOKS):
                predict(model, data, tmp_path / f"{form}.root", progress=False)
    late = Foreign("late")
    late.classes = NAMES
    assert predict(late, data, tmp_path / "late.root", progress=False).is_file()
    nameless = Foreign("one")
    with pytest.raises(DataError, match="of a model, those of its attribute 'classes'"):
        predict(nameless, data, tmp_path / "n.root", progress=False)


def test_jetsym_taggers_are_as_before(make_jets):
    jets = make_jets(5)
    assert evaluate(PointNet(width=8, blocks=1), jets).meta["jets"] == 5
