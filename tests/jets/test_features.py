"""Features against an independent oracle in numpy, their edges, and that they follow the momenta."""

from functools import partial

import numpy as np
import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import (
    CARTESIAN_FEATURES,
    FULL_FEATURES,
    KINEMATIC_FEATURES,
    KINPID_FEATURES,
    angular_points,
    cartesian_features,
    full_features,
    invariant_features,
    kinematic_features,
    kinpid_features,
)
from jetsym.jets.moves.actions import boost, rotate, transform
from jetsym.jets.moves.sampling import random_rotations

ALL = {
    "kin": (kinematic_features, KINEMATIC_FEATURES),
    "full": (full_features, FULL_FEATURES),
    "rapidity": (partial(kinematic_features, angles="rapidity"), KINEMATIC_FEATURES),
    "cartesian": (cartesian_features, CARTESIAN_FEATURES),
    "invariant": (partial(invariant_features, gaussians=3), ("at 0", "at 6", "at 12", "with the jet")),
}
every_set = pytest.mark.parametrize(("features", "names"), ALL.values(), ids=ALL)


def oracle(jets: JetBatch) -> dict[str, np.ndarray]:
    """The 17 features by rapidity-free trigonometry in float64: η from the polar angle, Δφ from a complex phase."""
    energy, px, py, pz = np.moveaxis(jets.p4.double().numpy(), -1, 0)
    jet_energy, jet_px, jet_py, jet_pz = (column[:, None] for column in jets.jet_p4.double().numpy().T)

    def pseudorapidity(x, y, z):
        return -np.log(np.tan(np.arctan2(np.sqrt(x**2 + y**2), z) / 2))

    scalars = dict(zip(jets.scalar_names, np.moveaxis(jets.scalars.double().numpy(), -1, 0), strict=True))
    with np.errstate(all="ignore"):
        pt, jet_pt = np.sqrt(px**2 + py**2), np.sqrt(jet_px**2 + jet_py**2)
        jet_eta = pseudorapidity(jet_px, jet_py, jet_pz)
        deta = pseudorapidity(px, py, pz) - jet_eta
        dphi = np.angle((px + 1j * py) * np.conj(jet_px + 1j * jet_py))
        columns = {
            "pt_log": (np.log(pt) - 1.7) * 0.7,
            "e_log": (np.log(energy) - 2.0) * 0.7,
            "logptrel": (np.log(pt / jet_pt) + 4.7) * 0.7,
            "logerel": (np.log(energy / jet_energy) + 4.7) * 0.7,
            "deltaR": (np.sqrt(deta**2 + dphi**2) - 0.2) * 4.0,
            "d0": np.tanh(scalars["d0val"]),
            "d0err": np.clip(scalars["d0err"], 0, 1),
            "dz": np.tanh(scalars["dzval"]),
            "dzerr": np.clip(scalars["dzerr"], 0, 1),
            "deta": deta * np.sign(jet_eta),
            "dphi": dphi,
        } | {name: scalars[name] for name in jets.scalar_names if name == "charge" or name.startswith("is")}
    return {name: np.where(jets.mask.numpy(), np.clip(column, -5, 5), 0.0) for name, column in columns.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("kind", ["kin", "full"])
def test_standard_features_agree_with_the_oracle(make_jets, kind, dtype, tolerance):
    features, names = ALL[kind]
    jets = make_jets(40, seed=1, dtype=dtype)
    values, expected = features(jets), oracle(jets)
    assert values.dtype == dtype
    assert values.shape == (*jets.mask.shape, len(names))
    for column, name in enumerate(names):
        np.testing.assert_allclose(values[..., column], expected[name], atol=tolerance, err_msg=name)


def test_azimuth_wraps_at_pi():
    axis = torch.tensor([[100.0, -100.0 * np.cos(0.1), 100.0 * np.sin(0.1), 0.0]], dtype=torch.float64)
    particle = torch.tensor([[[10.0, -10.0 * np.cos(0.1), -10.0 * np.sin(0.1), 0.0]]], dtype=torch.float64)
    jets = JetBatch(particle, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, 10, dtype=torch.float64), axis)
    dphi = kinematic_features(jets)[0, 0, KINEMATIC_FEATURES.index("dphi")]
    assert dphi == pytest.approx(0.2)


def test_deta_is_mirrored_with_the_jet(make_jets):
    """Reflecting z changes the signs of η and of the jet's η, and so nothing."""
    jets = make_jets(10, dtype=torch.float64)
    mirrored = rotate(jets, torch.diag(torch.tensor([1.0, 1.0, -1.0]))[None])
    torch.testing.assert_close(kinematic_features(mirrored), kinematic_features(jets), atol=1e-12, rtol=0)


