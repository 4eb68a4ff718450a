"""Every failure mode fires on a model that was built to have it, and stays silent on its clean twin."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ConfigError, DataError, ProbeError
from jetsym.probing.diagnosis.modes import MODES
from jetsym.probing.diagnosis.thresholds import Thresholds
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.diagnosis import Diagnosis
from jetsym.probing.reports.significance import quantile
from jetsym.spectrum import O3, Irrep
from jetsym.testing.spectra import known_modes, known_spectrum

QUIET = {"progress": False}
#: Shares of features as a network has them that is well: something of everything, falling with λ.
WELL = {Irrep(0, 1): 0.5, Irrep(1, 1): 0.3, Irrep(2, 1): 0.1, Irrep(0, -1): 0.05, Irrep(1, -1): 0.05}


class Known(nn.Module):
    """A layer whose spectrum is prescribed: a function of frames (samples, 3, 3) of three vectors as rows."""

    def __init__(self, powers: dict[Irrep, float], seed: int, features: int = 3):
        super().__init__()
        self.function = known_spectrum(powers, features=features, rng=np.random.default_rng(seed))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.function(frames.numpy().swapaxes(-1, -2)))


class Staged(nn.Module):
    """Layers of known spectra, and an output that is a function of the frames."""

    def __init__(self, *layers: dict[Irrep, float], head: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.layers = nn.ModuleList(Known(powers, seed) for seed, powers in enumerate(layers))
        self.head = head

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            layer(frames)
        return self.head(frames)


def frames(n: int = 8) -> np.ndarray:
    """Triples of vectors, orthonormal up to a length that differs between inputs."""
    return O3().sample(n, np.random.default_rng(0))


def lengths(x: torch.Tensor) -> torch.Tensor:
    """An invariant."""
    return (x**2).sum((-1, -2))


def vector(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def traceless(x: torch.Tensor) -> torch.Tensor:
    outer = x[:, 0, :, None] * x[:, 0, None, :]
    return outer - torch.eye(3) / 3


def handed(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.det(x)


def staged(*layers, head=vector, kind="vector", n=8, **options):
    """A report on layers of known spectra, that says the output is read from the last one by a linear map."""
    options = {"l_max": 3, **QUIET, **options}
    report = jetsym.probe(Staged(*layers, head=head), frames(n), outputs={"output": kind}, **options)
    names = [f"layers.{place}" for place in range(len(layers))]
    chain = {"through": dict.fromkeys(names, 1.0), "readout": {names[-1]: 1.0}, "nonlinear": {names[-1]: 0.0}}
    dependence = {"embeddings": names[:1], "outputs": {"output": {**chain, "past": 0.0}}}
    return replace(report, meta={**report.meta, "dependence": dependence})


def function(model, kind, n=8, **options):
    points = np.random.default_rng(1).normal(size=(n, 3))
    return jetsym.probe(model, points, outputs={"output": kind}, **{"l_max": 3, **QUIET, **options})


def without(*irreps: Irrep) -> dict[Irrep, float]:
    return {irrep: power for irrep, power in WELL.items() if irrep not in irreps}


LINEAR = {Irrep(0, 1): 0.4, Irrep(1, 1): 0.6}
ODD = {irrep: power for irrep, power in WELL.items() if irrep.sigma == 1}


def starved():
    return staged(WELL, {**without(Irrep(1, 1)), Irrep(1, 1): 1e-4})


def fed():
    return staged(WELL, {**without(Irrep(1, 1)), Irrep(1, 1): 1e-2})


def narrow():
    return staged(LINEAR, WELL, head=lambda x: 1.1 * traceless(x) + 0.1 * torch.eye(3)[2] * x[:, :1, 2:], kind="rank2")


def wide():
    return staged(WELL, WELL, head=traceless, kind="rank2")


def saturated():
    return staged(WELL, {Irrep(0, 1): 0.5, Irrep(3, 1): 0.3, Irrep(5, 1): 0.2}, method="random", n_rotations=64, n=32)


def resolved():
    return staged(WELL, {Irrep(0, 1): 0.5, Irrep(1, 1): 0.3, Irrep(3, 1): 0.2})


def leaking():
    return function(lambda x: x + 0.3 * np.linalg.norm(x, axis=-1, keepdims=True) * np.array([0, 0, 1.0]), "vector")


def tight():
    return function(lambda x: x + 0.003 * np.linalg.norm(x, axis=-1, keepdims=True) * np.array([0, 0, 1.0]), "vector")


def misaligned():
    return function(lambda x: x * np.array([1.0, 1.2, 1.6]), "vector")


def aligned():
    return function(lambda x: x * np.array([1.0, 1.003, 1.006]), "vector")


def contaminated():
    return staged(WELL, WELL, head=lambda x: x[:, 0] + 0.3 * torch.linalg.cross(x[:, 0], x[:, 1]))


def clean():
    return staged(WELL, WELL, head=lambda x: x[:, 0] + 0.003 * torch.linalg.cross(x[:, 0], x[:, 1]))


def blind():
    return staged(ODD, ODD, head=lambda x: 0.1 + lengths(x), kind="pseudoscalar")


def sighted():
    return staged(WELL, WELL, head=handed, kind="pseudoscalar")


def collapsed():
    return staged({**WELL, Irrep(0, 1): 0.1}, {**WELL, Irrep(0, 1): 0.1}, head=lengths, kind="scalar")


def gradual():
    return staged({**WELL, Irrep(0, 1): 0.1}, {**WELL, Irrep(0, 1): 4.0}, head=lengths, kind="scalar")


def tilted(amount: float):
    return function(lambda x: x + amount * np.array([0, 0, 1.0]), "vector", n=32)


def few():
    return staged(WELL, WELL, n=1)


def enough():
    return staged(WELL, WELL)


def locked():
    modes = known_modes({0: 1.0, 1: 0.1}, rng=np.random.default_rng(0))
    return function(lambda x: modes(x).sum(-1), "scalar", group="SO2")


def free():
    modes = known_modes({0: 1.0, 1: 1e-6}, rng=np.random.default_rng(0))
    return function(lambda x: modes(x).sum(-1), "scalar", group="SO2")


def rounded(dtype=np.float32):
    """The mass of a light particle in float32 is mostly rounding."""
    momentum = 1000 * O3().sample(20, np.random.default_rng(10))[:, :, 0]
    momenta = np.concatenate([np.sqrt((momentum**2).sum(-1, keepdims=True) + 1), momentum], -1).astype(dtype)
    return jetsym.probe(lambda p: p[:, 0] ** 2 - (p[:, 1:] ** 2).sum(-1), momenta, l_max=2, **QUIET)


#: Mode -> (a report that shows it, one of the clean twin), made once.
PAIRS: dict[str, tuple[Callable, Callable]] = {
    "starvation": (starved, fed),
    "bottleneck": (narrow, wide),
    "saturation": (saturated, resolved),
    "leakage": (leaking, tight),
    "misalignment": (misaligned, aligned),
    "parity-contamination": (contaminated, clean),
    "parity-blindness": (blind, sighted),
    "frame-locking": (locked, free),
    "late-collapse": (collapsed, gradual),
    "drift": (lambda: tilted(0.3), lambda: tilted(0.002)),
    "under-resolved": (few, enough),
    "hidden-by-rounding": (rounded, lambda: rounded(np.float64)),
}


@pytest.fixture(scope="module")
def diagnoses():
    """Mode -> what is found in the model that has it, and in its twin."""
    past = [tilted(0.5), tilted(0.1), tilted(0.2)]
    options = {"drift": {"history": past}}
    return {
        mode: [jetsym.diagnose(report(), **options.get(mode, {})) for report in pair] for mode, pair in PAIRS.items()
    }


def test_there_is_a_pair_for_every_mode():
    assert set(PAIRS) == set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_it_fires(diagnoses, mode):
    ill, _ = diagnoses[mode]
    assert mode in ill
    finding = next(item for item in ill if item.name == mode)
    assert finding.evidence
    assert finding.evidence[0].value == finding.evidence[0].value
    assert finding.text.endswith(".")
    assert finding.why
    assert finding.remedy


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("twin", MODES)
def test_it_is_silent_on_every_clean_twin(diagnoses, mode, twin):
    assert mode not in diagnoses[twin][1], str(diagnoses[twin][1])


@pytest.mark.parametrize("mode", MODES)
def test_nothing_else_is_found_where_one_thing_is_wrong(diagnoses, mode):
    """Besides what follows: who is blind answers mirror images alike, what drifts or lacks λ = 2 leaks."""
    also = {
        "parity-blindness": {"parity-contamination"},
        "drift": {"leakage"},
        "bottleneck": {"leakage"},
    }
    assert diagnoses[mode][0].names == {mode} | also.get(mode, set())


def test_evidence_stands_beside_the_untrained_copy():
    """A network of vectors alone cannot hold a scalar; its findings name the same numbers before training."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 1)).double()
    report = function(net, "scalar", n=24, baseline="untrained")
    found = next(item for item in jetsym.diagnose(report) if item.name == "leakage")
    untrained = report.baseline.equivariance["output"]
    assert (
        found.evidence[0].value
        == report.equivariance["output"].leakage - (report.equivariance["output"].error_spectrum["(0,−)"])
    )
    assert found.evidence[0].untrained == untrained.leakage
    assert found.evidence[1].untrained == untrained.relative
    assert "training has" in found.text
    other = jetsym.diagnose(replace(report, baseline=None), baseline=report.baseline)
    assert [item.evidence[0].untrained for item in other] == [
        item.evidence[0].untrained for item in jetsym.diagnose(report)
    ]


