"""``jetsym.probe`` on models whose symmetry is known, from the outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import DataError, JetsymError, ProbeError
from jetsym.jets.models.pointnet import PointNet
from jetsym.probing.measure.combination import _over_spread
from jetsym.spectrum import O3, Irrep

QUIET = {"progress": False}


class InvariantTagger(nn.Module):
    """A tagger on the scalar products of the four leading momenta: exactly invariant under O(3)."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, jets):
        p = jets.p4[:, :4, 1:] / 100
        return self.head(torch.tanh(self.hidden((p @ p.mT).flatten(1) / 10)))


class BrokenTagger(InvariantTagger):
    """The same, with one momentum component let in by mistake."""

    def forward(self, jets):
        logits = super().forward(jets)
        return logits + 1e-3 * torch.nn.functional.pad(jets.p4[:, 0, 3:] / 100, (0, 2))


@pytest.fixture
def jets(make_jets):
    return make_jets(6, seed=3, dtype=torch.float64, min_particles=4, max_particles=12)


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return PointNet(("QCD", "Tbqq", "Hbb"), width=16, blocks=2, heads=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_invariant_tagger_reads_pure_scalar_at_the_noise_floor(jets, dtype):
    torch.manual_seed(1)
    report = jetsym.probe(InvariantTagger().to(dtype), jets, l_max=2, **QUIET)
    assert report.layers == ("hidden", "logits")
    for row in range(len(report.layers)):
        np.testing.assert_allclose(report.fractions[row, 0], 1, atol=1e-5)
        assert np.abs(report.fractions[row, 1:]).max() <= report.noise_floor[row]
    error = report.equivariance["logits"]
    assert abs(error.relative) <= error.noise_floor
    assert error.noise_floor < {torch.float32: 1e-4, torch.float64: 1e-13}[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_broken_tagger_does_not(jets, dtype):
    torch.manual_seed(1)
    report = jetsym.probe(BrokenTagger().to(dtype), jets, l_max=2, **QUIET)
    assert report.equivariance["logits"].relative > 10 * report.equivariance["logits"].noise_floor
    assert report.layers == ("hidden", "head", "logits")
    assert report.fractions[2, 2] > 10 * report.noise_floor[2]  # (1,+): a vector's component
    assert np.abs(report.fractions[2, 3:]).max() <= report.noise_floor[2]
    assert np.abs(report.fractions[:2, 1:]).max() <= report.noise_floor.max()


def test_the_error_of_a_known_function_in_output_units():
    """f(x) = x_z of unit vectors: A² = ⟨z²⟩ = 1/3; f = 5 + x_z: N = 25 + 1/3."""
    points = O3().sample(10, np.random.default_rng(0))[:, :, 0]
    report = jetsym.probe(lambda x: {"z": x[:, 2], "shifted": 5 + x[:, 2]}, points, l_max=1, **QUIET)
    assert report.equivariance["z"].absolute == pytest.approx(np.sqrt(1 / 3), abs=1e-13)
    assert report.equivariance["z"].relative == pytest.approx(1, abs=1e-13)
    assert report.equivariance["shifted"].absolute == pytest.approx(np.sqrt(1 / 3), abs=1e-13)
    assert report.equivariance["shifted"].relative == pytest.approx(np.sqrt(1 / 3 / (25 + 1 / 3)), abs=1e-13)
    assert report.equivariance["z"].absolute_stderr < 1e-12


def test_the_random_error_is_unbiased_at_few_rotations():
    """A² of x_z is 1/3; the plain variance of four responses would give 1/4."""
    points = O3().sample(3000, np.random.default_rng(8))[:, :, 0]
    report = jetsym.probe(lambda x: x[:, 2], points, group="SO3", n_rotations=4, l_max=1, limit=3000, **QUIET)
    error = report.equivariance["output"]
    assert error.absolute**2 == pytest.approx(1 / 3, abs=4 * 2 * error.absolute * error.absolute_stderr)
    assert error.absolute_stderr < 0.005


def test_the_norm_is_the_mean_over_inputs():
    points = 2 * O3().sample(7, np.random.default_rng(9))[:, :, 0]
    report = jetsym.probe(nn.Sequential(nn.Identity(), nn.Identity()), torch.tensor(points), l_max=1, **QUIET)
    np.testing.assert_allclose(report.norm, 4.0, rtol=1e-12)


def test_what_a_layer_holds_in_padded_tokens_does_not_count(make_jets):
    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, jets):
            return (self.linear(jets.p4 / 100) * jets.mask[..., None]).sum(dim=(1, 2))

    torch.manual_seed(2)
    model = Careless().double()
    jets = make_jets(4, seed=6, dtype=torch.float64, max_particles=9)
    assert jets.n_particles.unique().numel() > 1
    options = {"layers": ["linear"], "outputs": {"sum": "scalar"}, "l_max": 1, **QUIET}
    together = jetsym.probe(model, jets, **options)
    alone = [jetsym.probe(model, jets[place], **options) for place in range(4)]  # one jet has no padding
    np.testing.assert_allclose(together.norm[0], np.mean([report.norm[0] for report in alone]), rtol=1e-12)


def test_the_noise_floor_knows_how_a_model_amplifies_rounding():
    """The mass of a light particle from its energy and momentum, in float32, is mostly rounding."""
    rng = np.random.default_rng(10)
    momentum = 1000 * O3().sample(20, rng)[:, :, 0]
    momenta = np.concatenate([np.sqrt((momentum**2).sum(-1, keepdims=True) + 1), momentum], -1).astype(np.float32)
    report = jetsym.probe(lambda p: p[:, 0] ** 2 - (p[:, 1:] ** 2).sum(-1), momenta, l_max=1, **QUIET)
    error = report.equivariance["output"]
    assert 1e-2 < error.relative <= error.noise_floor


def test_the_error_over_the_spread():
    """f(x) = |x|² + x_z·c: f̄ = |x|² and A² = c²|x|²/3."""
    points = np.random.default_rng(1).normal(size=(50, 3))
    report = jetsym.probe(lambda x: (x**2).sum(-1) + 0.1 * x[:, 2], points, l_max=1, **QUIET)
    squares = (points**2).sum(-1)
    expected = np.sqrt(0.01 * squares.mean() / 3) / squares.std(ddof=1)
    assert report.equivariance["output"].over_spread == pytest.approx(expected, rel=1e-12)


def test_the_error_of_the_error_over_the_spread_is_that_of_leaving_out_inputs():
    points = np.random.default_rng(1).normal(size=(9, 3))

    def over_spread(x):
        report = jetsym.probe(lambda x: (x**2).sum(-1) + 0.1 * x[:, 2], x, l_max=1, **QUIET)
        return report.equivariance["output"]

    left_out = np.array([over_spread(np.delete(points, place, axis=0)).over_spread for place in range(9)])
    expected = np.sqrt(8 / 9 * ((left_out - left_out.mean()) ** 2).sum())
    assert over_spread(points).over_spread_stderr == pytest.approx(expected, rel=1e-10)


def spread_of(rows, owner):
    """The jackknife estimate, over inputs, of the squares of an input's rows about the mean of all rows."""

    def biased(kept):
        those = rows[np.isin(owner, kept)]
        return ((those - those.mean(axis=0)) ** 2).sum() / len(kept)

    inputs = np.unique(owner)
    n = len(inputs)
    return n * biased(inputs) - (n - 1) * np.mean([biased(np.delete(inputs, place)) for place in range(n)])


def test_the_spread_of_inputs_with_several_tokens_is_the_jackknife_over_whole_inputs():
    rng = np.random.default_rng(0)
    counts = np.array([1, 4, 2, 3, 5])
    a2, rows = rng.uniform(1, 2, size=5), rng.normal(size=(15, 2))
    value, stderr = _over_spread(a2, rows, counts, noise=0.0, least=0.0)
    assert value == pytest.approx(np.sqrt(a2.mean() / spread_of(rows, np.repeat(np.arange(5), counts))), rel=1e-12)
    assert 0.1 * value < stderr < value


def test_what_random_rotations_add_to_the_spread_is_taken_off():
    """f(x) = e_z + 0.1 x, with A = 1: a number of rotations blurs f̄ = 0.1 x by as much as a seventh of its spread²."""
    points = np.random.default_rng(0).normal(size=(64, 3))
    options = {"group": "SO3", "outputs": {"output": "vector"}, "l_max": 2, **QUIET}

    def over_spread(**more):
        model = lambda x: 0.1 * x + np.array([0, 0, 1.0])  # noqa: E731
        return jetsym.probe(model, points, **options, **more).equivariance["output"].over_spread

    exact = 1 / (0.1 * np.sqrt(points.var(axis=0, ddof=1).sum()))
    assert over_spread() == pytest.approx(exact, rel=1e-9)
    found = [over_spread(method="random", n_rotations=256, seed=seed) for seed in range(12)]
    assert np.mean(found) == pytest.approx(exact, rel=0.04)  # 0.94 of it without


def test_outputs_that_are_the_same_for_all_inputs_have_no_spread():
    report = jetsym.probe(lambda x: np.ones(len(x)) + 0 * x[:, 0], np.eye(3), l_max=1, **QUIET)
    assert np.isnan(report.equivariance["output"].over_spread)
    assert "It has no spread across inputs that can be told from rounding." in report.sentences()[1]


def test_logits_are_centred_over_classes():
    """A shift common to all classes predicts nothing, so it is no error, however it turns."""
    points = np.random.default_rng(2).normal(size=(5, 3))

    def model(x):
        return np.stack([x[:, 2], x[:, 2] + 1, x[:, 2] - 1], axis=-1)

    error = jetsym.probe(model, points, outputs={"logits": "logits"}, l_max=1, **QUIET).equivariance["logits"]
    assert abs(error.relative) <= error.noise_floor
    assert jetsym.probe(model, points, l_max=1, **QUIET).equivariance["output"].relative > 0.1


def test_layers_of_a_foreign_module_have_their_irreps():
    """A linear layer of a vector is pure (1,+); its squares hold λ = 0 and 2 only, its cubes λ = 1 and 3."""

    class Power(nn.Module):
        def __init__(self, exponent):
            super().__init__()
            self.exponent = exponent

        def forward(self, x):
            return x**self.exponent

    model = nn.Sequential(nn.Linear(3, 5, bias=False), Power(2), nn.Linear(5, 1)).double()
    points = np.random.default_rng(3).normal(size=(4, 3))
    report = jetsym.probe(model, torch.tensor(points), l_max=3, **QUIET)
    present = {
        name: {str(i) for i, b in zip(report.irreps, row, strict=True) if b > 1e-12}
        for name, row in zip(report.layers, report.fractions, strict=True)
    }
    assert present == {"0": {"(1,+)"}, "1": {"(0,+)", "(2,+)"}, "output": {"(0,+)", "(2,+)"}}
    cubes = jetsym.probe(
        nn.Sequential(nn.Linear(3, 5, bias=False), Power(3)).double(), torch.tensor(points), l_max=3, **QUIET
    )
    odd = cubes.fractions[-1]
    assert odd[cubes.irreps.index(Irrep(1, 1))] + odd[cubes.irreps.index(Irrep(3, 1))] == pytest.approx(1, abs=1e-12)


def test_the_spectrum_does_not_depend_on_the_orientation_of_the_jets(tagger, jets):
    """Exact for band-limited layers, and nearly so for these smooth ones, whose tail beyond l_max = 6 is small."""
    rotated = jets.replace(p4=jets.p4.clone(), jet_p4=jets.jet_p4.clone())
    g = torch.tensor(O3().sample(1, np.random.default_rng(4))[0])
    rotated.p4[..., 1:] @= g.T
    rotated.jet_p4[..., 1:] @= g.T
    tagger = tagger.double()
    options = {"layers": ["embedding", "blocks.?"], "l_max": 6, "limit": 1, **QUIET}
    here, there = (jetsym.probe(tagger, each, **options) for each in (jets, rotated))
    np.testing.assert_allclose(here.fractions[:3], there.fractions[:3], atol=2e-6)
    assert here.layers[:3] == ("embedding", "blocks.0", "blocks.1")
    assert np.abs(here.fractions[:, 1:]).max() > 1e-2


def test_padding_and_batches_do_not_matter(tagger, jets, make_jets):
    tagger = tagger.double()
    padded = jets.concatenate(
        [
            jets,
            jets[:1].replace(
                p4=torch.cat([jets[:1].p4] * 3, 1),
                mask=torch.cat([jets[:1].mask] * 3, 1),
                scalars=torch.cat([jets[:1].scalars] * 3, 1),
            ),
        ]
    )[: len(jets)]
    assert padded.max_particles == 3 * jets.max_particles
    reference = jetsym.probe(tagger, jets, l_max=2, **QUIET)
    for inputs, batch_size in ((padded, "auto"), (jets, 1), (jets, 37), (jets, 10_000)):
        other = jetsym.probe(tagger, inputs, l_max=2, batch_size=batch_size, **QUIET)
        np.testing.assert_allclose(other.fractions, reference.fractions, atol=1e-12)
        np.testing.assert_allclose(other.norm, reference.norm, rtol=1e-12)
        assert other.equivariance["logits"].relative == pytest.approx(
            reference.equivariance["logits"].relative, rel=1e-9
        )


def test_random_and_exact_agree(tagger, make_jets):
    many = make_jets(60, seed=5, max_particles=8)
    exact = jetsym.probe(tagger, many, l_max=2, **QUIET)
    random = jetsym.probe(tagger, many, l_max=2, n_rotations=16, seed=1, **QUIET)
    assert random.meta["method"] == "random"
    z = (random.fractions - exact.fractions) / random.stderr
    assert np.abs(z).max() < 4
    a, b = random.equivariance["logits"], exact.equivariance["logits"]
    assert a.relative == pytest.approx(b.relative, abs=4 * a.relative_stderr)


def test_the_noise_floor_covers_float32(tagger, jets):
    single = jetsym.probe(tagger.float(), jets, l_max=2, **QUIET)
    double = jetsym.probe(tagger.double(), jets, l_max=2, **QUIET)
    difference = np.abs(np.sqrt(np.maximum(single.fractions, 0)) - np.sqrt(np.maximum(double.fractions, 0)))
    assert (difference <= np.sqrt(single.noise_floor)[:, None]).all()
    assert single.meta["dtype"] == "float32"
    assert double.meta["dtype"] == "float64"
    assert difference.max() > np.sqrt(double.noise_floor.max())


def test_the_untrained_baseline_is_fresh_and_the_model_is_left_alone(tagger, jets):
    with torch.no_grad():
        for parameter in tagger.parameters():
            parameter.mul_(3)
    before = {name: value.clone() for name, value in tagger.state_dict().items()}
    state = torch.random.get_rng_state()
    report = jetsym.probe(tagger, jets, l_max=1, baseline="untrained", **QUIET)
    assert report.baseline.layers == report.layers
    assert not np.allclose(report.baseline.fractions, report.fractions)
    assert all(torch.equal(before[name], value) for name, value in tagger.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    again = jetsym.probe(tagger, jets, l_max=1, baseline="untrained", **QUIET)
    np.testing.assert_array_equal(again.baseline.fractions, report.baseline.fractions)


def test_so3_does_not_split_parity(tagger, jets):
    report = jetsym.probe(tagger.double(), jets, group="SO3", l_max=2, **QUIET)
    full = jetsym.probe(tagger, jets, group="O3", l_max=2, **QUIET)
    assert [str(irrep) for irrep in report.irreps] == ["(0)", "(1)", "(2)"]
    assert report.meta["evaluations"] * 2 == full.meta["evaluations"]
    assert report.equivariance["logits"].relative > 0


def test_only_a_model_is_needed(tagger):
    report = jetsym.probe(tagger, l_max=0, limit=4, **QUIET)
    assert report.layers == ("embedding", "blocks.0", "blocks.1", "pool", "logits")
    assert report.meta["n_inputs"] == 4
    assert any("d0val" in note for note in report.meta["notes"])


def test_a_foreign_module_through_call_and_action():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, *, vectors):
            return {"out": self.net(vectors)}

    points = np.random.default_rng(6).normal(size=(3, 3))

    def action(inputs, matrices):
        moved = np.einsum("nij,sj->nsi", matrices, inputs)
        return moved.reshape(-1, 3)

    report = jetsym.probe(
        Wrapped(),
        points,
        call=lambda model, x: model(vectors=torch.as_tensor(x).float()),
        action=action,
        l_max=1,
        **QUIET,
    )
    assert report.layers == ("out",)
    assert report.fractions[0, 0] + report.fractions[0, 2] == pytest.approx(1, abs=1e-5)
    assert report.meta["notes"][0] == "The inputs were moved by the caller's own action."
    assert any("Taken as scalars" in note for note in report.meta["notes"])


def test_numpy_inputs_reach_a_torch_module_as_tensors_of_its_dtype():
    points = np.random.default_rng(6).normal(size=(3, 3))
    report = jetsym.probe(nn.Linear(3, 2), points, l_max=1, **QUIET)
    assert report.meta["dtype"] == "float32"
    assert report.equivariance["output"].noise_floor > 1e-8


def test_several_input_arrays_move_together():
    rng = np.random.default_rng(7)
    vectors, momenta = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 4))

    def model(v, p):
        return {"product": np.einsum("bi,bi->b", v[:, 0], p[:, 1:]), "energy": p[:, 0]}

    report = jetsym.probe(model, (vectors, momenta), moves={"v": "vector", 1: "four-vector"}, l_max=1, **QUIET)
    for error in report.equivariance.values():
        assert abs(error.relative) <= error.noise_floor


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"l_max": -1}, ProbeError, "l_max is -1"),
        ({"l_max": 2.5}, ProbeError, "l_max is 2.5; expected 'auto' or an integer"),
        ({"l_max": "many"}, ProbeError, "l_max is 'many'; expected 'auto'"),
        ({"l_max": 60}, ProbeError, "degree 120.*lower l_max"),
        ({"l_max": "auto", "method": "random"}, ProbeError, "give a number"),
        ({"l_max": "auto", "tolerance": 0}, ProbeError, "tolerance is 0"),
        ({"l_max": 3, "method": "icosahedral"}, ProbeError, "l_max is 3.*icosahedral"),
        ({"group": "SO2", "method": "icosahedral"}, ProbeError, "several axes"),
        ({"group": 3}, ProbeError, "group is 3"),
        ({"axis": "z"}, ProbeError, "take the group 'SO2'"),
        ({"group": "SO2", "axis": "beem"}, ProbeError, "axis is 'beem'.*'beam'"),
        ({"group": "SO2", "axis": [0, 0, 0]}, ProbeError, "not all zero"),
        ({"group": "SO2", "axis": ["a", "b", "c"]}, ProbeError, "axis|could not convert"),
        ({"limit": "all"}, ProbeError, "limit is 'all'"),
        ({"seed": -1, "n_rotations": 4}, ProbeError, "seed is -1"),
        ({"device": "gpu"}, ProbeError, "device is 'gpu'.*'cpu'"),
        ({"outputs": 3}, ProbeError, "outputs is 3"),
        ({"inputs": np.ones((3, 4), dtype=int)}, ProbeError, "dtype int64"),
        ({"inputs": np.ones((3, 4), dtype=np.longdouble)}, ProbeError, "dtype (longdouble|float128)"),
        ({"group": "O2"}, ProbeError, "group is 'O2'.*'O3'"),
        ({"method": "quadratur"}, ProbeError, "'quadrature'"),
        ({"method": "quadrature", "n_rotations": 4}, ProbeError, "method='random'"),
        ({"n_rotations": 2}, ProbeError, "n_rotations is 2; expected an integer ≥ 3"),
        ({"limit": 0}, ProbeError, "limit is 0"),
        ({"batch_size": 0}, ProbeError, "batch_size is 0"),
        ({"batch_size": "big"}, ProbeError, "batch_size is 'big'"),
        ({"n_draws": 1}, ProbeError, "n_draws is 1; expected an integer ≥ 2"),
        ({"baseline": "trained"}, ProbeError, "baseline is 'trained'; expected 'untrained'"),
        ({"layers": "block.0"}, ProbeError, "matches no module of PointNet.*'blocks.0'"),
        ({"layers": ["pool", "nothing*"]}, ProbeError, r"nothing\*"),
        ({"outputs": {"a": "scalar", "b": "scalar"}}, ProbeError, "no output 'a'"),
        ({"outputs": {"logits": "vectr"}}, ProbeError, "said to be 'vectr'.*'logits', 'scalar'"),
        ({"inputs": [1, 2]}, ProbeError, "inputs of type list"),
        ({"inputs": "nowhere.root"}, DataError, "nowhere.root"),
        ({"inputs": np.ones((3, 5))}, ProbeError, r"shape \(\d, 5\)"),
    ],
)
def test_what_cannot_be_used_is_refused(tagger, jets, options, kind, message):
    inputs = options.pop("inputs", jets)
    with pytest.raises(kind, match=message):
        jetsym.probe(tagger, inputs, **{**QUIET, "l_max": 1, **options})


