"""The published networks of the atlas, one a row of ``TABLE``, and what makes them and calls them."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor, nn

import jetsym
from jetsym.jets.features import FEATURE_SETS, angular_points

#: Fields, and the titles of their tables.
FIELDS = {"jets": "Jets and events", "points": "Clouds of points", "atoms": "Atoms"}
#: GPa in an eV/Å³.
GPA = 160.21766208
#: Where an output has a law by name.
ENERGY, LOGITS = {"energy": "scalar"}, {"logits": "logits"}
FORCES = {"energy": "scalar", "forces": "vector"}
SCORES = {"scores": "scalar", "momenta": "four-vector"}
#: Of calculators, which are called structure by structure: eight rotations of each.
FEW = {"n_rotations": 8}


# --------------------------------------------------------------------------------------------------------------- inputs


def rock_salt() -> list[Atoms]:
    """Make structures of four atoms of rock salt, moved by 0.1 Å from their places, no pair of them at a cutoff."""
    return _moved(bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1), 0.1)


def copper() -> list[Atoms]:
    """Make structures of four atoms of copper, moved by 0.1 Å."""
    return _moved(bulk("Cu", cubic=True), 0.1)


def ethanol() -> list[Atoms]:
    """Make ethanol molecules, all atoms moved by 0.05 Å."""
    return _moved(molecule("CH3CH2OH"), 0.05)


def cells_of_rock_salt() -> list[Atoms]:
    """Make conventional cells of rock salt, of eight atoms, moved by 0.1 Å."""
    return _moved(bulk("NaCl", "rocksalt", a=5.64, cubic=True), 0.1, 4)


def layers_of_rock_salt() -> list[Atoms]:
    """Make cells of rock salt of 32 atoms, moved by 0.1 Å."""
    return _moved(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 1), 0.1, 4)


def blocks_of_copper() -> list[Atoms]:
    """Make cells of copper of 32 atoms, moved by 0.1 Å."""
    return _moved(bulk("Cu", cubic=True) * 2, 0.1, 4)


def four_ethanol() -> list[Atoms]:
    """Make four ethanol molecules, all atoms moved by 0.05 Å."""
    return _moved(molecule("CH3CH2OH"), 0.05, 4)


def _moved(frame: Atoms, width: float, count: int = 2) -> list[Atoms]:
    rng, frames = np.random.default_rng(1), []
    for _ in range(count):
        one = frame.copy()
        one.positions += rng.normal(size=one.positions.shape) * width
        frames.append(one)
    return frames


def four_molecules() -> Tensor:
    """Make the positions (4, 9, 3) of the four."""
    return torch.tensor(np.stack([frame.positions for frame in four_ethanol()]), dtype=torch.float32)


def large_clouds() -> Tensor:
    """Draw clouds of points (4, 24, 3), as dense as the small ones."""
    return 1.4 * torch.randn(4, 24, 3, generator=torch.Generator().manual_seed(1))


def large_momenta() -> Tensor:
    """Draw events of 24 massive four-momenta (4, 24, 4)."""
    p = torch.randn(4, 24, 3, generator=torch.Generator().manual_seed(1))
    return torch.cat([(p.square().sum(-1, keepdim=True) + 0.1).sqrt(), p], -1)


def four_jets() -> Any:
    """Read four bundled jets."""
    return jetsym.jets.sample("test", limit=4)


def four_real_jets() -> Any:
    """Read four jets of JetClass."""
    path = Path(os.environ["JETSYM_REAL_DATA"]) / "jetclass" / "jetclass_kin_500.root"
    return jetsym.jets.read(path, limit=4, max_particles=128)


def molecules() -> Tensor:
    """Make the positions (2, 9, 3) of the same molecules."""
    return torch.tensor(np.stack([frame.positions for frame in ethanol()]), dtype=torch.float32)


def clouds() -> Tensor:
    """Draw clouds of points (2, 8, 3)."""
    return torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(1))


def momenta() -> Tensor:
    """Draw events of six massive four-momenta (2, 6, 4)."""
    p = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    return torch.cat([(p.square().sum(-1, keepdim=True) + 0.1).sqrt(), p], -1)


def jets() -> Any:
    """Read bundled jets."""
    return jetsym.jets.sample("test", limit=2)


def real_jets() -> Any:
    """Read jets of JetClass."""
    path = Path(os.environ["JETSYM_REAL_DATA"]) / "jetclass" / "jetclass_kin_500.root"
    return jetsym.jets.read(path, limit=2, max_particles=128)


#: What the inputs are, in words.
DESCRIBED = {
    "rock_salt": "NaCl, 4 atoms",
    "copper": "Cu, 4 atoms",
    "ethanol": "ethanol, 9 atoms",
    "molecules": "ethanol, 9 atoms",
    "clouds": "8 points",
    "momenta": "6 momenta",
    "jets": "bundled jets",
    "real_jets": "jets of JetClass",
    "cells_of_rock_salt": "NaCl, 8 atoms",
    "layers_of_rock_salt": "NaCl, 32 atoms",
    "blocks_of_copper": "Cu, 32 atoms",
    "four_ethanol": "ethanol, 9 atoms",
    "four_molecules": "ethanol, 9 atoms",
    "large_clouds": "24 points",
    "large_momenta": "24 momenta",
    "four_jets": "bundled jets",
    "four_real_jets": "jets of JetClass",
}
#: Inputs of which errors are measured -> four of realistic size, of which costs are.
LARGE: dict[str, Callable[[], Any]] = {
    "rock_salt": cells_of_rock_salt,
    "copper": blocks_of_copper,
    "ethanol": four_ethanol,
    "molecules": four_molecules,
    "clouds": large_clouds,
    "momenta": large_momenta,
    "jets": four_jets,
    "real_jets": four_real_jets,
}


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes
    ----------
    name, field
        As the page has them.
    package, module
        The distribution that it comes from, and the module that is there when it is installed.
    make
        Makes the model: a torch module, or a calculator of ASE.
    inputs
        Makes the inputs.
    guarantee
        The group under which it is equivariant by construction; "" for none.
    options
        Of the probe.
    weights
        Where they come from.
    invariant
        Patterns of layers whose features are invariant by construction.
    calculator
        Makes the package's own calculator of the model, for the check without jetsym.
    checks
        Text -> ``check(model)``: further things that are said of it, each measured without jetsym.
    needs_data
        Whether its weights, or its inputs, are in JETSYM_REAL_DATA.
    reference
        Whether it is there to compare with, and not counted.
    n_inputs
        How many inputs it is probed on.
    for_cost
        Makes the inputs on which its cost is measured, four of realistic size; by default those of ``LARGE``.
    """

    name: str
    field: str
    package: str
    module: str
    make: Callable[[], Any]
    inputs: Callable[[], Any]
    guarantee: str = "O3"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "random"
    invariant: tuple[str, ...] = ()
    calculator: Callable[[Any], Any] | None = None
    checks: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    needs_data: bool = False
    reference: bool = False
    n_inputs: int = 2
    for_cost: Callable[[], Any] | None = None

    @property
    def lines(self) -> int:
        """Lines of code between the model and its report: the call of the probe, and what passes the inputs on."""
        call = self.options.get("call")
        return 1 if call is None else 1 + len([line for line in inspect.getsource(call).splitlines() if line.strip()])

    @property
    def described(self) -> str:
        """What the inputs are."""
        return DESCRIBED[self.inputs.__name__]

    @property
    def described_large(self) -> str:
        """What the inputs are on which the cost is measured."""
        return DESCRIBED[self._large.__name__]

    @property
    def _large(self) -> Callable[[], Any]:
        return self.for_cost or LARGE[self.inputs.__name__]

    def large(self, *, quick: bool) -> Any:
        """Return the inputs on which the cost is measured."""
        return self._large()[: 1 if quick else None]

    def some(self, *, quick: bool) -> Any:
        """Return the inputs."""
        return self.inputs()[: 1 if quick else self.n_inputs]