def test_angles_without_the_sign_and_with_rapidity(make_jets):
    """Each option changes what it says: the sign, or η to y, of which only differences of y survive boosts."""
    jets = make_jets(20, dtype=torch.float64)
    sign = torch.where(jets.jet_p4[:, 3:] < 0, -1.0, 1.0)
    field, unsigned = angular_points(jets), angular_points(jets, angles="unsigned")
    torch.testing.assert_close(unsigned[..., 0], sign * field[..., 0])
    torch.testing.assert_close(unsigned[..., 1], field[..., 1])

    def separations(angles):
        moved = boost(jets, torch.tensor([1.0]), "beam")
        before, after = (angular_points(some, angles=angles)[..., 0].abs() for some in (jets, moved))
        return (after - before).abs().max()

    assert separations("rapidity") < 1e-9
    assert separations("field") > 1e-3
    assert separations("unsigned") > 1e-3
    for features in (kinematic_features, kinpid_features, full_features):
        names = {7: KINEMATIC_FEATURES, 13: KINPID_FEATURES, 17: FULL_FEATURES}[features(jets).shape[-1]]
        deta = names.index("deta")
        expected = angular_points(jets, angles="rapidity")[..., 0]
        torch.testing.assert_close(features(jets, angles="rapidity")[..., deta], expected)


def test_cartesian_vectors_rotate_and_scalars_stay(make_jets):
    jets = make_jets(10, dtype=torch.float64)
    element = -random_rotations(1, generator=torch.Generator().manual_seed(3))
    before, after = cartesian_features(jets), cartesian_features(rotate(jets, element))
    for start in (0, 3, 6):
        vectors = before[..., start : start + 3]
        assert vectors.abs().max() > 0.1
        torch.testing.assert_close(after[..., start : start + 3], vectors @ element[0].mT, atol=1e-12, rtol=0)
    torch.testing.assert_close(after[..., 9:], before[..., 9:], atol=1e-12, rtol=0)


def test_cartesian_vectors_by_hand():
    p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]], dtype=torch.float64)
    axis = torch.tensor([[500.0, 0.0, 0.0, 250.0]], dtype=torch.float64)
    jets = JetBatch(p4, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, 10, dtype=torch.float64), axis)
    expected = np.concatenate([np.array([0.6, 0, 0.8]) * np.log(6) / 4, [0.6, 0, 0.8], [1.2, 0, -0.4]])
    np.testing.assert_allclose(cartesian_features(jets)[0, 0, :9], expected, atol=1e-14)
    columns = dict(zip(CARTESIAN_FEATURES, cartesian_features(jets)[0, 0].tolist(), strict=True))
    assert columns["e_log"] == pytest.approx((np.log(5) - 2) * 0.7)
    assert columns["logerel"] == pytest.approx((np.log(0.01) + 4.7) * 0.7)


def test_invariants_are_counts_of_minkowski_products(make_jets):
    """Against products as they are defined, in float64 where these lose no digits that matter."""
    jets = make_jets(10, seed=1, dtype=torch.float64, max_particles=8)
    p4, mask = jets.p4.numpy(), jets.mask.numpy()
    metric = np.diag([1.0, -1, -1, -1])
    x = np.log1p(np.einsum("bia,ac,bjc->bij", p4, metric, p4).clip(0))
    gaussians = np.exp(-((x[..., None] - np.array([0, 4, 8, 12.0])) ** 2) / (2 * 3.0**2))
    counts = np.log1p(np.where((mask[:, None, :] & ~np.eye(8, dtype=bool))[..., None], gaussians, 0).sum(2))
    with_jet = np.log1p(np.einsum("bia,ac,bc->bi", p4, metric, jets.jet_p4.numpy()).clip(0)) / 4
    expected = np.where(mask[..., None], np.concatenate([counts, with_jet[..., None]], axis=-1), 0)
    np.testing.assert_allclose(invariant_features(jets, 4), expected, atol=1e-7)
    assert expected.std(axis=(0, 1)).min() > 0.05


def test_invariants_stay_under_lorentz_transformations(make_jets):
    """A turn, a mirror image, a boost, and both at once."""
    jets = make_jets(10, seed=1, dtype=torch.float64)
    before = invariant_features(jets, 8)
    turn = random_rotations(1, generator=torch.Generator().manual_seed(3))
    both = torch.zeros(1, 4, 4, dtype=torch.float64)
    both[0, 0, 1:] = both[0, 1:, 0] = torch.tensor([0.3, -0.4, 0.5])
    both[0, 1, 2], both[0, 2, 1] = 0.8, -0.8
    for moved in (
        rotate(jets, turn),
        rotate(jets, -turn),
        boost(jets, torch.tensor([0.7], dtype=torch.float64), "beam"),
        transform(jets, torch.linalg.matrix_exp(both)),
    ):
        assert (moved.p4 - jets.p4).abs().max() > 1
        torch.testing.assert_close(invariant_features(moved, 8), before, atol=1e-8, rtol=0)


