"""LGATr and LLoCa: exactly the transformations that their references leave alone, options, and what is missing."""

import itertools
import sys

import pytest
import torch

from jetsym.errors import ConfigError, MissingDependencyError
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.equivariant import BEAMS, SCALAR_SETS
from jetsym.jets.models.registry import build

SIZES = {
    "lgatr": {"multivectors": 4, "channels": 8, "blocks": 2, "heads": 2},
    "lloca": {"hidden": 16, "head_scalars": 4, "head_vectors": 1, "blocks": 2, "heads": 2},
}
EVERYTHING = {"Jx", "Jy", "Jz", "Kx", "Ky", "Kz"}


def kept_by(beam: str, time: bool) -> set[str]:
    """Written down independently: which generators leave the references as they are."""
    if beam == "none":
        return {"Jx", "Jy", "Jz"} if time else EVERYTHING
    if beam == "spacelike":
        return {"Jz"} if time else {"Jz", "Kx", "Ky"}
    if beam == "xyplane":
        return {"Jz"} if time else {"Jz", "Kz"}
    return {"Jz"}


def finite(name: str, size: float = 0.7) -> torch.Tensor:
    """(4, 4) rotation or boost along a generator."""
    generator, axis = torch.zeros(4, 4, dtype=torch.float64), "xyz".index(name[1]) + 1
    if name[0] == "K":
        generator[0, axis] = generator[axis, 0] = 1
    else:
        i, j = axis % 3 + 1, (axis + 1) % 3 + 1
        generator[i, j], generator[j, i] = -1, 1
    return torch.matrix_exp(size * generator)


def moved(jets: JetBatch, matrix: torch.Tensor) -> JetBatch:
    return jets.replace(p4=jets.p4 @ matrix.T, jet_p4=jets.jet_p4 @ matrix.T)


@pytest.fixture(scope="module")
def jets(make_jets):
    """Massive particles in float64, at least four in every jet: their sums span a frame."""
    found = make_jets(6, dtype=torch.float64, max_particles=20, min_particles=4)
    energy = (found.p4[..., 1:].square().sum(dim=-1) + 0.01).sqrt() * found.mask
    return found.replace(p4=torch.cat([energy[..., None], found.p4[..., 1:]], dim=-1))


def make(name: str, dtype: torch.dtype = torch.float64, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, **(SIZES[name] | options)).to(dtype).eval()


def changes(model, jets) -> dict[str, float]:
    """How much a finite transformation along each generator changes the logits, relative to them."""
    with torch.no_grad():
        logits = model(jets)
        differences = {name: model(moved(jets, finite(name))) - logits for name in EVERYTHING}
    return {name: float(difference.norm() / logits.norm()) for name, difference in differences.items()}


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [("lgatr", {}, 1e-12), ("lloca", {"frames": "polar"}, 1e-9), ("lloca", {"frames": "so13"}, 1e-9)],
)
@pytest.mark.parametrize(("beam", "time"), list(itertools.product(BEAMS, [False, True])))
def test_references_break_what_they_break_and_nothing_else(jets, name, options, tolerance, beam, time):
    found = changes(make(name, beam=beam, time=time, **options), jets)
    kept = kept_by(beam, time)
    assert max(found[generator] for generator in kept) < tolerance, found
    assert min((found[generator] for generator in EVERYTHING - kept), default=1.0) > 1e-4, found


def test_frames_of_rotations_and_none(jets):
    rotations = changes(make("lloca", frames="so3"), jets)
    assert max(rotations[name] for name in ("Jx", "Jy", "Jz")) < 1e-9
    assert min(rotations[name] for name in ("Kx", "Ky", "Kz")) > 1e-4
    assert min(changes(make("lloca", frames="none"), jets).values()) > 1e-4


def test_both_ways_to_a_lorentz_frame_give_the_same(jets):
    torch.testing.assert_close(
        make("lloca", frames="so13")(jets), make("lloca", frames="polar")(jets), atol=1e-9, rtol=0
    )