def test_the_bottleneck_of_a_linear_embedding():
    """A real network: Linear makes no λ ≥ 2 of a vector, and a product of its features does."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.body, self.head = nn.Linear(3, 8), nn.Bilinear(8, 8, 8), nn.Linear(8, 9)

        def forward(self, x):
            h = self.embed(x)
            return self.head(self.body(h, h)).reshape(-1, 3, 3)

    torch.manual_seed(0)
    found = jetsym.diagnose(function(Net().double(), "rank2", n=24))
    item = next(item for item in found if item.name == "bottleneck")
    assert (item.subject, item.severity) == ("embed", "problem")
    assert "first appears in body" in item.text
    assert item.irreps[0] == "(2,+)"


def exact(embed, *, head=None):
    """Vectors, their products, and the trace or the products themselves: exact at every step."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix, self.products = (
                nn.Linear(4, 8, bias=False),
                nn.Linear(8, 3, bias=False),
                nn.Identity(),
            )

        def forward(self, x):
            v = self.mix(self.embed(x.mT))
            h = self.products(v @ v.mT)
            return h if head is None else head(v if embed else h)

    return Net().double()


@pytest.mark.parametrize(
    ("kind", "net"),
    [
        ("rank2", exact(False)),
        ("scalar", exact(False, head=lambda h: h.diagonal(dim1=-2, dim2=-1).sum(-1))),
        ("scalar", exact(True, head=lambda v: (v**2).sum((-1, -2)))),
        ("vector", exact(True, head=lambda v: v[..., 0] * (v**2).sum((-1, -2))[:, None])),
    ],
)
@pytest.mark.parametrize("n", [8, 24])
def test_exact_products_of_tensors_are_no_bottleneck(kind, net, n):
    """No layer of vectors holds λ ≥ 2 or (0,+), and nothing is wrong with that; a twin that breaks is found."""
    points = np.random.default_rng(2).normal(size=(n, 4, 3))
    found = jetsym.diagnose(jetsym.probe(net, points, outputs={"y": kind}, **QUIET))
    assert not found.names & {"bottleneck", "starvation", "leakage", "misalignment"}
    assert {item.severity for item in found if item.name != "under-resolved"} <= {"note"}