# ----------------------------------------------------------------------------------------------------------------- jets


def kin(jets: Any) -> Tensor:
    """Return the seven kinematic features (B, 7, N) in weaver-core's layout."""
    return FEATURE_SETS["kin"][0](jets).mT


def pxpypze(jets: Any) -> Tensor:
    """Return the momenta (B, 4, N) in weaver-core's layout."""
    return jets.p4[..., [1, 2, 3, 0]].mT


def on_convolutions(model: Any, jets: Any) -> Tensor:
    return model(angular_points(jets).mT, kin(jets), jets.mask[:, None])


def on_transformer(model: Any, jets: Any) -> Tensor:
    return model(kin(jets), pxpypze(jets), jets.mask[:, None])


def on_next(model: Any, jets: Any) -> Tensor:
    return model(angular_points(jets).mT, kin(jets), pxpypze(jets), jets.mask[:, None])


def particle_net() -> nn.Module:
    """Make weaver-core's ParticleNet with its public weights for JetClass."""
    from weaver.nn.model.ParticleNet import ParticleNet

    from jetsym.jets.models.weaver import read_state

    convolutions = [(16, (c, c, c)) for c in (64, 128, 256)]
    model = ParticleNet(7, 10, conv_params=convolutions, fc_params=[(256, 0.1)], use_fusion=False)
    model.load_state_dict(read_state(Path(os.environ["JETSYM_REAL_DATA"]) / "particlenet" / "ParticleNet_kin.pt"))
    return model


def from_module(path: str, *arguments: Any, **options: Any) -> Callable[[], Any]:
    """Return what makes an object of a class, "module:name", from these arguments."""

    def make() -> Any:
        module, _, name = path.partition(":")
        return getattr(import_module(module), name)(*arguments, **options)

    return make