def test_bad_jets_are_refused(tagger, jets):
    with pytest.raises(DataError, match="no jets"):
        jetsym.probe(tagger, jets[:0], **QUIET)
    empty = jets.replace(mask=jets.mask & (torch.arange(len(jets)) != 2)[:, None])
    with pytest.raises(DataError, match="1 jets have no particles .*jet 2"):
        jetsym.probe(tagger, empty, **QUIET)
    p4 = jets.p4.clone()
    p4[1, 0, 2] = torch.nan
    with pytest.raises(DataError, match="NaN or infinite momenta"):
        jetsym.probe(tagger, jets.replace(p4=p4), **QUIET)


def test_a_model_that_gives_nan_is_named(jets):
    class Nan(nn.Module):
        def __init__(self):
            super().__init__()
            self.good, self.bad = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.good(x.p4[:, 0]) + self.bad(x.p4[:, 0] * torch.inf)

    with pytest.raises(ProbeError, match="'bad' cannot be measured.*not finite"):
        jetsym.probe(Nan(), jets, l_max=1, **QUIET)


@pytest.mark.parametrize(("model", "message"), [(3, "model is a int"), ("nowhere", "nowhere")])
def test_what_is_no_model_is_refused(model, message, jets):
    with pytest.raises(JetsymError, match=message):
        jetsym.probe(model, jets, **QUIET)