@pytest.mark.parametrize("n", [1, 4, 7, 8])
def test_few_inputs_say_that_they_keep_findings_from_being_grave(n):
    found = jetsym.diagnose(function(lambda x: x[:, 2] + 0.1, "scalar", n=n))
    words = f"Of {n} input{'s' * (n > 1)}, fewer than 8, no finding is called more than a note"
    for said in (" ".join(str(found).split()), " ".join(found.sentences()), found.page()):
        assert (words in said) == (n < 8)


@pytest.mark.parametrize("n", [2, 4])
def test_few_inputs_make_no_problem(n):
    """What breaks altogether is a note of few inputs, and what they cannot tell is not looked for."""
    found = jetsym.diagnose(function(lambda x: x[:, 2] + 0.1, "scalar", n=n))
    assert {item.severity for item in found if item.name != "under-resolved"} <= {"note"}
    assert {"starvation", "bottleneck", "late-collapse", "parity-blindness"} <= set(found.not_judged)
    sure = jetsym.diagnose(function(lambda x: x[:, 2] + 0.1, "scalar", n=16))
    assert ("leakage", "problem") in [(item.name, item.severity) for item in sure] or "parity-contamination" in sure


def test_a_layer_that_keeps_lengths_alone_is_a_bottleneck():
    """Vectors before it, none after it; where none were made before, it is starvation alone."""
    bent = {"head": lambda x: x[:, 0] * torch.tensor([1.0, 1.0, 2.0])}
    lost = jetsym.diagnose(staged(WELL, {Irrep(0, 1): 1.0}, {Irrep(0, 1): 1.0}, **bent))
    item = next(item for item in lost if item.name == "bottleneck")
    assert (item.subject, item.severity, item.irreps) == ("layers.1", "problem", ("(1,+)",))
    assert "layers.0 holds" in item.text
    never = jetsym.diagnose(staged(*[{Irrep(0, 1): 1.0}] * 3, **bent))
    assert "starvation" in never
    assert "bottleneck" not in never
    assert "bottleneck" not in jetsym.diagnose(staged(WELL, {Irrep(0, 1): 1.0}))  # the output obeys its law


