"""The demo, small, from the first file to the last page; and the demo's tagger on real jets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import jetsym
from jetsym.demo import demo
from jetsym.errors import ConfigError
from jetsym.jets import checkpoint, sample

pytestmark = pytest.mark.slow

RUNS = ("plain", "rotated")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    assert demo(str(out), quick=True, device="cpu", progress=False) == out / "report.html"
    return out


def test_everything_is_there(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *RUNS, "metrics.json", "report_plain.json", "report_rotated.json", "spectrum.png", "spectrum.pdf", "report.html"
    }  # fmt: skip
    for name in ("spectrum.png", "spectrum.pdf"):
        assert (folder / name).stat().st_size > 10_000


@pytest.mark.parametrize("name", RUNS)
def test_runs_load_and_are_probed(folder, name):
    model = jetsym.load(folder / name)
    assert isinstance(model, torch.nn.Module)
    assert model.classes[0] == "QCD"
    assert model.config.width == 64
    assert not model.training
    report = jetsym.probe(folder / name, limit=2, l_max=1, progress=False)
    assert report.layers[-1] == "logits"


def test_metrics_are_those_of_the_runs(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == set(RUNS)
    jets = sample("test", limit=500, max_particles=64)
    for name in RUNS:
        numbers, report = metrics[name], jetsym.SymmetryReport.load(folder / f"report_{name}.json")
        with torch.no_grad():
            right = jetsym.load(folder / name)(jets).argmax(-1) == jets.label
        assert numbers["accuracy_upright"] == pytest.approx(float(right.float().mean()), abs=0.005)
        assert 0.5 < numbers["auc_top_qcd"] <= 1
        assert 0 <= numbers["accuracy_rotated"] <= 1
        assert numbers["relative_A"] == report.equivariance["logits"].relative
        assert numbers["relative_A"] > 1000 * numbers["noise_floor"]
        assert report.baseline is not None
        # The spectrum changes through the layers, by far more than its errors.
        change = np.abs(np.diff(report.fractions[:, 0])) / np.hypot(report.stderr[1:, 0], report.stderr[:-1, 0])
        assert change.max() > 4


def test_the_page_is_self_contained(folder):
    class Links(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.outside, self.text = set(), [], ""

        def handle_starttag(self, tag, attributes):
            self.tags.add(tag)
            self.outside += [value for name, value in attributes if name in ("src", "href") and value[:5] != "data:"]

        def handle_data(self, data):
            self.text += data

    page = Links()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.outside
    assert not {"link", "iframe", "object"} & page.tags  # and its one script sorts tables
    assert {"img", "table", "h2"} <= page.tags
    for name in RUNS:  # the page finds what diagnose does, and says how to go on
        found = jetsym.diagnose(jetsym.SymmetryReport.load(folder / f"report_{name}.json"))
        for finding in found:
            assert f"{finding.name}: {finding.subject} ({finding.severity})" in page.text
            assert finding.text in page.text
        if found.findings:
            assert f"jetsym repair {name} --finding {found.findings[0].name}" in page.text
    assert page.text.count("What to try.") == page.text.count("Why it matters.") > 0
    for words in ("relative A", "trained on rotated jets", "blocks.1", "(1,+)", "--quick"):
        assert words in page.text


def test_a_second_call_takes_up_what_is_there_and_another_scale_is_refused(folder):
    before = (folder / "plain/best.safetensors").stat().st_mtime_ns
    demo(str(folder), quick=True, device="cpu", progress=False)
    assert (folder / "plain/best.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="--overwrite"):
        demo(str(folder), quick=True, seed=5, device="cpu", progress=False)


def test_a_killed_demo_goes_on_where_it_was(folder, tmp_path):
    words = [sys.executable, "-m", "jetsym.cli", "demo", "--quick", "--device", "cpu", "--out", str(tmp_path / "demo")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "demo/plain" / checkpoint.LAST).is_file():
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "demo/report.html").exists()
    kept = (tmp_path / "demo/plain/initial.safetensors").stat().st_mtime_ns
    done = subprocess.run([*words, "--resume"], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo/report.html").is_file()
    assert (tmp_path / "demo/plain/initial.safetensors").stat().st_mtime_ns == kept
    for name in RUNS:
        ours, whole = (read_lines(one / name / "metrics.jsonl") for one in (tmp_path / "demo", folder))
        assert [line["val_loss"] for line in ours] == pytest.approx([line["val_loss"] for line in whole], rel=1e-5)


def test_to_resume_and_to_overwrite_are_two_things(tmp_path):
    with pytest.raises(ConfigError, match="--resume and --overwrite were both given"):
        demo(str(tmp_path), resume=True, overwrite=True)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_demo_s_tagger_on_real_jets(folder, real_data):
    paths = str(real_data / "jetclass/jetclass_kin_500.root")
    report = jetsym.probe(folder / "rotated", paths, l_max=1, limit=20, progress=False)
    assert report.meta["n_inputs"] == 20
    assert report.equivariance["logits"].relative > 100 * report.equivariance["logits"].noise_floor
    assert np.isfinite(report.fractions).all()