def test_a_model_without_outputs_is_refused():
    with pytest.raises(ProbeError, match="returned dict, which holds no floating-point array"):
        jetsym.probe(lambda x: {}, np.ones((3, 3)), **QUIET)


def test_half_precision_modules_are_measured(tagger, jets):
    """The floor is that of bfloat16, whatever the momenta are; what takes nothing but bfloat16 is given that."""
    report = jetsym.probe(tagger.to(torch.bfloat16), jets[:2], l_max=1, **QUIET)
    assert report.meta["dtype"] == "float64"  # of the jets, which the tagger takes as they are
    assert report.equivariance["logits"].noise_floor > 1e-3
    plain = jetsym.probe(nn.Linear(3, 2).to(torch.bfloat16), torch.randn(8, 3), l_max=1, **QUIET)
    assert plain.meta["dtype"] == "bfloat16"
    assert "The inputs were converted from float32 to bfloat16, which the model takes." in plain.meta["notes"]


def test_a_callable_has_no_layers():
    with pytest.raises(ProbeError, match="only torch modules have layers"):
        jetsym.probe(lambda x: x[:, 0], np.ones((2, 3)), layers=["a"], **QUIET)
    with pytest.raises(ProbeError, match="holds no floating-point array"):
        jetsym.probe(lambda x: "text", np.ones((2, 3)), **QUIET)
    with pytest.raises(ProbeError, match="needs a torch module"):
        jetsym.probe(lambda x: x[:, 0], np.ones((2, 3)), baseline="untrained", **QUIET)
    with pytest.raises(ProbeError, match="along its first axis"):
        jetsym.probe(lambda x: x.sum(0), np.ones((2, 3)), **QUIET)