def test_what_a_broken_output_needs_and_no_layer_makes_is_no_bottleneck():
    """A rank-2 output read linearly of vectors: the λ = 2 is nowhere, which is starvation."""
    tilted_tensor = {"head": lambda x: x[:, 0, :, None] * torch.tensor([0.0, 0.0, 1.0]), "kind": "rank2"}
    found = jetsym.diagnose(staged(LINEAR, LINEAR, **tilted_tensor))
    assert "starvation" in found
    assert "bottleneck" not in found


def test_a_broken_output_that_is_made_invariant_late_is_found_in_the_middle():
    turning, still = {Irrep(0, 1): 0.02, Irrep(1, 1): 0.98}, {Irrep(0, 1): 0.99, Irrep(2, 1): 0.01}

    def almost(x):
        return 3 * lengths(x) + x[:, 0, 2]

    report = staged(turning, turning, still, head=almost, kind="scalar")
    item = next(item for item in jetsym.diagnose(report) if item.name == "late-collapse")
    assert (item.subject, item.severity) == ("layers.1", "problem")
    exact = staged(turning, turning, still, head=lengths, kind="scalar")
    assert "late-collapse" not in jetsym.diagnose(exact)
    early = staged(turning, still, still, head=almost, kind="scalar")
    assert "late-collapse" not in jetsym.diagnose(early)


def test_late_collapse_needs_a_start_that_turns():
    turning, still = {**WELL, Irrep(0, 1): 0.1}, {Irrep(0, 1): 1.0}
    assert "late-collapse" in jetsym.diagnose(staged(turning, turning, head=lengths, kind="scalar"))
    assert "late-collapse" not in jetsym.diagnose(staged(still, turning, head=lengths, kind="scalar"))