def on_lgatr(model: Any, p4: Tensor) -> Any:
    return named(*model(import_module("lgatr").embed_vector(p4)[:, :, None], scalars=torch.ones_like(p4[..., :1])))


def named(vectors: Tensor, scalars: Tensor) -> dict[str, Tensor]:
    """Name the outputs of lgatr's networks; multivectors (…, 16) hold a vector in places 1 to 4."""
    return {
        "scores": scalars.mean(1),
        "momenta": vectors[:, :, 0, 1:5] if vectors.shape[-1] == 16 else vectors[:, :, 0],
    }


def lgatr(*, subgroup: bool) -> Callable[[], Any]:
    """Return what makes L-GATr, for the proper Lorentz group (the default) or the full one."""

    def make() -> Any:
        package = import_module("lgatr")
        channels = {"in_mv_channels": 1, "out_mv_channels": 1, "hidden_mv_channels": 8}
        scalars = {"in_s_channels": 1, "out_s_channels": 2, "hidden_s_channels": 16}
        parts = {"attention": {"num_heads": 2}, "mlp": {}, "primitives": package.PrimitivesConfig(subgroup=subgroup)}
        return package.LGATr(num_blocks=2, **channels, **scalars, **parts)

    return make


def on_slim(model: Any, p4: Tensor) -> Any:
    return named(*model(p4[:, :, None], torch.ones_like(p4[..., :1])))


class InLocalFrames(nn.Module):
    """lloca's transformer as its authors put it together: frames, local momenta, and a mean over the particles."""

    def __init__(self) -> None:
        super().__init__()
        backbone, frames = import_module("lloca.backbone.transformer"), import_module("lloca.framesnet.equi_frames")
        vectors = import_module("lloca.equivectors").MLPVectors
        make = lambda n_vectors: vectors(n_vectors, num_scalars=0, hidden_channels=16, num_layers_mlp=1)  # noqa: E731
        self.frames = frames.LearnedPDFrames(make)
        self.frames.equivectors.init_standardization(momenta())
        self.local = import_module("lloca.reps.tensorreps_transform").TensorRepsTransform(
            import_module("lloca.reps.tensorreps").TensorReps("1x1n")
        )
        self.net = backbone.Transformer(
            in_channels=4, attn_reps="4x0n+1x1n", out_channels=3, num_blocks=2, num_heads=2, preserve_variance=False
        )

    def forward(self, p4: Tensor) -> Tensor:
        frames = self.frames(p4)
        return self.net(self.local(p4, frames), frames).mean(1)


def on_pet2(model: Any, jets: Any) -> Tensor:
    return model((kin(jets)[:, [5, 6, 0, 1]].mT * jets.mask[..., None]).contiguous(), None)["y_pred"]


# --------------------------------------------------------------------------------------------------------------- points


def near(x: Tensor, r: float, batch: Tensor, **_: Any) -> Tensor:
    """Return the pairs (2, edges) of points closer than r: what PyG's radius_graph does, which needs pyg-lib."""
    close = ((x[:, None] - x).norm(dim=-1) < r) & (batch[:, None] == batch)
    return close.fill_diagonal_(False).nonzero().T.flip(0)


def pyg(name: str, **options: Any) -> Callable[[], Any]:
    """Return what makes one of PyG's models, with pairs found by plain torch."""

    def make() -> Any:
        models = import_module("torch_geometric.nn.models")
        vars(import_module(f"torch_geometric.nn.models.{name.lower()}"))["radius_graph"] = near
        return getattr(models, name)(**options)

    return make