@pytest.mark.parametrize(
    ("model", "kind", "dtype"),
    [
        (lambda x: x[:, 0, 2], "scalar", "float64"),
        (lambda x: np.linalg.det(x[:, :3]), "scalar", "float64"),
        (lambda x: np.linalg.norm(x[:, :3], axis=-1), "vector", "float64"),
        (lambda x: 1 + x[:, 0, 2], "logits", "float64"),
        (lambda x: x[:, 0, 2], "scalar", "float32"),
    ],
)
def test_what_sums_over_the_orbit_leave_of_zero_is_no_spread(model, kind, dtype):
    """f̄ is zero, or one constant, for all inputs: A over the spread read 1e15 where rounding was the spread."""
    points = np.random.default_rng(1).normal(size=(16, 4, 3)).astype(dtype)
    report = jetsym.probe(model, points, outputs={"o": kind}, l_max=3, **QUIET)
    assert report.equivariance["o"].relative > 0.1
    assert np.isnan(report.equivariance["o"].over_spread)
    assert "It has no spread across inputs that can be told from rounding." in str(report)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "boost", "n_rotations": 8}, "n_rotations is 8, but n_rotations goes with rotations"),
        ({"group": "boost", "method": "random"}, "method is 'random', but method goes with rotations"),
    ],
)
def test_a_choice_of_rotations_is_refused_where_there_are_none(options, said):
    momenta = np.random.default_rng(0).normal(size=(4, 3, 4))
    momenta[..., 0] = 1 + np.linalg.norm(momenta[..., 1:], axis=-1)
    with pytest.raises(ProbeError) as error:
        jetsym.probe(lambda p: p[:, 0, 0], momenta, l_max=1, **options, **QUIET)
    assert said in str(error.value)


def test_options_of_other_groups_may_stand_there():
    points = np.random.default_rng(0).normal(size=(4, 3, 3))
    plain, others = (
        jetsym.probe(lambda p: p[:, 0, 0], points, l_max=1, **options, **QUIET)
        for options in ({}, {"widths": [3.0], "distribution": "normal", "n_draws": 3, "tolerance": 0.5})
    )
    assert others.equivariance["output"].relative == plain.equivariance["output"].relative