@pytest.mark.parametrize(
    ("report", "modes"),
    [
        (enough, {"late-collapse", "parity-blindness", "drift", "frame-locking"}),
        (gradual, {"misalignment", "parity-blindness", "drift", "frame-locking"}),
        (lambda: function(lambda x: x, "vector"), {"starvation", "bottleneck", "parity-blindness"}),
        (lambda: staged(WELL, WELL, l_max=1), {"bottleneck"}),
        (free, {"leakage", "misalignment", "parity-contamination"}),
        (few, {"saturation", "leakage", "misalignment", "starvation"}),
    ],
)
def test_what_cannot_fire_is_not_looked_for(report, modes):
    found = jetsym.diagnose(report())
    assert modes <= set(found.not_judged), found.not_judged
    looked_for = str(found).partition("ooked for:")[2].partition("Not judged")[0]
    assert not any(mode in looked_for for mode in modes)


def test_a_report_that_does_not_say_what_outputs_depend_on_is_judged_with_caution():
    report = staged(WELL, without(Irrep(1, 1)), head=lambda x: x[:, 0] * torch.tensor([1.0, 1.0, 2.0]))
    old = replace(report, meta={key: value for key, value in report.meta.items() if key != "dependence"})
    now, before = (next(item for item in jetsym.diagnose(one) if item.name == "starvation") for one in (report, old))
    assert (now.severity, before.severity) == ("problem", "warning")
    assert "The last layer that ran is taken for the readout" in before.text
    assert "taken for the readout" not in now.text


def test_starvation_served_another_way_is_only_a_note():
    """Scalars times a vector that goes past the features: nothing to repair."""
    report = staged(WELL, without(Irrep(1, 1)))
    (found,) = jetsym.diagnose(report)
    assert (found.name, found.severity) == ("starvation", "note")
    assert found.irreps == ("(1,+)",)
    leaky = staged(WELL, without(Irrep(1, 1)), head=lambda x: x[:, 0] * torch.tensor([1.0, 1.0, 2.0]))
    assert jetsym.diagnose(leaky).findings[0].severity == "problem"


def test_needs_and_readout_may_be_given():
    report = staged(WELL, without(Irrep(2, 1)))
    assert "starvation" not in jetsym.diagnose(report)
    assert "starvation" in jetsym.diagnose(report, needs={"output": ["(2,+)"]})
    assert "starvation" not in jetsym.diagnose(report, needs={"output": [(2, 1)]}, readout="layers.0")


@pytest.mark.parametrize("group", ["SO3", "SO2"])
def test_other_groups_are_judged_as_far_as_they_go(group):
    found = jetsym.diagnose(staged(WELL, {Irrep(0, 1): 1.0}, group=group))
    assert "starvation" in found
    assert {"parity-contamination", "parity-blindness"} <= set(found.not_judged)
    starved = next(item for item in found if item.name == "starvation")
    assert starved.irreps == (("(1)",) if group == "SO3" else ("m=1",))


def boosted(slope: float) -> BoostReport:
    rng = np.random.default_rng(0)
    momenta = np.concatenate([np.ones((16, 1)), rng.normal(size=(16, 3)) / 4], axis=1)

    def model(p):
        rapidity = np.arctanh(p[:, 3] / p[:, 0])
        return 1 + slope * rapidity

    return jetsym.probe(model, momenta, group="boost", axis="beam", l_max=3, **QUIET)


def test_frame_locking_in_boosts_along_the_beam():
    assert "frame-locking" in jetsym.diagnose(boosted(1.0))
    assert "frame-locking" not in jetsym.diagnose(boosted(0.1))
    found = jetsym.diagnose(boosted(1.0), thresholds=Thresholds(boost_width=0.05))
    assert found.not_judged["frame-locking"] == "no window is as narrow as 0.05"
    assert set(found.not_judged) == set(MODES) - {"hidden-by-rounding"}


def test_frame_locking_in_a_lorentz_report(make_jets):
    jets = make_jets(20, dtype=torch.float64, max_particles=6, min_particles=3)

    def tagger(locked: bool):
        def model(jets):
            p = jets.p4.sum(1)
            mass2 = p[:, 0] ** 2 - (p[:, 1:] ** 2).sum(-1)
            pt = p[:, 1:3].norm(dim=-1)
            one = mass2.sqrt() / 500 + (p[:, 1] / pt + torch.sin(4 * torch.asinh(p[:, 3] / pt))) * locked
            return torch.stack([one, -one], dim=-1)

        return jetsym.probe(model, jets, group="lorentz", outputs={"logits": "logits"}, l_max=2, **QUIET)

    ill, clean = (jetsym.diagnose(tagger(locked)) for locked in (True, False))
    texts = [item.text for item in ill if item.name == "frame-locking"]
    assert any("azimuth" in text for text in texts)
    assert any("boosts along the beam" in text for text in texts)
    assert "frame-locking" not in clean


