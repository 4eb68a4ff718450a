"""The caller's own action moves anything with a length, and is checked before it is believed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geometric import geometric
from torch import nn

import jetsym
from jetsym.errors import ProbeError

QUIET = {"progress": False, "l_max": 1}


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    return [torch.as_tensor(rng.normal(size=(n, 3))) for n in (3, 5, 4, 4)]


def turned(clouds, matrices):
    """Every cloud under every matrix, or by those of its own."""
    own = matrices if matrices.ndim == 4 else matrices[:, None].repeat(len(clouds), 1)
    return [cloud @ torch.as_tensor(g).T for row in own for cloud, g in zip(clouds, row, strict=True)]


def lengths(clouds):
    return torch.stack([(cloud.norm(dim=-1) ** 3).sum() for cloud in clouds])


def heights(clouds):
    return torch.stack([cloud[:, 2].sum() for cloud in clouds])


class Batch:
    """A graph batch of a package that jetsym has never heard of."""

    def __init__(self, clouds):
        self.clouds = clouds

    def __len__(self):
        return len(self.clouds)

    def __getitem__(self, place):
        return Batch(self.clouds[place])


class Dataset:
    """Items, and no slices."""

    def __init__(self, clouds):
        self.clouds = clouds

    def __len__(self):
        return len(self.clouds)

    def __getitem__(self, place):
        if isinstance(place, slice):
            raise TypeError("an integer, please")
        return self.clouds[place]


def nested(layout):
    """Nested tensors of a layout: how they are made, read and moved."""

    def make(clouds):
        return torch.nested.as_nested_tensor(list(clouds), layout=layout)

    return make, lambda given: given.unbind(), lambda given, g: make(turned(list(given.unbind()), g))


def graphs():
    """Graph batches of torch_geometric."""
    data = geometric("data")

    def make(clouds):
        return data.Batch.from_data_list([data.Data(pos=cloud) for cloud in clouds])

    def read(batch):
        return [one.pos for one in batch.to_data_list()]

    return make, read, lambda batch, g: make(turned(read(batch), g))


#: How inputs of a kind are made of clouds, read by a model, and moved.
KINDS = {
    "list": lambda: (list, lambda given: given, turned),
    "graph batch": lambda: (Batch, lambda given: given.clouds, lambda given, g: Batch(turned(given.clouds, g))),
    "items without slices": lambda: (Dataset, lambda given: given, turned),
    "jagged tensor": lambda: nested(torch.jagged),
    "strided tensor": lambda: nested(torch.strided),
    "torch_geometric": graphs,
    "list of lists of numbers": lambda: (
        lambda clouds: [cloud.tolist() for cloud in clouds],
        lambda given: [torch.as_tensor(rows, dtype=torch.float64) for rows in given],
        lambda given, g: [x.tolist() for x in turned([torch.as_tensor(rows).double() for rows in given], g)],
    ),
    "list of tuples": lambda: (
        lambda clouds: [(cloud, "a name") for cloud in clouds],
        lambda given: [cloud for cloud, _ in given],
        lambda given, g: [(cloud, "a name") for cloud in turned([cloud for cloud, _ in given], g)],
    ),
    "list of nested dictionaries": lambda: (
        lambda clouds: [{"graph": {"x": cloud}} for cloud in clouds],
        lambda given: [one["graph"]["x"] for one in given],
        lambda given, g: [{"graph": {"x": x}} for x in turned([one["graph"]["x"] for one in given], g)],
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"n_rotations": 6}, {"batch_size": 3}, {"limit": 3}], ids=str)
def test_anything_with_a_length(clouds, kind, options):
    make, read, move = KINDS[kind]()
    for model, expected in ((lengths, 0.0), (heights, 1.0)):
        report = jetsym.probe(lambda x, f=model: f(read(x)), make(clouds), action=move, **QUIET | options)
        error = report.equivariance["output"]
        tolerance = 0.3 if expected and "n_rotations" in options else 1e-6
        assert error.relative == pytest.approx(expected, abs=tolerance)
        assert report.meta["n_inputs"] == options.get("limit", 4)
        assert report.meta["moves"] == {}


def test_a_dictionary_of_arrays_goes_in_as_keywords():
    rng = np.random.default_rng(1)
    given = {"pos": rng.normal(size=(4, 5, 3)), "charge": rng.normal(size=(4, 5)), "power": 2}

    def action(given, matrices):
        moved = np.einsum("nij,spj->nspi", matrices, given["pos"]).reshape(-1, 5, 3)
        return given | {"pos": moved, "charge": np.tile(given["charge"], (len(matrices), 1))}

    def model(pos, charge, power):
        return ((pos**power).sum(-1) * charge).sum(-1)

    assert abs(jetsym.probe(model, given, action=action, **QUIET).equivariance["output"].relative) < 1e-13


def test_structures_move_by_the_callers_action_with_the_callers_model():
    ase = pytest.importorskip("ase")
    rng = np.random.default_rng(2)
    frames = [ase.Atoms("H2O", positions=rng.normal(size=(3, 3))) for _ in range(3)]
    report = jetsym.probe(
        lambda frames: np.array([frame.get_distance(0, 1) + frame.positions[2, 2] for frame in frames]),
        frames,
        action=lambda some, matrices: [
            ase.Atoms(one.symbols, positions=one.positions @ g.T) for g in matrices for one in some
        ],
        **QUIET,
    )
    assert report.equivariance["output"].relative > 0.1


FAULTS = {
    "under the identity": lambda x, g: [cloud + 0.01 for cloud in turned(x, g)],
    "returned 2 inputs for 2 inputs and matrices": lambda x, g: turned(x, g[:1]),
    "in another order": lambda x, g: [cloud @ torch.as_tensor(m).T for cloud in x for m in g],
    "is no action": lambda x, g: turned(x, np.swapaxes(g, -1, -2)),
    "leaves the inputs as they are": lambda x, g: list(x) * len(g),
    r"cannot be called with 2 inputs and matrices \(1, 3, 3\)": lambda x, g: [cloud.no_such_thing for cloud in x],
}


@pytest.mark.parametrize("message", FAULTS)
def test_what_is_no_action_is_refused_by_name(clouds, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lengths, clouds, action=FAULTS[message], **QUIET)


@pytest.mark.parametrize("message", list(FAULTS)[:-1])
def test_numbers_in_lists_are_compared_where_there_are_no_arrays(clouds, message):
    def action(rows, matrices):
        return [cloud.tolist() for cloud in FAULTS[message]([torch.as_tensor(one).double() for one in rows], matrices)]

    given = [cloud.tolist() for cloud in clouds]
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lambda rows: np.array([np.sum(np.square(one)) for one in rows]), given, action=action, **QUIET)


def test_words_alone_are_compared_by_what_a_model_returns():
    """Signs of a number in words, which an inversion turns over."""

    def action(words, matrices):
        return [(w if np.linalg.det(g) > 0 else w[::-1],) for g in matrices for (w,) in words]

    def sign(words):
        return np.array([1.0 - 2 * (w == "-+") for (w,) in words])

    report = jetsym.probe(sign, [("+-",)], action=action, **QUIET)
    assert report.equivariance["output"].relative == pytest.approx(1.0)


OPAQUE = ["under the identity", "returned 1 inputs for 1 inputs and matrices", "is no action"]


@pytest.mark.parametrize("message", OPAQUE)
def test_what_holds_no_arrays_is_compared_by_what_a_model_returns(clouds, message):
    fault = next(fault for name, fault in FAULTS.items() if name[:9] == message[:9])

    def action(batch, matrices):
        return Batch(fault(batch.clouds, matrices))

    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lambda batch: heights(batch.clouds), Batch(clouds), action=action, **QUIET)


def test_matrices_of_each_inputs_own_are_tried_where_they_are_needed(clouds):
    def action(x, matrices):
        return (
            turned(x, np.broadcast_to(matrices.reshape(-1, 3, 3)[:1], (len(matrices), 3, 3)).copy())
            if (matrices.ndim == 4)
            else turned(x, matrices)
        )

    assert abs(jetsym.probe(lengths, clouds, action=action, **QUIET).equivariance["output"].relative) < 1e-13
    with pytest.raises(ProbeError, match="of each one's own, than one by one"):
        jetsym.probe(heights, clouds, action=action, n_rotations=4, **QUIET)


NOT_CHECKED = "The sense in which action=… turns was not checked"


def test_an_action_may_know_turns_about_one_axis_alone_and_a_note_says_so(clouds):
    def strict(x, matrices):
        assert np.allclose(matrices[..., 2, 2], 1)
        return turned(x, matrices)

    def by_angle(x, matrices):  # no action of other rotations
        angle = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
        c, s, o = np.cos(angle), np.sin(angle), np.zeros(len(angle))
        return turned(x, np.stack([c, -s, o, s, c, o, o, o, o + 1], -1).reshape(-1, 3, 3))

    for action, notes in ((strict, 1), (by_angle, 1), (turned, 0)):
        found = jetsym.probe(heights, clouds, action=action, group="SO2", **QUIET)
        assert abs(found.equivariance["output"].relative) < 1e-13
        assert sum(note.startswith(NOT_CHECKED) for note in found.meta["notes"]) == notes


def test_an_action_that_turns_backwards_about_an_axis_is_refused(clouds):
    def backwards(x, matrices):
        return turned(x, np.swapaxes(matrices, -1, -2))

    with pytest.raises(ProbeError, match=r"turns backwards.*x @ g\.T"):
        jetsym.probe(lengths, clouds, action=backwards, group="SO2", **QUIET)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "hold no sample"),
        (range(0), "hold no sample"),
        ({"a": [1, 2], "b": [1]}, r"have no length \(its parts hold \[1, 2\]\)"),
        (object(), "have no length"),
    ],
)
def test_what_has_no_length_is_refused(inputs, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lengths, inputs, action=turned, **QUIET)


def test_what_can_only_be_counted_is_refused_with_the_remedy(clouds):
    class Counted(Batch):
        def __getitem__(self, place):
            raise TypeError("not here")

    with pytest.raises(ProbeError, match="neither slices nor items.*a list with one sample each"):
        jetsym.probe(lengths, Counted(clouds), action=turned, **QUIET)


def test_layers_of_equal_clouds_are_measured():
    torch.manual_seed(0)
    clouds = [torch.randn(4, 3) for _ in range(5)]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(1, 6), nn.Linear(6, 2)

        def forward(self, clouds):
            return self.head(torch.tanh(self.layer(torch.stack(clouds).norm(dim=-1, keepdim=True))).sum(1))

    def action(x, g):
        return turned(x, np.asarray(g, dtype="float32"))

    report = jetsym.probe(Net(), clouds, action=action, **QUIET)
    assert report.layers == ("layer", "output")
    assert abs(report.fractions[0, 0] - 1) < 1e-6
