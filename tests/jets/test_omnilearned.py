"""OmniLearned's PET2 by the feature set and the call of the documentation, with random weights.

It skips without the package: ``pip install --target DIR --no-deps omnilearned==0.2.0 einops torchdiffeq`` and DIR in
PYTHONPATH are enough.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import jetsym
from jetsym.jets.io.sample import sample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PAGE = Path(__file__).parents[2] / "notebooks" / "docs" / "inputs.md"
SMALL = {"base_dim": 16, "num_transformers": 2, "num_transformers_head": 1, "num_heads": 2, "K": 5}


@pytest.fixture(scope="module")
def page():
    """The names that the page's code makes, its model and its report left out."""
    pytest.importorskip("omnilearned", reason="omnilearned is not installed")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "PET2" in block)
    names: dict = {}
    exec(code[: code.index("\nmodel = ")], names)
    return names


@pytest.fixture(scope="module")
def net(page):
    """A small PET2 in double precision."""
    torch.manual_seed(0)
    return page["PET2"](4, num_classes=10, pid=True, add_info=True, **SMALL).double().eval()


@pytest.fixture(scope="module")
def jets():
    found = sample("test", limit=60, max_particles=24).to(torch.float64)
    return found[found.n_particles.argsort()][:6]


def test_the_features_are_those_of_its_files(page, jets):
    """Δη and Δφ to the jet's axis, logarithms in GeV, and kinds as numpy's searchsorted numbers them."""
    kinematic, kinds, displaced = (each.numpy() for each in page["features"](jets))
    mask, p4, jet = jets.mask.numpy(), jets.p4.numpy(), jets.jet_p4.numpy()[:, None]

    def angles(p):
        return np.arcsinh(p[..., 3] / np.hypot(p[..., 1], p[..., 2])), np.arctan2(p[..., 2], p[..., 1])

    with np.errstate(all="ignore"):
        (eta, phi), (eta_jet, phi_jet) = angles(p4), angles(jet)
        along = (eta - eta_jet) * np.where(eta_jet < 0, -1, 1)
        around = (phi - phi_jet + np.pi) % (2 * np.pi) - np.pi
        expected = np.stack([along, around, np.log(np.hypot(p4[..., 1], p4[..., 2])), np.log(p4[..., 0])], -1)
    np.testing.assert_allclose(kinematic[mask], expected[mask], atol=1e-9)
    assert not kinematic[~mask].any()
    assert not displaced[~mask].any()
    pdg = np.array([-211, -13, -11, 0, 11, 13, 22, 130, 211])
    flags = dict(zip(jets.scalar_names, jets.scalars.numpy().transpose(2, 0, 1), strict=True))
    number = np.zeros(mask.shape, dtype=int)
    for name, positive, negative in (
        ("isChargedHadron", 211, -211), ("isElectron", -11, 11), ("isMuon", -13, 13), ("isNeutralHadron", 130, 130),
        ("isPhoton", 22, 22),
    ):  # fmt: skip
        number[flags[name] > 0] = np.where(flags["charge"] < 0, negative, positive)[flags[name] > 0]
    np.testing.assert_array_equal(kinds[mask], np.searchsorted(pdg, number)[mask])
    assert len(set(kinds[mask].tolist())) > 3


def test_layers_are_read_and_turns_about_the_beam_change_nothing(page, net, jets):
    options = {"call": page["call"], "outputs": {"logits": "logits"}, "l_max": 2, "limit": 4, "progress": False}
    about = jetsym.probe(net, jets, group="SO2", **options)
    assert about.equivariance["logits"].is_within_rounding
    assert about.equivariance["logits"].noise_floor < 1e-10
    turned = jetsym.probe(net, jets, **options)
    assert turned.equivariance["logits"].relative > 1e-3
    assert {"body.in_blocks.0", "body.in_blocks.1"} <= set(turned.layers), turned.meta["notes"]
    assert jets.n_particles[:4].min() < jets.n_particles[:4].max()
    assert turned.meta["tokens"]["body.in_blocks.0"] == "points: axis 1, 4 more first"


def test_logits_are_those_of_the_network_called_by_hand(page, net, jets):
    kinematic, kinds, displaced = page["features"](jets)
    with torch.no_grad():
        expected = net(kinematic, torch.zeros(len(jets), dtype=torch.long), None, kinds, displaced)["y_pred"]
        torch.testing.assert_close(page["call"](net, jets), expected)
    assert expected.std() > 1e-3