def test_one_input_judges_nothing_but_itself(diagnoses):
    found = diagnoses["under-resolved"][0]
    assert found.names == {"under-resolved"}
    assert found.findings[0].evidence[0].value == 1


def one_odd_input(x):
    """Wrong for the longest of the eight vectors alone."""
    return x * np.where(np.linalg.norm(x, axis=-1, keepdims=True) > 1.655, [1, 1, 1.1], 1)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            lambda: function(lambda x: np.sign(x[:, 2]), "scalar", l_max="auto"),
            "% is unexplained at l_max = 14, the largest tried",
        ),
        (lambda: function(one_odd_input, "vector"), "of its size cannot be told"),
        (lambda: function(lambda x: x[:, :, None] * x[:, None], "rank2", l_max=1, n_rotations=8), "raise l_max"),
        (lambda: function(lambda x: (x[:, 0] > 0) * np.exp(2 * x[:, 1]), "scalar", n=6), "shares are uncertain"),
    ],
)
def test_what_a_measurement_cannot_carry(report, words):
    found = jetsym.diagnose(report())
    item = next(item for item in found if item.name == "under-resolved")
    assert words in item.text


def named(report, name):
    return next(item for item in jetsym.diagnose(report) if item.name == name)


def test_more_inputs_are_asked_for_by_the_square_of_the_error():
    def skewed(n):
        return function(lambda x: 2 + x[:, 0] * (x**2).sum(1), "scalar", n=n, limit=n)

    report = skewed(10)
    found = named(report, "under-resolved")
    assert found.options == {"limit": int(np.ceil(10 * (report.stderr.max() / Thresholds().uncertain) ** 2))}
    limit = found.options["limit"]
    assert found.remedy.endswith(f"By these numbers: limit={limit} (--limit {limit}).")
    assert "under-resolved" not in jetsym.diagnose(skewed(4 * found.options["limit"])).names  # of an error of an error
    odd = function(one_odd_input, "vector")
    item = odd.equivariance["output"]
    # A² against as many standard errors of it as three are worth at eight inputs
    factor = quantile(3, 8) * 2 * item.relative_stderr / item.relative
    assert named(odd, "under-resolved").options["limit"] == int(np.ceil(8 * factor**2))


def test_a_larger_l_max_is_extrapolated_from_the_fall_of_the_power():
    powers = {Irrep(lam, 1): 0.5**lam for lam in range(10)}
    options = {"method": "random", "n_rotations": 64, "n": 64}
    found = named(staged(WELL, powers, l_max=3, **options), "saturation")
    l_max = found.options["l_max"]
    assert 6 <= l_max <= 8  # half as much with every λ: 2^-(λ+1) is below a hundredth from 6 on
    assert "method" not in found.options
    assert "saturation" not in jetsym.diagnose(staged(WELL, powers, l_max=l_max + 1, **options)).names


def test_where_power_does_not_fall_random_rotations_look_further(diagnoses):
    assert diagnoses["saturation"][0].findings[0].options == {"l_max": 6, "method": "random"}
    jumps = named(function(lambda x: np.sign(x[:, 2]), "scalar", l_max="auto"), "under-resolved")
    assert jumps.options["method"] == "random"
    assert "method='random'" in jumps.remedy
    high = named(function(lambda x: x[:, :, None] * x[:, None], "rank2", l_max=1, n_rotations=8), "under-resolved")
    assert high.options["l_max"] == 2


