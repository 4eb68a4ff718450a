"""Networks with built-in Lorentz symmetry under the probe: zeros where they are exact, and what references break."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym.domains.table import domain_of
from jetsym.jets.models.registry import build
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.generators import measure_generators
from jetsym.spectrum.lorentz import GENERATORS

SIZES = {
    "lgatr": {"multivectors": 2, "channels": 4, "blocks": 1, "heads": 2},
    "lloca": {"hidden": 8, "head_scalars": 4, "head_vectors": 1, "blocks": 1, "heads": 2},
}
#: Frames magnify the rounding of float64 by up to 1e7: boosts along the jet read 6e-10 to 1.7e-9, by the processor.
NETS = [("lgatr", {}, 1e-9), ("lloca", {"frames": "polar"}, 3e-9), ("lloca", {"frames": "so13"}, 1e-7)]
KEPT = {
    "none": set(GENERATORS),
    "spacelike": {"J_z", "K_x", "K_y"},
    "lightlike": {"J_z"},
    "xyplane": {"J_z", "K_z"},
}


@pytest.fixture
def jets(make_jets):
    """Massive particles in float64, at least four in every jet."""
    found = make_jets(4, seed=3, dtype=torch.float64, max_particles=8, min_particles=4)
    energy = (found.p4[..., 1:].square().sum(dim=-1) + 1.0).sqrt() * found.mask
    return found.replace(p4=torch.cat([energy[..., None], found.p4[..., 1:]], dim=-1))


def make(name, **options):
    torch.manual_seed(0)
    return build(name, scalars="none", **(SIZES[name] | options)).double()


@pytest.mark.parametrize(("name", "options", "bound"), NETS)
@pytest.mark.parametrize(
    "where",
    [
        {"group": "SO3"},
        {"group": "SO3", "frame": "rest"},
        {"group": "boost", "axis": "random"},
        {"group": "boost", "axis": "jet"},
    ],
    ids=str,
)
def test_exact_networks_read_zero(jets, name, options, bound, where):
    report = jetsym.probe(make(name, **options), jets, l_max=1, widths=[1.0], progress=False, **where)
    assert abs(report.equivariance["logits"].relative) < bound


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("beam", KEPT)
def test_generators_say_what_references_break(jets, name, beam):
    options = domain_of(jets), {"logits": "logits"}
    report = measure_generators(Session(make(name, beam=beam), *options), jets, axes="beam")
    slopes = dict(zip(report.generators, np.sqrt(report.squared[-1]), strict=True))
    assert max(slopes[generator] for generator in KEPT[beam]) < 1e-6
    assert min((slopes[generator] for generator in set(GENERATORS) - KEPT[beam]), default=1.0) > 1e-4


def test_reflections_are_kept_on_request_only(jets):
    broken, kept = (
        jetsym.probe(
            make("lgatr", reflections=choice, multivectors=4, channels=8, blocks=2), jets, l_max=1, progress=False
        ).equivariance["logits"]
        for choice in (False, True)
    )
    assert abs(kept.relative) < 1e-9
    assert broken.relative > 100 * abs(kept.relative)


@pytest.mark.parametrize("signs", ["moment", "all"])
def test_canonical_taggers_read_zero_where_they_should(jets, signs):
    torch.manual_seed(0)
    backbone = {"width": 8, "blocks": 1, "heads": 2}
    model = build("canonical", options=backbone, frame="rest", signs=signs).double()
    for where in ({"group": "SO3"}, {"group": "SO3", "frame": "rest"}, {"group": "boost", "axis": "random"}):
        report = jetsym.probe(model, jets, l_max=1, widths=[1.0], progress=False, **where)
        assert abs(report.equivariance["logits"].relative) < 1e-7
    assert ("tagger.embedding@4" in report.layers) == (signs == "all")
    mirrored = jetsym.probe(model, jets, l_max=1, group="O3", progress=False)
    assert mirrored.equivariance["logits"].relative > 1e-3
    options = domain_of(jets), {"logits": "logits"}
    local = measure_generators(Session(model, *options), jets, axes="jet")
    assert local.meta["method"] == "forward-mode"
    assert np.abs(local.squared[local.layers.index("logits")]).max() < 1e-12
