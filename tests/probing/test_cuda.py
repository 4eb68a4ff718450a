"""Probes of models on a CUDA device: what they say on the CPU, and no TF32 but the model's own."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from invariant_nets import CLOUDS, NETS, Distances, distances
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets.models import build
from jetsym.probing.forward.precision import full_precision
from jetsym.probing.measure.average import orbit_average

pytestmark = pytest.mark.cuda

QUIET = {"l_max": 2, "progress": False}


@pytest.fixture
def jets(make_jets):
    return make_jets(6, seed=3, dtype=torch.float64, min_particles=4, max_particles=12)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("pointnet", ("QCD", "Tbqq", "Hbb"), width=16, blocks=2, heads=2).double()


class Invariant(nn.Module):
    """A tagger on the scalar products of the four leading momenta: exactly invariant under O(3)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 3)

    def forward(self, jets):
        p = jets.p4[:, :4, 1:] / 100
        return self.head(torch.tanh(self.hidden((p @ p.mT).flatten(1) / 10)))


class Harmonic(nn.Module):
    """Invariant and a vector, without a matrix product of its own: what TF32 adds is the probe's fault."""

    def forward(self, points):
        return torch.cat([points.square().sum(-1, keepdim=True), points], dim=-1)


ABOUT_THE_JET, AT_RANDOM = {"group": "SO2", "axis": "jet"}, {"method": "random", "n_rotations": 8}


@pytest.mark.parametrize("options", [{}, {"frame": "rest"}, ABOUT_THE_JET, AT_RANDOM, {"group": "boost"}], ids=str)
def test_a_probe_is_that_of_the_cpu(cuda, jets, model, options):
    here = jetsym.probe(model, jets, **QUIET, **options)
    there = jetsym.probe(model, jets, device=cuda, **QUIET, **options)
    assert next(model.parameters()).device.type == "cpu"
    assert here.layers == there.layers
    name = "energies" if options.get("group") == "boost" else "fractions"
    np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-9)
    assert there.equivariance["logits"].relative == pytest.approx(here.equivariance["logits"].relative, abs=1e-9)


def test_in_single_precision_the_floor_covers_the_difference(cuda, jets, model):
    here = jetsym.probe(model, jets, **QUIET)
    there = jetsym.probe(model.float().to(cuda), jets, **QUIET)
    assert there.meta["device"].startswith(cuda)
    # A share b moves by up to 2 √(b · floor).
    bound = 2 * np.sqrt(np.abs(here.fractions) * there.noise_floor[:, None]) + there.noise_floor[:, None]
    assert (np.abs(there.fractions - here.fractions) <= bound).all()


@pytest.mark.parametrize("name", ["part", "particlenet", "deepsets"])
def test_other_taggers(cuda, jets, name):
    torch.manual_seed(0)
    model = build(name).double()
    here = jetsym.probe(model, jets, **QUIET | {"l_max": 1})
    there = jetsym.probe(model, jets, device=cuda, **QUIET | {"l_max": 1})
    np.testing.assert_allclose(there.fractions, here.fractions, atol=1e-7)


def test_plain_arrays_and_tf32(cuda):
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.set_float32_matmul_precision("high")
    try:
        report = jetsym.probe(Harmonic(), points.to(cuda), outputs={"x": "scalar"}, layers=[], **QUIET)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    power = report.fractions[0]
    irreps = [str(irrep) for irrep in report.irreps]
    others = [share for irrep, share in zip(irreps, power, strict=True) if irrep not in ("(0,+)", "(1,+)")]
    assert np.abs(others).max() < 1e-9


def test_inputs_of_a_module_without_parameters_stay_where_they_are(cuda):
    seen = []

    class Seeing(Harmonic):
        def forward(self, points):
            seen.append(points.device.type)
            return super().forward(points)

    jetsym.probe(Seeing(), torch.randn(2, 3, device=cuda), layers=[], **QUIET)
    assert set(seen) == {cuda}


def test_full_precision_leaves_every_setting_as_it_was():
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("how", ["float32", "TF32", "bfloat16", "float16"])
def test_an_invariant_tagger_is_at_the_floor(cuda, jets, how):
    def call(model, inputs):
        half = getattr(torch, how) if how.endswith("16") else torch.bfloat16
        with torch.autocast(cuda, dtype=half, enabled=how.endswith("16")):
            return model(inputs)

    torch.set_float32_matmul_precision("high" if how == "TF32" else "highest")
    try:
        found = jetsym.probe(Invariant().to(cuda), jets, call=call, **QUIET).equivariance["logits"]
    finally:
        torch.set_float32_matmul_precision("highest")
    assert abs(found.relative) <= found.noise_floor


