"""Taggers in canonical poses; the poses themselves are tested in tests/jets/test_canonical.py."""

from dataclasses import asdict

import pytest
import torch

from jetsym.errors import ConfigError
from jetsym.jets.models import Canonical
from jetsym.jets.models.registry import build, configure
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.canonical import poses
from jetsym.jets.moves.sampling import random_rotations
from jetsym.symmetry import Symmetry
from jetsym.training.finetune import freeze

SMALL = {"width": 8, "blocks": 1, "heads": 2}


def make(**options) -> Canonical:
    torch.manual_seed(0)
    return build("canonical", **({"options": SMALL} | options)).eval()


@pytest.mark.parametrize("signs", ["moment", "all"])
@pytest.mark.parametrize("group", ["SO3", "O3"])
def test_it_is_the_mean_of_the_backbone_over_the_poses(make_jets, group, signs):
    jets, model = make_jets(5), make(group=group, signs=signs)
    by_hand = [model.tagger(pose) for pose in poses(jets, Symmetry(group), signs=signs)]
    torch.testing.assert_close(model(jets), sum(by_hand) / len(by_hand))


@pytest.mark.parametrize(("backbone", "options"), [("part", {"blocks": 1, "class_blocks": 1}), ("deepsets", {})])
def test_networks_on_collider_coordinates_find_theirs_in_the_pose(make_jets, backbone, options):
    """The jet lies across the beam, where Δη and Δφ are coordinates about it."""
    jets, model = make_jets(4, dtype=torch.float64, min_particles=4), make(backbone=backbone, options=options).double()
    rotated = rotate(jets, random_rotations(1, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(model(rotated), model(jets), atol=1e-9, rtol=0)
    assert (model.tagger(rotated) - model.tagger(jets)).abs().max() > 1e-4


def test_options_of_the_backbone_are_kept_in_full():
    model = make()
    assert model.config.options == asdict(configure("pointnet", **SMALL))
    assert model.tagger.classes == model.classes
    assert make(backbone="deepsets", options={}).config.options["features"] == "full"


def test_ablations_are_those_of_the_backbone(make_jets):
    pytest.importorskip("lgatr")
    options = {"multivectors": 2, "channels": 4, "blocks": 1, "heads": 2, "beam": "lightlike"}
    jets, model = make_jets(3), make(backbone="lgatr", options=options)
    before = model(jets)
    without = model.ablations()["reference vectors"]
    assert without.classes == model.classes
    assert not torch.equal(without(jets), before)
    assert torch.equal(model(jets), before)
    assert make().ablations() == {}


def test_axes_are_found_in_full_precision_under_autocast(make_jets):
    jets, model = make_jets(4), make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(jets)
    torch.testing.assert_close(half.float(), model(jets), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "SO2"}, "option group is 'SO2'; expected one of 'SO3', 'O3'"),
        ({"frame": "jet"}, "frame is 'jet'"),
        ({"signs": "none"}, "signs is 'none'"),
        ({"backbone": "canonical", "options": {}}, "expected the name of another tagger"),
        ({"backbone": "pointnat"}, "no model 'pointnat'"),
        ({"options": {"widht": 8}}, "'pointnet' has no option 'widht'"),
    ],
)
def test_what_makes_no_tagger_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_freezing_the_backbone_leaves_the_head_of_the_tagger_inside():
    model = make()
    freeze(model, ["backbone"])
    assert {name.split(".")[1] for name, weight in model.named_parameters() if weight.requires_grad} == {"head"}
