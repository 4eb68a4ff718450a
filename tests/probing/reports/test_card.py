"""Model cards: the head that the hub reads, the numbers of the page, and what they do not say."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

import jetsym
from jetsym.errors import ConfigError
from jetsym.jets.models import PointNet
from jetsym.testing.jets import random_jets


class Lengths(nn.Module):
    """Invariant to within rounding, and a part that is not, of a known size."""

    def __init__(self, share: float = 0.0) -> None:
        super().__init__()
        self.share = share
        self.layer = nn.Linear(1, 2)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.layer(points.square().sum(-1, keepdim=True)).sum(1) + self.share * points[:, :1, 0]


def report_of(model: nn.Module, **options):
    torch.manual_seed(1)
    points = torch.randn(6, 4, 3, dtype=torch.float64)
    return jetsym.probe(model.double(), points, outputs={"output": "scalar"}, l_max=1, progress=False, **options)


EVALUATION = SimpleNamespace(
    metrics={"accuracy": 0.71234, "accuracy_stderr": 0.0056, "log_loss": 0.9, "ece": 0.02, "ece_floor": 0.01},
    rotated=SimpleNamespace(metrics={"accuracy": 0.5, "accuracy_stderr": 0.01, "log_loss": 1.4}, rotated=None, meta={}),
    meta={"jets": 12345, "model": "/home/someone/runs/secret"},
)


def head_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_says_accuracy_and_symmetry_with_errors():
    report = report_of(Lengths(0.5))
    card = report.to_model_card(EVALUATION, dataset="jets | of\nmine", license="mit")
    error = report.equivariance["output"]
    assert "| accuracy | 0.7123(56) | 0.500(10) |" in card
    assert "| ece | 0.02 (0.01 if perfect) | – |" in card
    assert "On 12,345 jets of jets | of mine" in card
    assert jetsym.text.concise(error.relative, error.relative_stderr) in card
    assert all(sentence in card for sentence in report.sentences())
    rows = re.findall(r"^\| (\w+) \| .*\|$", card, re.MULTILINE)
    assert rows[-len(report.layers) :] == list(report.layers)
    assert "secret" not in card
    head = head_of(card)
    (result,) = head["model-index"][0]["results"]
    found = {metric["type"]: metric["value"] for metric in result["metrics"] if "rotated" not in metric["name"]}
    assert found == {"accuracy": 0.71234, "relative_A": error.relative}
    assert (head["license"], result["dataset"]["name"]) == ("mit", "jets | of\nmine")
    assert "library_name" not in head


def test_what_rounding_explains_is_no_number():
    report = report_of(Lengths())
    card = report.to_model_card()
    assert report.equivariance["output"].is_within_rounding
    assert "model-index" not in head_of(card)
    assert re.search(r"\| output \| scalar \| .* \| <\de-\d+ \|", card)
    assert "is invariant under O3 to within rounding" in card


def test_old_reports_say_their_own_version():
    report = report_of(Lengths(0.5))
    old = replace(report, meta={**report.meta, "jetsym": "0.0.7"})
    assert "Measured by jetsym 0.0.7:" in old.to_model_card()
    nan = replace(report.equivariance["output"], relative=math.nan)
    assert "model-index" not in head_of(replace(report, equivariance={"output": nan}).to_model_card())


def test_an_evaluation_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="expected what evaluate of a tagger gives"):
        report_of(Lengths(0.5)).to_model_card(SimpleNamespace(target="mass"))


def test_names_do_not_break_tables():
    report = report_of(Lengths(0.5))
    card = replace(report, layers=("a|b\nc", "output")).to_model_card()
    assert "| a\\|b c |" in card


def test_the_card_of_a_tagger_says_how_to_load_it(tmp_path):
    tagger = PointNet(("QCD", "Tbqq"), width=8, heads=2, blocks=1).eval()
    report = jetsym.probe(tagger, random_jets(4), l_max=1, progress=False)
    card = report.to_model_card(model=tagger, repo_id="me/pn")
    assert 'Tagger.from_pretrained("me/pn")' in card
    assert "QCD, Tbqq" in card
    assert head_of(card)["library_name"] == "jetsym"
    assert "## Accuracy" not in card
    with pytest.raises(ConfigError, match="the report is of a Lengths"):
        report_of(Lengths()).to_model_card(model=tagger)
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    folder = tagger.save_pretrained(tmp_path, card=card)
    exec(block.replace("me/pn", str(folder)).replace("(tagger))", "(tagger, limit=2, l_max=1, progress=False))"), {})


def test_the_hubs_own_package_reads_the_head():
    hub = pytest.importorskip("huggingface_hub")
    report = report_of(Lengths(0.5))
    data = hub.ModelCard(report.to_model_card(EVALUATION, dataset="jets")).data
    values = {one.metric_name: one.metric_value for one in data.eval_results}
    assert values["accuracy"] == 0.71234
    (symmetry,) = (value for name, value in values.items() if "relative A" in name)
    assert symmetry == pytest.approx(report.equivariance["output"].relative)