@contextmanager
def tf32():
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


#: Precision of weights and inputs, the one inside, and the context. The network rounds its inputs to the one inside: of
#: float32 invariants such products see no change at all.
WAYS = {
    "float64": (torch.float64, torch.float64, nullcontext),
    "float32": (torch.float32, torch.float32, nullcontext),
    "TF32": (torch.float32, torch.float16, lambda _: tf32()),
    "bfloat16": (torch.bfloat16, torch.bfloat16, nullcontext),
    "float16": (torch.float16, torch.float16, nullcontext),
    "autocast to bfloat16": (torch.float32, torch.bfloat16, lambda device: torch.autocast(device, torch.bfloat16)),
    "autocast to float16": (torch.float32, torch.float16, lambda device: torch.autocast(device, torch.float16)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("net", NETS)
def test_the_floor_is_the_rounding_of_invariant_networks(cuda, net, way):
    torch.manual_seed(3)
    dtype, inside, context = WAYS[way]

    def call(model, x):
        with context(cuda):
            return model(x.to(inside).to(dtype))

    model = net().to(cuda, dtype)
    item = jetsym.probe(
        model, CLOUDS.to(cuda, dtype), l_max=2, outputs={"y": "scalar"}, layers=[], call=call, progress=False
    ).equivariance["y"]
    print(f"{net.__name__}, {way}: floor {item.noise_floor:.2e}, relative A {item.relative:.2e}")
    assert item.noise_floor / 3 < item.relative < item.noise_floor


class Scattered(Distances):
    """Sums of messages in whatever order the device's atomic additions take."""

    def forward(self, x):
        n, k = x.shape[:2]
        messages = torch.exp(-(distances(x) + 1e-2).sqrt()).flatten()
        place = torch.arange(n, device=x.device).repeat_interleave(k * k)
        summed = torch.zeros(n, dtype=x.dtype, device=x.device).index_add_(0, place, messages * 1e3)
        return summed[:, None] / 1e3 + 0 * self.last(torch.tanh(self.first(distances(x).flatten(1))))


@pytest.mark.parametrize("points", [8, 64])
def test_additions_in_any_order_count_into_the_floor(cuda, points):
    clouds = torch.randn(64, points, 3, generator=torch.Generator().manual_seed(2))
    model = Scattered()
    model.first = nn.Linear(points**2, 32)
    item = jetsym.probe(
        model.to(cuda), clouds.to(cuda), l_max=2, outputs={"y": "scalar"}, layers=[], progress=False
    ).equivariance["y"]
    print(f"atomic additions of {points}: floor {item.noise_floor:.2e}, relative A {item.relative:.2e}")
    assert item.noise_floor / 3 < item.relative < item.noise_floor


def test_a_model_that_draws_random_numbers_is_refused(cuda):
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.Dropout(0.1), nn.Linear(16, 2)).to(cuda)
    with pytest.raises(ProbeError, match="random"):
        jetsym.probe(
            lambda x: model.train()(x), CLOUDS.float().to(cuda), l_max=2, outputs={"y": "scalar"}, progress=False
        )


def test_lorentz(cuda, jets, model):
    options = {"group": "lorentz", "widths": [0.5], **QUIET, "l_max": 1}
    here, there = jetsym.probe(model, jets[:2], **options), jetsym.probe(model, jets[:2], device=cuda, **options)
    for name in ("jet", "beam"):
        assert there.local[name].meta["method"] == here.local[name].meta["method"] == "forward-mode"
        np.testing.assert_allclose(there.local[name].squared, here.local[name].squared, rtol=1e-6, atol=1e-12)
    for layer, sides in here.casimir.items():
        assert there.casimir[layer]["local"] == pytest.approx(sides["local"], rel=1e-6, abs=1e-9)


def test_averages(cuda, jets, model):
    here, there = (orbit_average(model, jets, bandwidth=2, device=device)["logits"] for device in (None, cuda))
    np.testing.assert_allclose(there.mean, here.mean, atol=1e-9)


def test_memory_that_does_not_suffice_is_said(cuda, jets):
    class Hungry(nn.Linear):
        def forward(self, points):
            if len(points) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
            return super().forward(points)

    points = torch.randn(2, 3, device=cuda)
    with pytest.raises(ProbeError, match="memory does not suffice for batches of 64 .*; choose a smaller batch_size"):
        jetsym.probe(Hungry(3, 2).to(cuda), points, batch_size=64, **QUIET)
    assert jetsym.probe(Hungry(3, 2).to(cuda), points[:1], **QUIET | {"l_max": 0}).meta["batch_size"] == 1