def test_frames_are_proper_lorentz_transformations(jets):
    metric = torch.diag(torch.tensor([1.0, -1, -1, -1], dtype=torch.float64))
    for frames in ("polar", "so13", "so3", "none"):
        found = make("lloca", frames=frames).frames(jets)[jets.mask]
        size = found.square().sum(dim=(1, 2), keepdim=True)
        assert ((found @ metric @ found.mT - metric).abs() / size).max() < 1e-14
        assert (torch.linalg.det(found) > 0).all()
        assert (found[:, 0, 0] >= 1 - 1e-12).all()


@pytest.mark.parametrize(("reflections", "kept"), [(True, True), (False, False)])
def test_parity_of_lgatr(jets, reflections, kept):
    model = make("lgatr", reflections=reflections)
    with torch.no_grad():
        difference = model(moved(jets, torch.diag(torch.tensor([1.0, -1, -1, -1], dtype=torch.float64)))) - model(jets)
    assert bool(difference.abs().max() < 1e-12) == kept


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kind", SCALAR_SETS)
def test_scalars_are_seen_as_chosen(jets, name, kind):
    model = make(name, scalars=kind)
    with torch.no_grad():
        logits = model(jets)
        for column, seen in (("charge", kind != "none"), ("d0val", kind == "full")):
            other = jets.scalars.clone()
            other[..., jets.scalar_names.index(column)] += 0.5
            change = (model(jets.replace(scalars=other * jets.mask[..., None])) - logits).abs().max()
            assert bool(change > 1e-6) == seen


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("beam", ["spacelike", "xyplane"])
def test_references_can_be_left_out_of_a_trained_network(jets, name, beam):
    model = make(name, beam=beam)
    other = model.ablations()["reference vectors"]
    assert max(changes(other, jets).values()) < 1e-9
    assert max(changes(model, jets).values()) > 1e-4
    assert make(name).ablations() == {}


@pytest.mark.parametrize("name", SIZES)
def test_single_precision_is_near_double(jets, name):
    double = make(name, beam="lightlike")(jets)
    single = make(name, torch.float32, beam="lightlike")(jets.to(torch.float32))
    torch.testing.assert_close(single.double(), double, atol=2e-3, rtol=0)


def test_a_call_leaves_nothing_behind(jets):
    model = make("lloca").train()
    model(jets.replace(p4=jets.p4.clone().requires_grad_()))
    attention = model.blocks[0].inner.attention.attention
    assert attention.frames is attention.frames_qkv is attention.frames_out is None


@pytest.mark.parametrize("name", SIZES)
def test_dropout_acts_in_training_only(jets, name):
    model = make(name, dropout=0.5)
    assert torch.equal(model(jets), model(jets))
    assert not torch.equal(model.train()(jets), model(jets))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lgatr", {"beam": "lightlik"}, "LGATr option beam is 'lightlik'; the nearest are 'lightlike'"),
        ("lgatr", {"scalars": "ful"}, "scalars is 'ful'; the nearest are 'full'"),
        ("lgatr", {"heads": 0}, "heads is 0; expected a whole number from 1"),
        ("lgatr", {"dropout": 1.0}, "dropout is 1.0"),
        ("lloca", {"beam": "z"}, "LLoCa option beam is 'z'"),
        ("lloca", {"frames": "so31"}, "frames is 'so31'; the nearest are 'so3', 'so13'"),
        ("lloca", {"blocks": 0}, "blocks is 0; expected a whole number from 1"),
        ("lloca", {"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_impossible_options_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)


@pytest.mark.parametrize("name", SIZES)
def test_a_missing_package_is_named(monkeypatch, name):
    for module in [name, *(loaded for loaded in sys.modules if loaded.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=rf"needs the package '{name}'.*pip install 'jetsym\[equivariant\]'"
    ):
        build(name)


def test_torch_still_compiles_after_lloca_was_imported():
    make("lloca")

    def first(values: torch.Tensor) -> torch.Tensor:
        return torch.index_select(values, dim=0, index=torch.tensor([0]))  # as in metatensor's operations

    assert torch.jit.script(first)(torch.arange(3)).tolist() == [0]