def test_findings_survive_json_and_are_printed(diagnoses, tmp_path):
    found = diagnoses["leakage"][0]
    loaded = Diagnosis.load(found.save(tmp_path / "found.json"))
    assert loaded.findings == found.findings or str(loaded) == str(found)
    assert json.loads((tmp_path / "found.json").read_text())["findings"][0]["remedy"] == MODES["leakage"].remedy
    assert "Try: Augment" in str(found)
    assert "relative A of output" in str(found)
    assert "Not judged, drift" in str(found)
    assert "Nothing was found; looked for: saturation" in str(diagnoses["leakage"][1])
    again = diagnoses["under-resolved"][0]
    assert Diagnosis.from_dict(again.to_dict()).findings[0].options == {"limit": 64}
    assert "By these numbers: limit=64 (--limit 64)." in " ".join(str(again).split())
    data = found.to_dict()
    del data["findings"][0]["options"]  # as earlier versions wrote it
    assert not Diagnosis.from_dict(data).findings[0].options
    data["findings"][0]["name"] = "hunger"
    with pytest.raises(DataError, match="unknown findings hunger"):
        Diagnosis.from_dict(data)


def test_what_cannot_be_diagnosed_is_refused():
    report = staged(WELL, WELL)
    with pytest.raises(ProbeError, match="readout is 'layer', which is no layer; the nearest are 'layers.1'"):
        jetsym.diagnose(report, readout="layer")
    with pytest.raises(ProbeError, match="needs names 'outpt'"):
        jetsym.diagnose(report, needs={"outpt": [(1, 1)]})
    with pytest.raises(ProbeError, match="'up' is no irrep"):
        jetsym.diagnose(report, needs={"output": ["up"]})
    with pytest.raises(ProbeError, match="measure both under the same group"):
        jetsym.diagnose(report, baseline=staged(WELL, group="SO3"))
    with pytest.raises(ProbeError, match="the baseline is a BoostReport"):
        jetsym.diagnose(report, baseline=boosted(0.0))
    with pytest.raises(ConfigError, match="there is no threshold 'sigmas'"):
        Thresholds(sigmas=2)


def test_a_bound_is_not_crossed_by_what_is_within_its_errors():
    """The same numbers with larger errors are no finding."""
    report, fifth = leaking(), {"deviation": 0.2}
    item = report.equivariance["output"]
    loose = replace(report, equivariance={"output": replace(item, leakage_stderr=item.leakage / 2.9)})
    assert "leakage" in jetsym.diagnose(report, thresholds=Thresholds(**fifth))
    assert "leakage" not in jetsym.diagnose(loose, thresholds=Thresholds(**fifth))
    assert "leakage" in jetsym.diagnose(loose, thresholds=Thresholds(**fifth, sigma=1))


def test_what_a_rule_gets_wrong_is_judged_by_students_t():
    """At eight inputs three standard deviations are worth 4.5 standard errors: four of them are no finding."""
    report = function(lambda x: 1 + x[:, 0], "scalar")
    item = report.equivariance["output"]
    bound = max(Thresholds().deviation ** 2, item.relative**2 / 4)

    def judged(errors):
        seen = replace(item, unexplained=2 * bound, unexplained_stderr=bound / errors)
        found = jetsym.diagnose(replace(report, equivariance={"output": seen}))
        return any("wrong: raise l_max" in finding.text for finding in found)

    assert 4 < quantile(3, 8) < 6
    assert [judged(errors) for errors in (4, 6)] == [False, True]


@pytest.mark.parametrize("inputs", [1, 2, 3, 16])
def test_an_output_that_surely_breaks_the_symmetry_is_not_called_uncertain(inputs):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    points = torch.randn(inputs, 3, generator=torch.Generator().manual_seed(0))
    found = jetsym.diagnose(jetsym.probe(model, points, l_max=2, progress=False))
    leaks = [item for item in found if item.name == "leakage"]
    unsure = [item for item in found if "of its size cannot be told" in item.text]
    assert not (leaks and unsure)
    assert bool(leaks) == (inputs > 2)


def test_what_is_no_report_is_refused():
    for other in (3, None, "report.json", {}):
        with pytest.raises(ProbeError, match="expected what jetsym.probe returned"):
            jetsym.diagnose(other)