def flat(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number 6, positions and batch of clouds (B, N, 3), as networks of PyG take them."""
    n = x.shape[0] * x.shape[1]
    return torch.full((n,), 6), x.flatten(0, 1), torch.arange(len(x)).repeat_interleave(x.shape[1])


def on_schnet(model: Any, x: Tensor) -> Tensor:
    return model(*flat(x))


def on_visnet(model: Any, x: Tensor) -> Tensor:
    return model(*flat(x))[0]


class PointNetPlusPlus(nn.Module):
    """Two set abstractions of PyG, without sampling: the network of its tutorial on point clouds."""

    def __init__(self) -> None:
        super().__init__()
        geometric = import_module("torch_geometric.nn")
        self.first = geometric.PointNetConv(geometric.MLP([3, 32, 32], norm=None))
        self.second = geometric.PointNetConv(geometric.MLP([35, 32, 32], norm=None))
        self.head = nn.Linear(32, 1)

    def forward(self, number: Tensor, x: Tensor, batch: Tensor) -> Tensor:
        edges = near(x, 2.0, batch)
        features = self.second(self.first(None, x, edges).relu(), x, edges).relu()
        return self.head(import_module("torch_geometric.nn").global_max_pool(features, batch))


def species(x: Tensor) -> Tensor:
    """Return a species (B, N) for each point."""
    return torch.zeros(x.shape[:2], dtype=torch.long)


def on_egnn(model: Any, x: Tensor) -> Any:
    return dict(zip(("features", "points"), model(species(x), x), strict=True))


def on_equiformer(model: Any, x: Tensor) -> Any:
    return model(species(x), x, species(x) == 0)._asdict()


def on_se3(model: Any, x: Tensor) -> Any:
    return {f"type{degree}": z for degree, z in model(species(x), x, species(x) == 0).items()}


def on_point_transformer(model: Any, x: Tensor) -> Tensor:
    return model(torch.ones(*x.shape[:2], 16), x).mean(1)


def on_gvp(model: Any, x: Tensor) -> Any:
    return dict(zip(("features", "vectors"), model((torch.ones(len(x), 4), x)), strict=True))


def on_e3nn(model: Any, x: Tensor) -> Tensor:
    return model({"pos": x.flatten(0, 1), "x": torch.ones(x.shape[:2]).reshape(-1, 1), "batch": flat(x)[2]})


def on_e3nn_2102(model: Any, x: Tensor) -> Tensor:
    return model({"pos": x.flatten(0, 1), "batch": flat(x)[2]})


def of_a_cloud_in_a_batch(model: Any) -> str:
    """Compare what a network says of a cloud of 8 points alone with what it says of it among others."""
    x = torch.randn(16, 8, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone, among = torch.cat([on_e3nn_2102(model, one[None]) for one in x]), on_e3nn_2102(model, x)
    points = x.flatten(0, 1)
    loops = int((torch.cdist(points, points).diagonal() > 0).sum())
    apart = float(((alone - among).norm(dim=1) / alone.norm(dim=1)).max())
    return (
        f"{apart:.2g} times its size; of the 128 distances of a point to itself, which torch.cdist computes by a "
        f"matrix product from 26 points on, {loops} are above zero, and such points become neighbours of themselves."
    )


# ---------------------------------------------------------------------------------------------------------------- atoms


def chgnet() -> Any:
    from chgnet.model import CHGNet

    return CHGNet.load(use_device="cpu", verbose=False)


def chgnet_calculator(model: Any) -> Any:
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(model, use_device="cpu")


def stress_by_differences(model: Any) -> str:
    """Compare the stress of the package's own calculator with dE/dε, and that of a left-handed cell."""
    calculator, frame, step = chgnet_calculator(model), rock_salt()[0], 2e-3
    mirrored = frame.copy()
    mirrored.set_cell(frame.cell.array[[1, 0, 2]])  # the same lattice and atoms
    found = []
    for one in (frame, mirrored):
        one.calc = calculator
        stress, slopes = one.get_stress(voigt=False), np.zeros((3, 3))
        for row, column in np.ndindex(3, 3):
            energies = []
            for sign in (1, -1):
                strained, strain = one.copy(), np.zeros((3, 3))
                strain[row, column] += sign * step / 2
                strain[column, row] += sign * step / 2
                strained.set_cell(one.cell.array @ (np.eye(3) + strain), scale_atoms=True)
                strained.calc = calculator
                energies.append(strained.get_potential_energy())
            slopes[row, column] = (energies[0] - energies[1]) / (2 * step * one.get_volume())
        found += [GPA * np.abs(stress - slopes).max(), GPA * np.abs(stress + slopes).max()]
    same, _, other, reversed_ = found
    return (
        f"{same:.1g} GPa in a right-handed cell and by {other:.2g} GPa in a left-handed one, two of whose vectors are "
        f"exchanged, where its negative differs from it by {reversed_:.1g} GPa."
    )


def sevennet() -> Any:
    return import_module("sevenn.util").load_checkpoint("7net-0").build_model()


def sevennet_calculator(_: Any) -> Any:
    return import_module("sevenn.calculator").SevenNetCalculator(sevennet(), file_type="model_instance", device="cpu")


def mace() -> Any:
    """Make a small MACE; its e3nn needs slices to be known as safe before it is imported."""
    torch.serialization.add_safe_globals([slice])
    modules, o3 = import_module("mace.modules"), import_module("e3nn.o3")
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=4.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block, interaction_cls_first=block,
        num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps("32x0e+32x1o"), MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu, atomic_energies=np.array([-1.0, -2.0]), avg_num_neighbors=10.0,
        atomic_numbers=[11, 17], correlation=3, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip


def mace_calculator(model: Any) -> Any:
    return import_module("mace.calculators").MACECalculator(models=[model], device="cpu", default_dtype="float32")


def metatrain(name: str) -> Callable[[], Any]:
    """Return what makes an architecture of metatrain with its default options, for an energy and elements H, C, O."""

    def make() -> Any:
        data, info_of = import_module("metatrain.utils.data"), import_module("metatrain.utils.data.target_info")
        target = info_of.get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"}, True)
        info = data.DatasetInfo(length_unit="angstrom", atomic_types=[1, 6, 8], targets={"energy": target})
        hypers = import_module("metatrain.utils.architectures").get_default_hypers(name)["model"]
        return import_module(f"metatrain.{name}").__model__(hypers, info)

    return make


def schnetpack(name: str, **options: Any) -> Callable[[], Any]:
    """Return what makes a calculator of schnetpack with one of its representations."""

    def make() -> Any:
        spk, atomistic = import_module("schnetpack"), import_module("schnetpack.atomistic")
        representation = getattr(import_module("schnetpack.representation"), name)(
            n_atom_basis=32, n_interactions=2, radial_basis=spk.nn.GaussianRBF(n_rbf=16, cutoff=4.0),
            cutoff_fn=spk.nn.CosineCutoff(4.0), **options,
        )  # fmt: skip
        before = [atomistic.Strain(), atomistic.PairwiseDistances()]
        after = [atomistic.Atomwise(n_in=32, output_key="energy"), atomistic.Forces(calc_stress=True)]
        network = spk.model.NeuralNetworkPotential(representation, before, after)
        pairs = import_module("schnetpack.transform").MatScipyNeighborList(cutoff=4.0)
        interfaces = import_module("schnetpack.interfaces")
        return interfaces.SpkCalculator(network, pairs, stress_key="stress", energy_unit="eV")

    return make


#: Elements of rock salt, as packages ask for them.
ELEMENTS = ("Na", "Cl")


def nequip(path: str, **options: Any) -> Callable[[], Any]:
    """Return what makes a calculator of NequIP with a network, "module:name", in float64."""

    def make() -> Any:
        import_module("nequip.utils.global_state").set_global_state()
        common = {"seed": 0, "model_dtype": "float64", "type_names": list(ELEMENTS), "r_max": 4.0, "l_max": 2}
        common |= {"num_layers": 2, "avg_num_neighbors": 10.0, "per_type_energy_scales": 1.0}
        network = from_module(path, **common, per_type_energy_shifts=dict.fromkeys(ELEMENTS, 0.0), **options)()
        transforms = import_module("nequip.data.transforms")
        steps = [
            transforms.ChemicalSpeciesToAtomTypeMapper(model_type_names=list(ELEMENTS)),
            transforms.NeighborListTransform(r_max=4.0),
        ]
        return import_module("nequip.integrations.ase").NequIPCalculator(network.eval(), "cpu", transforms=steps)

    return make


#: How Allegro embeds distances.
BESSEL = {
    "_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8, "bessel_trainable": False,
    "polynomial_cutoff_p": 6,
}  # fmt: skip


def orb(name: str) -> Callable[[], Any]:
    """Return what makes a calculator of Orb v3, "conservative" or "direct", two steps deep."""

    def make() -> Any:
        pretrained = import_module("orb_models.forcefield.pretrained")
        system = import_module("orb_models.forcefield.atomic_system")
        network = getattr(pretrained, f"orb_v3_{name}_architecture")(
            num_message_passing_steps=2, latent_dim=32, device="cpu",
            system_config=system.SystemConfig(radius=6.0, max_num_neighbors=120),
        )  # fmt: skip
        return import_module("orb_models.forcefield.calculator").ORBCalculator(network.eval(), device="cpu")

    return make


def mattersim() -> Any:
    """Make a calculator of MatterSim."""
    forcefield = import_module("mattersim.forcefield.potential")
    network = import_module("mattersim.forcefield.m3gnet.m3gnet").M3Gnet(num_blocks=2, units=32, device="cpu").eval()
    potential = forcefield.Potential(network, device="cpu", model_name="m3gnet")
    return forcefield.MatterSimCalculator(potential, device="cpu")


def matgl(name: str, **options: Any) -> Callable[[], Any]:
    """Return what makes a calculator of matgl."""

    def make() -> Any:
        network = getattr(import_module("matgl.models"), name)(element_types=ELEMENTS, is_intensive=False, **options)
        potential = import_module("matgl.apps.pes").Potential(network).eval()
        return import_module("matgl.ext.ase").PESCalculator(potential, stress_unit="eV/A3")

    return make


#: A small eSEN of fairchem, and its tasks.
FAIRCHEM = "fairchem.core."
ESEN = {
    "model": f"{FAIRCHEM}models.uma.escn_md.eSCNMDBackbone", "max_num_elements": 100, "sphere_channels": 16,
    "hidden_channels": 16, "edge_channels": 16, "num_distance_basis": 32, "lmax": 2, "mmax": 2, "num_layers": 2,
    "cutoff": 4.0, "max_neighbors": 300, "otf_graph": True, "use_dataset_embedding": True,
    "dataset_mapping": {"omat": "omat"}, "direct_forces": False, "regress_forces": True, "regress_stress": True,
    "always_use_pbc": False,
}  # fmt: skip
TASKS = (("energy", "system", [1]), ("forces", "atom", [3]), ("stress", "system", [1, 9]))


def esen() -> Any:
    """Make a calculator of fairchem with an eSEN, in float64; it is made of a checkpoint, written to one first."""
    inference = import_module(f"{FAIRCHEM}units.mlip_unit.api.inference")
    head = {"module": f"{FAIRCHEM}models.uma.escn_md.MLP_EFS_Head"}
    config = {
        "_target_": f"{FAIRCHEM}models.base.HydraModel", "backbone": ESEN, "heads": {"efs": head}, "otf_graph": True,
        "pass_through_head_outputs": True,
    }  # fmt: skip
    unit, norm = f"{FAIRCHEM}units.mlip_unit.mlip_unit.", f"{FAIRCHEM}modules.normalization.normalizer.Normalizer"
    tasks = [
        {
            "_target_": f"{unit}Task", "name": name, "level": level, "property": name, "datasets": ["omat"],
            "out_spec": {"_target_": f"{unit}OutputSpec", "dim": dim, "dtype": "float32"},
            "normalizer": {"_target_": norm, "mean": 0.0, "rmsd": 1.0},
        }
        for name, level, dim in TASKS
    ]  # fmt: skip
    network = import_module("hydra").utils.instantiate(config)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "esen.pt"
        torch.save(inference.MLIPInferenceCheckpoint(config, network.state_dict(), averaged.state_dict(), tasks), path)
        settings = inference.InferenceSettings(base_precision_dtype=torch.float64, activation_checkpointing=False)
        predict = import_module(f"{FAIRCHEM}units.mlip_unit.predict")
        unit_of = predict.MLIPPredictUnit(str(path), device="cpu", inference_settings=settings)
    return import_module(f"{FAIRCHEM}calculate.ase_calculator").FAIRChemCalculator(unit_of, task_name="omat")


#: Of torchmd-net: what its command line fills in.
TORCHMD = {
    "embedding_dimension": 32, "num_layers": 2, "num_rbf": 16, "rbf_type": "expnorm", "trainable_rbf": False,
    "activation": "silu", "cutoff_lower": 0.0, "cutoff_upper": 5.0, "max_z": 20, "max_num_neighbors": 32,
    "check_errors": False, "precision": 32, "neighbor_embedding": True, "attn_activation": "silu", "num_heads": 4,
    "distance_influence": "both", "aggr": "add", "equivariance_invariance_group": "O(3)", "derivative": True,
    "output_model": "Scalar", "output_mlp_num_layers": 0, "reduce_op": "add", "prior_model": None, "atom_filter": -1,
}  # fmt: skip
ETHANOL = [6, 6, 8, 1, 1, 1, 1, 1, 1]


def torchmd(name: str, **options: Any) -> Callable[[], Any]:
    """Return what makes a network of torchmd-net."""
    return lambda: import_module("torchmdnet.models.model").create_model({**TORCHMD, "model": name, **options})


def on_torchmd(model: Any, x: Tensor) -> Any:
    return energy_and_forces(x, *model(torch.tensor(ETHANOL * len(x)), x.flatten(0, 1), flat(x)[2]))


def energy_and_forces(x: Tensor, energy: Tensor, forces: Tensor) -> dict[str, Tensor]:
    """Name energies, and forces (B·N, 3) as (B, N, 3)."""
    return {"energy": energy.detach(), "forces": forces.detach().reshape(x.shape)}


def on_ani(model: Any, x: Tensor) -> Tensor:
    return model((torch.tensor([ETHANOL]).expand(len(x), -1), x)).energies


def ani(name: str, symbols: str) -> Callable[[], Any]:
    """Return what makes one member of an ensemble of TorchANI, with its symmetry functions and random weights."""

    def make() -> Any:
        assembler = import_module("torchani.arch").Assembler(periodic_table_index=True)
        assembler.set_symbols(getattr(import_module("torchani.utils"), symbols))
        assembler.set_atomic_networks(ctor=name)
        assembler.set_global_cutoff_fn("cosine")
        assembler.set_aev_computer(angular=name, radial=name, strategy="pyaev")
        assembler.set_neighborlist("all_pairs")
        assembler.set_zeros_as_self_energies()
        return assembler.assemble(1)

    return make


TABLE = (
    Published("ParticleNet", "jets", "weaver-core", "weaver", particle_net, real_jets, "",
              {"call": on_convolutions, "outputs": LOGITS, "layers": ["bn_fts", "edge_convs.?"]},
              weights="public, JetClass", needs_data=True, n_inputs=1),
    Published("ParticleTransformer", "jets", "weaver-core", "weaver",
              from_module("weaver.nn.model.ParticleTransformer:ParticleTransformer", 7, 10), jets, "",
              {"call": on_transformer, "outputs": LOGITS}, n_inputs=1),
    Published("ParticleNeXt", "jets", "weaver-core", "weaver",
              from_module("weaver.nn.model.ParticleNeXt:ParticleNeXt", 7, num_classes=10, trim=False), jets, "",
              {"call": on_next, "outputs": LOGITS}, n_inputs=1),
    Published("PET2", "jets", "omnilearned", "omnilearned", from_module("omnilearned.network:PET2", 4), jets, "",
              {"call": on_pet2, "outputs": LOGITS}, n_inputs=1),
    Published("L-GATr", "jets", "lgatr", "lgatr", lgatr(subgroup=True), momenta, "SO3",
              {"call": on_lgatr, "outputs": SCORES}),
    Published("L-GATr, subgroup=False", "jets", "lgatr", "lgatr", lgatr(subgroup=False), momenta, "O3",
              {"call": on_lgatr, "outputs": SCORES}),
    Published("L-GATr-slim", "jets", "lgatr", "lgatr", from_module("lgatr:LGATrSlim", 2, 1, 1, 8, 1, 2, 16, 2),
              momenta, "O3", {"call": on_slim, "outputs": SCORES}),
    Published("LLoCa-Transformer", "jets", "lloca", "lloca", InLocalFrames, momenta, "SO3",
              {"outputs": {"scores": "scalar"}}),
    Published("SchNet (PyG)", "points", "torch-geometric", "torch_geometric",
              pyg("SchNet", hidden_channels=32, num_filters=32, num_interactions=3), clouds, "O3",
              {"call": on_schnet, "outputs": ENERGY}, invariant=("*",)),
    Published("ViSNet (PyG)", "points", "torch-geometric", "torch_geometric",
              pyg("ViSNet", hidden_channels=32, num_heads=4, num_layers=3), clouds, "O3",
              {"call": on_visnet, "outputs": ENERGY}, invariant=("*.embedding", "*_expansion", "*_embedding", "*.0")),
    Published("PointNet++ (PyG)", "points", "torch-geometric", "torch_geometric", PointNetPlusPlus, clouds, "",
              {"call": on_schnet, "outputs": ENERGY}),
    Published("EGNN", "points", "egnn-pytorch", "egnn_pytorch",
              from_module("egnn_pytorch:EGNN_Network", num_tokens=1, dim=16, depth=3), clouds, "O3",
              {"call": on_egnn, "outputs": {"features": "scalar", "points": "vector"}}, invariant=("layers.?.1.0",)),
    Published("En-transformer", "points", "En-transformer", "en_transformer",
              from_module("en_transformer:EnTransformer", num_tokens=1, dim=16, depth=2, dim_head=32, heads=2), clouds,
              "O3", {"call": on_egnn, "outputs": {"features": "scalar", "points": "vector"}}),
    Published("Equiformer", "points", "equiformer-pytorch", "equiformer_pytorch",
              from_module("equiformer_pytorch:Equiformer", num_tokens=1, dim=(8, 4), dim_head=(8, 4), heads=(2, 2),
                          num_degrees=2, depth=2, num_neighbors=8), clouds, "O3",
              {"call": on_equiformer, "outputs": {"type0": "scalar", "type1": "vector"}}, n_inputs=1),
    Published("SE(3)-transformer", "points", "se3-transformer-pytorch", "se3_transformer_pytorch",
              from_module("se3_transformer_pytorch:SE3Transformer", dim=8, heads=2, depth=2, dim_head=8, num_degrees=2,
                          output_degrees=2, num_tokens=1, num_neighbors=8), clouds, "SO3",
              {"call": on_se3, "outputs": {"type0": "scalar", "type1": "vector"}}, n_inputs=1),
    Published("Point transformer", "points", "point-transformer-pytorch", "point_transformer_pytorch",
              from_module("point_transformer_pytorch:PointTransformerLayer", dim=16, pos_mlp_hidden_dim=32), clouds, "",
              {"call": on_point_transformer, "outputs": ENERGY}),
    Published("GVP", "points", "geometric-vector-perceptron", "geometric_vector_perceptron",
              from_module("geometric_vector_perceptron:GVP", dim_vectors_in=8, dim_vectors_out=4, dim_feats_in=4,
                          dim_feats_out=8), clouds, "O3",
              {"call": on_gvp, "outputs": {"features": "scalar", "vectors": "vector"}}),
    Published("e3nn gate_points_2106", "points", "e3nn", "e3nn",
              from_module("e3nn.nn.models.v2106.gate_points_networks:SimpleNetwork", "1x0e", "1x0e+1x1o", 2.5, 8, 10,
                          mul=8, layers=2, lmax=2), clouds, "O3",
              {"call": on_e3nn, "outputs": {"output": "1x0e+1x1o"}}),
    Published("e3nn gate_points_2102", "points", "e3nn", "e3nn",
              from_module("e3nn.nn.models.gate_points_2102:Network", None, "8x0e+8x0o+8x1e+8x1o", "1x0e+1x1o", None,
                          "1x0e+1x1o+1x2e", 2, 2.5, 8, 1, 16, 8, 10), clouds, "O3",
              {"call": on_e3nn_2102, "outputs": {"output": "1x0e+1x1o"}, "batch_size": 1, "l_max": 1},
              checks={"what it says of one of 16 clouds together differs from what it says of it alone by up to":
                      of_a_cloud_in_a_batch}, n_inputs=1),
    Published("CHGNet", "atoms", "chgnet", "chgnet", chgnet, rock_salt, "O3", {}, weights="in the wheel, 0.3.0",
              invariant=("atom_*", "angle_*", "bond_embedding", "bond_weights_*", "bond_conv_layers.*", "readout_norm"),
              calculator=chgnet_calculator,
              checks={"its stress differs from dE/dε, by differences, by at most": stress_by_differences}),
    Published("SevenNet-0", "atoms", "sevenn", "sevenn", sevennet, rock_salt, "SO3",
              {"layers": ["edge_embedding", "onehot_to_feature_x", "?_self_interaction_?", "?_equivariant_gate"]},
              weights="in the wheel, 22May2024", calculator=sevennet_calculator,
              invariant=("edge_embedding.edge_embedding", "onehot_to_feature_x", "0_self_interaction_1")),
    Published("MACE", "atoms", "mace-torch", "mace", mace, rock_salt, "O3", {}, calculator=mace_calculator,
              invariant=("radial_embedding", "node_embedding", "products.1", "readouts.*")),
    Published("PET", "atoms", "metatrain", "metatrain", metatrain("pet"), ethanol, "", n_inputs=1),
    Published("SOAP-BPNN", "atoms", "metatrain", "metatrain", metatrain("soap_bpnn"), ethanol, "O3"),
    *(Published(f"{name} (schnetpack)", "atoms", "schnetpack", "schnetpack", schnetpack(name, **more), ethanol, "O3",
                FEW) for name, more in
      {"SchNet": {}, "PaiNN": {}, "SO3net": {"lmax": 2}}.items()),
    *(Published(f"{name} (TorchMD-NET)", "atoms", "torchmd-net", "torchmdnet", torchmd(model), molecules, "O3",
                {"call": on_torchmd, "outputs": FORCES}) for name, model in
      {"ET": "equivariant-transformer", "TensorNet": "tensornet", "GN": "graph-network"}.items()),
    *(Published(f"{name} (TorchANI)", "atoms", "torchani", "torchani", ani(name.lower(), symbols), molecules, "O3",
                {"call": on_ani, "outputs": ENERGY}, invariant=("*",)) for name, symbols in
      {"ANI1x": "SYMBOLS_1X", "ANI2x": "SYMBOLS_2X"}.items()),
    Published("NequIP", "atoms", "nequip", "nequip", nequip("nequip.model:NequIPGNNModel", num_features=16), rock_salt,
              "O3", FEW),
    Published("Allegro", "atoms", "nequip-allegro", "allegro",
              nequip("allegro.model:AllegroModel", radial_chemical_embed=BESSEL, num_scalar_features=16,
                     num_tensor_features=8), rock_salt, "O3", FEW),
    Published("eSEN (fairchem)", "atoms", "fairchem-core", "fairchem.core", esen, rock_salt, "SO3",
              FEW),
    Published("Orb v3, conservative", "atoms", "orb-models", "orb_models", orb("conservative"), rock_salt, "", FEW),
    Published("Orb v3, direct", "atoms", "orb-models", "orb_models", orb("direct"), rock_salt, "", FEW),
    Published("MatterSim", "atoms", "mattersim", "mattersim", mattersim, rock_salt, "O3", FEW),
    *(Published(f"{name} (matgl)", "atoms", "matgl", "matgl", matgl(name, **more), rock_salt, "O3", FEW)
      for name, more in
      {"TensorNet": {"units": 32}, "M3GNet": {"units": 32}, "SO3Net": {"units": 32, "lmax": 2}}.items()),
    Published("CHGNet, its calculator", "atoms", "chgnet", "chgnet", lambda: chgnet_calculator(chgnet()), rock_salt,
              "O3", FEW, weights="in the wheel, 0.3.0", reference=True, for_cost=layers_of_rock_salt),
    Published("SevenNet-0, its calculator", "atoms", "sevenn", "sevenn", lambda: sevennet_calculator(None), rock_salt,
              "SO3", FEW, weights="in the wheel, 22May2024", reference=True, for_cost=cells_of_rock_salt),
    Published("EMT", "atoms", "ase", "ase", from_module("ase.calculators.emt:EMT"), copper, "O3", FEW,
              weights="analytic", reference=True),
    Published("Lennard-Jones", "atoms", "ase", "ase", from_module("ase.calculators.lj:LennardJones"), copper, "O3", FEW,
              weights="analytic", reference=True),
)  # fmt: skip