def test_invariants_of_massless_and_collinear_particles_in_float32():
    """Products of E E′ (1 − cos θ), and none along one line: naive sums in float32 would miss them by 0.1 GeV²."""
    energies, angles = torch.tensor([1024.0, 512.0, 256.0]), torch.tensor([0.0, 0.0, 1e-3], dtype=torch.float64)
    directions = torch.stack([angles.cos(), angles.sin(), 0 * angles], dim=-1)
    p4 = torch.cat([torch.ones(3, 1), directions], dim=-1)[None].float() * energies[:, None]
    jets = JetBatch(p4, torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, 10), p4[:, 0])
    product = (energies[:2].double() * 256 * (1 - np.cos(1e-3))).log1p()  # with the third, of the first and second
    near = torch.exp(-((product - torch.tensor([[0.0], [12.0]])) / 6).square() / 2)
    expected = torch.log1p(torch.stack([1.0 + near[0], np.exp(-2.0) + near[1]], dim=-1))  # of each other it is zero
    torch.testing.assert_close(invariant_features(jets, 2)[0, :2, :2].double(), expected, atol=2e-6, rtol=0)
    alone = JetBatch(p4[:, :1], jets.mask[:, :1], jets.scalars[:, :1], jets.jet_p4)
    assert (invariant_features(alone, 2) == 0).all()


@every_set
def test_features_follow_the_momenta_and_not_the_stored_columns(make_jets, features, names):
    jets = make_jets(6)
    stored = {"part_deta": torch.zeros(6), "part_dphi": torch.zeros(6)}
    torch.testing.assert_close(features(jets.replace(columns=stored)), features(jets))
    moved = rotate(jets, random_rotations(1, generator=torch.Generator().manual_seed(0)))
    change = (features(moved) - features(jets)).abs().amax(dim=(0, 1))
    moving = {
        "pt_log",
        "logptrel",
        "deltaR",
        "deta",
        "dphi",
        *(name for name in names if name[-2:] in ("_x", "_y", "_z")),
    }
    assert {name for name, size in zip(names, change.tolist(), strict=True) if size > 0.05} == moving & set(names)


@every_set
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_are_finite_with_finite_derivatives(features, names, dtype):
    """Particles at rest, without energy, along the beam, on the axis, huge, and rubbish in the padding."""
    p4 = torch.tensor(
        [
            [[0.0, 0, 0, 0], [5, 0, 0, 5], [5, 0, 0, -5], [1e-20, 1e-20, 0, 0]],
            [[50.0, 30, 0, 40], [1e7, 1e7, 0, 0], [1.0, 0, 0, 0], [torch.nan, torch.inf, 0, 0]],
            [[0.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        ],
        dtype=dtype,
        requires_grad=True,
    )
    mask = torch.tensor([[True] * 4, [True] * 3 + [False], [False] * 4])
    axis = torch.tensor([[10.0, 0, 0, 10], [50, 30, 0, 40], [0, 0, 0, 0]], dtype=dtype, requires_grad=True)
    scalars = torch.full((3, 4, 10), 1e6, dtype=dtype)
    jets = JetBatch(p4, mask, scalars, axis)
    values = features(jets)
    assert values.isfinite().all()
    assert (values[~mask] == 0).all()
    values.square().sum().backward()
    assert p4.grad.isfinite().all()
    assert axis.grad.isfinite().all()
    assert (p4.grad[~mask] == 0).all()


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch, on its first JVP
@every_set
def test_forward_and_reverse_derivatives_agree(make_jets, features, names):
    jets = make_jets(2, dtype=torch.float64, max_particles=4)
    direction = torch.randn(jets.p4.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def of_momenta(p4):
        return features(jets.replace(p4=p4))

    _, forward = torch.func.jvp(of_momenta, (jets.p4,), (direction,))
    _, pullback = torch.func.vjp(of_momenta, jets.p4)
    torch.testing.assert_close((pullback(forward)[0] * direction).sum(), forward.square().sum())
    step = 1e-6
    numeric = (of_momenta(jets.p4 + step * direction) - of_momenta(jets.p4 - step * direction)) / (2 * step)
    torch.testing.assert_close(forward, numeric, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("features", [full_features, cartesian_features])
def test_a_missing_scalar_is_named(make_jets, features):
    jets = make_jets(3)
    renamed = jets.replace(scalar_names=("Charge", *jets.scalar_names[1:]))
    with pytest.raises(DataError, match="no scalar 'charge', of which features are made; the nearest are 'Charge'"):
        features(renamed)


def test_kinematics_of_real_jets_are_the_stored_ones(real_data):
    """On JetClass's own jets the recomputed Δη, Δφ are those that the file stores."""
    import uproot

    from jetsym.jets import read

    path = real_data / "jetclass" / "jetclass_kin_500.root"
    jets = read(path, max_particles=64)
    values = kinematic_features(jets)
    with uproot.open(path) as file:
        stored = file["tree"].arrays(["part_deta", "part_dphi"], library="np")
    for name in ("deta", "dphi"):
        column = values[..., KINEMATIC_FEATURES.index(name)]
        expected = np.concatenate([row[:64] for row in stored[f"part_{name}"]])
        np.testing.assert_allclose(column[jets.mask], expected, atol=2e-5)
