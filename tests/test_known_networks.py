"""Networks whose symmetry is known by construction: what is said to be true of them, and what a diagnosis says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.spatial.transform import Rotation

pytest.importorskip("e3nn")

SCRIPT = Path(__file__).parents[1] / "notebooks" / "studies" / "known_networks.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("known_networks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def turned(kind, values, matrices):
    """Bring an output (elements, samples, ...) back by its law under the inverses of the elements."""
    sign = torch.linalg.det(matrices).sign()
    match kind:
        case "vector":
            return torch.einsum("gba,gxb->gxa", matrices, values)
        case "pseudovector":
            return torch.einsum("gba,gxb->gxa", matrices, values) * sign[:, None, None]
        case "rank2":
            return torch.einsum("gba,gxbc,gcd->gxad", matrices, values, matrices)
        case "pseudoscalar":
            return values * sign[:, None, None]
        case "logits":
            return values - values.mean(-1, keepdim=True)
    return values


def relative_errors(study, known):
    """Compute relative A of each output at random elements, in float64 and without a probe."""
    torch.manual_seed(0)
    module = known.build().eval().double()
    inputs = study.clouds(4, torch.Generator().manual_seed(1)).double()
    matrices = torch.from_numpy(Rotation.random(256, rng=0).as_matrix())
    if known.options.get("group") == "SO2":
        angles = torch.linspace(0, 2 * torch.pi, 257)[:-1].double().numpy()
        matrices = torch.from_numpy(Rotation.from_euler("z", angles[:, None]).as_matrix())
    else:
        matrices = torch.cat([matrices, -matrices])
    with torch.no_grad():
        found = module(torch.einsum("gab,xnb->gxna", matrices, inputs).flatten(0, 1))
    if not isinstance(found, dict):
        found = {next(iter(known.outputs)): found}
    for name, values in found.items():
        z = turned(known.outputs[name], values.unflatten(0, (len(matrices), 4)), matrices)
        yield float((((z - z.mean(0)) ** 2).sum() / (z**2).sum()).sqrt())


def test_truths(study):
    assert len(study.NETWORKS) == 24
    for name, known in study.NETWORKS.items():
        for error in relative_errors(study, known):
            assert (error < 1e-6) if known.healthy else (error > 0.1), name


@pytest.mark.slow
def test_diagnosis(tmp_path):
    words = ["--inputs", "16", "--precisions", "float32", "--out", tmp_path / "found.json"]
    command = [sys.executable, "-W", "default", SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    judgements = json.loads((tmp_path / "found.json").read_text())["judgements"]
    assert len(judgements) == 24
    assert not [one["network"] for one in judgements if one["refused"]]
    assert not [(one["network"], one["problems"]) for one in judgements if one["healthy"] and one["problems"]]
    missed = [(one["network"], one["missed"]) for one in judgements if one["missed"]]
    assert len(missed) <= 2, missed
