"""A network of weaver-core that takes jets, by its data configuration.

The columns of the files that the expressions are of go with the jets. When these are moved, columns that are functions
of the momenta are computed anew (:mod:`jetsym.jets.moves.inputs`), those that no move changes stay, and any other is
refused, unless ``fixed`` names it; the variables of the network's inputs are computed of them on the device, so that
derivatives go through. Trimming is switched off, as padding never changes what such a network says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from jetsym.errors import ConfigError, DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.quantities import Quantity
from jetsym.jets.io.mapping.sections import branch_of
from jetsym.jets.io.mapping.several_jets import open_mapped
from jetsym.jets.io.mapping.traced import Traced
from jetsym.jets.io.mapping.tree_mapping import MappedInput, Momentum, TreeMapping
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.io.read import read
from jetsym.jets.moves.inputs import is_known, laws_named

__all__ = ["WeaverNetwork"]

#: Names of the inputs that hold columns of the files, of jets and of lists.
OF_JETS, OF_LISTS = "columns of jets", "columns of "
#: Name of the columns that count all members of a list, those beyond the length of the network's inputs too.
NUMBER_OF = "number of "
#: Stands where a list has no further member.
NOTHING = float("nan")


class WeaverNetwork(nn.Module):
    """A network of weaver-core that takes jets.

    Its layers have the network's own names behind ``network.``, its inputs the network's channels-first layout.

    Parameters
    ----------
    network
        As ``get_model`` returns it.
    mapping
        The data configuration.
    fixed, vectors
        As for :func:`jetsym.jets.weaver_files.weaver`.
    """

    probe_outputs: ClassVar[dict[str, str]] = {"logits": "logits"}

    def __init__(self, network: nn.Module, mapping: TreeMapping, *, fixed: Sequence[str], vectors: str) -> None:
        super().__init__()
        self.network, self.data, self.fixed = network, mapping, tuple(fixed)
        self.classes = () if mapping.labels is None else mapping.labels.classes
        if isinstance(fixed, str):
            raise ConfigError(f"fixed is {fixed!r}; expected a list of columns, such as [{fixed!r}]")
        lengths = [one.form.length or 1 for one in mapping.inputs.values()]
        self.max_particles = mapping.inputs[vectors].form.length or max(lengths)
        #: Columns of the files -> the inputs that are of them.
        apart = {name: self._taken_apart(one.variables) for name, one in mapping.inputs.items()}
        self.columns = {name: list(stored) for name, (stored, _) in apart.items()}
        if unknown := sorted(set(fixed).difference(*self.columns.values())):
            known = dict.fromkeys(one for each in self.columns.values() for one in each)
            raise ConfigError(
                f"fixed names {unknown[0]!r}, of which no input of {mapping.path} is; expected some of "
                f"{', '.join(known)}"
            )
        #: An expression that is of all members of a list, if inputs are of one.
        self.over_all = next((one.text for _, each in apart.values() for one in each if one.is_of_all), None)
        for module in network.modules():
            if type(module).__name__ == "SequenceTrimmer":
                vars(module)["enabled"] = False

    def _taken_apart(self, expressions: Sequence[Expression]) -> tuple[dict[str, None], list[Expression]]:
        """Return what is stored for expressions, and all expressions that are computed of it.

        Stored are branches, and variables that are fixed or known by other names.
        """
        found, computed = dict[str, None](), [*expressions]
        for each in computed:  # which grows on the way
            for name in sorted(each.names):
                inner = self.data.variables.get(name)
                is_alias = inner is not None and inner.text.strip("`") in inner.names
                if inner is None or name in self.fixed or (is_alias and is_known(name)):
                    found[name] = None
                elif inner not in computed:
                    computed.append(inner)
        return found, computed

    def mapping_of(self, paths: Paths) -> TreeMapping:
        """Return the mapping with which files are read for the network; what their columns are, the first file tells.

        Labels and observers are read as far as the files have them.
        """
        data, first = self.data, jet_files(paths)[0]
        names = dict.fromkeys(one for each in self.columns.values() for one in each)
        with open_mapped(first, data) as table:
            have = {one for one in data.branches(data.expressions()) if table.column(one)}
            missing = [one for one in data.branches([branch_of(name, "weaver") for name in names]) if one not in have]
            if missing:
                raise DataError(f"{first} has no branch {missing[0]!r}, of which inputs of {data.path} are")
            depths = {
                name: max((table.depth(one) for one in data.branches([branch_of(name, "weaver")])), default=0)
                for name in names
            }

        def is_there(expressions: Sequence[Expression]) -> bool:
            return have.issuperset(data.branches(expressions))

        jets = tuple(name for name in names if not depths[name])
        groups = _joined([[name for name in each if depths[name]] for each in self.columns.values()])
        inputs = {f"{OF_LISTS}{each[0]}": self._stored(each, self._length(each)) for each in groups}
        inputs |= {OF_JETS: self._stored(jets, None)} if jets else {}
        labels = data.labels
        if labels is not None and not is_there([*labels.one_hot, *([] if labels.value is None else [labels.value])]):
            labels = None
        jet = data.jet if data.jet is not None and is_there([*data.jet.parts.values()]) else None
        columns = {name: one for name, one in data.columns.items() if is_there([one])}
        if self.over_all is not None:
            columns |= {
                f"{NUMBER_OF}{OF_LISTS}{each[0]}": Expression.parse(f"ak.num(`{each[0]}`)", where="weaver")
                for each in groups
            }
        return replace(
            data.for_test(),
            of_weaver=False,
            particles=self._momenta(),
            jet=jet,
            inputs=inputs,
            labels=labels,
            unmeasured=None if labels is None else data.unmeasured,
            columns=columns,
            scalars={},
            reweighting=None,
            fingerprint=f"{data.fingerprint} columns {','.join(self.fixed)}",
        )

    def _momenta(self) -> Momentum:
        """Return where the momenta are: in the columns that the vectors are of, which may be scaled, or the vectors."""
        assert self.data.particles is not None
        parts = {}
        for part, expression in self.data.particles.parts.items():
            columns = [name for name in self._taken_apart([expression])[0] if part in laws_named(name)]
            parts[part] = branch_of(columns[0], "weaver") if len(columns) == 1 else expression
        return replace(self.data.particles, parts=parts)

    def _stored(self, names: Sequence[str], length: int | None) -> MappedInput:
        form = InputForm(
            tuple(names),
            length,
            None if length is None else (NOTHING,) * len(names),
            (None,) * len(names),
            tuple(name for name in names if name in self.fixed),
        )
        return MappedInput(form, tuple(branch_of(name, "weaver") for name in names))

    def _length(self, names: Sequence[str]) -> int:
        """Return the places of the longest input that is of some columns."""
        of_these = (name for name, each in self.columns.items() if not set(each).isdisjoint(names))
        return max(self.data.inputs[name].form.length or 1 for name in of_these)

    def read(self, paths: Paths, **options: Any) -> JetBatch:
        """Read jets for the network; options as of :func:`jetsym.jets.read`."""
        jets: JetBatch = read(paths, mapping=self.mapping_of(paths), **{"max_particles": self.max_particles, **options})
        return jets

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets that :meth:`read` has read."""
        logits: Tensor = self.network(*self.inputs_of(jets).values())
        return logits

    def inputs_of(self, jets: JetBatch) -> dict[str, Tensor]:
        """Compute the network's inputs, (B, variables, places) or (B, variables), by name.

        Raises
        ------
        DataError
            The jets have not the columns that the inputs are of, or more particles than the network takes.
        """
        known = self._quantities(jets)
        self._expect_whole(jets)

        def value(name: str) -> Quantity:
            if name not in known and name in self.data.variables:
                known[name] = self.data.variables[name].evaluate(value)
            if name not in known:
                raise DataError(
                    f"the jets have no column {name!r}, of which inputs of {self.data.path} are; read them for the "
                    "network: net.read(paths), or jetsym.probe(net, paths)"
                )
            return known[name]

        dtype = next((one.dtype for one in self.network.parameters() if one.is_floating_point()), jets.dtype)
        return {
            name: self._placed(one.form, [each.evaluate(value) for each in one.variables], jets, dtype)
            for name, one in self.data.inputs.items()
        }

    def _expect_whole(self, jets: JetBatch) -> None:
        """Refuse jets whose lists were cut where an input is of all their members."""
        for name, form in jets.input_forms.items():
            numbers = jets.columns.get(NUMBER_OF + name)
            if numbers is not None and form.length is not None and bool((numbers > form.length).any()):
                raise DataError(
                    f"{self.data.path}: {self.over_all!r} is of all {int(numbers.max())} members of {form.names[0]!r} "
                    f"in a jet, of which the network takes {form.length}; leave jets with more of them out, or hold "
                    "the variable fixed where that is meant: fixed=[its name]"
                )

    def _quantities(self, jets: JetBatch) -> dict[str, Quantity]:
        """Return the columns that go with jets, those of lists without what stands where there is nothing."""
        if not isinstance(jets, JetBatch):
            raise DataError(
                f"the inputs are {type(jets).__name__}, and a network of weaver-core by its files takes jets; read "
                "them for it: net.read(paths), or jetsym.probe(net, paths)"
            )
        found: dict[str, Quantity] = {}
        for name, values in jets.inputs.items():
            form = jets.input_forms[name]
            if name == OF_JETS:
                found |= {one: _quantity(column) for one, column in zip(form.names, values.unbind(1), strict=True)}
            elif name.startswith(OF_LISTS):
                there = ~values[:, 0].isnan()
                counts = there.sum(dim=1).cpu().numpy()
                columns = values.movedim(1, -1)[there].unbind(-1)
                found |= {one: _quantity(column, counts) for one, column in zip(form.names, columns, strict=True)}
        return found

    def _placed(self, form: InputForm, found: Sequence[Quantity], jets: JetBatch, dtype: torch.dtype) -> Tensor:
        columns = []
        places: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # of all quantities that share their counts
        for place, quantity in enumerate(found):
            values = quantity.values
            tensor = (
                values.tensor if isinstance(values, Traced) else torch.as_tensor(np.array(values), device=jets.device)
            )
            tensor = tensor.to(dtype)
            if (scaling := form.scaling[place] if form.scaling else None) is not None:
                centre, scale, smallest, largest = scaling
                tensor = ((tensor - centre) * scale).clamp(smallest, largest)
            tensor = torch.where(tensor.isnan(), 0.0, tensor)
            if quantity.counts is None:
                tensor = tensor.expand(len(jets)).nan_to_num()
            if form.length is None:
                if quantity.counts is not None:
                    raise DataError(f"{form.names[place]!r} has several values per jet, and its input no length")
                columns.append(tensor)
                continue
            if (shared := id(quantity.counts)) not in places:
                counts = torch.ones(len(jets), dtype=torch.long, device=jets.device)
                if quantity.counts is not None:
                    counts = torch.as_tensor(quantity.counts, device=jets.device)
                places[shared] = counts, *self._places(form.length, counts, jets)
            columns.append(_padded(tensor, *places[shared], None if form.fill is None else form.fill[place]))
        if form.length is None and len(columns) == 1:
            return columns[0]
        return torch.stack(columns, dim=1)

    def _places(self, length: int, counts: Tensor, jets: JetBatch) -> tuple[Tensor, Tensor]:
        """Return (B, places) which member stands in each place, and whether it does; particles stand in their slots."""
        more = max(0, jets.max_particles - self.max_particles)
        number = torch.arange(length + more, device=jets.device).expand(len(jets), -1)
        n_particles = jets.n_particles
        if not torch.equal(counts, n_particles):
            if bool((n_particles > self.max_particles).any()):
                raise DataError(
                    f"a jet has {int(n_particles.max())} particles, and the network takes {self.max_particles}; read "
                    "the jets for it: net.read(paths)"
                )
            return number[:, :length], number[:, :length] < counts[:, None]
        mask = nn.functional.pad(jets.mask, (0, max(0, number.shape[1] - jets.max_particles)))[:, : number.shape[1]]
        return torch.where(mask, mask.cumsum(dim=1) - 1, number), mask


def _quantity(tensor: Tensor, counts: Any = None) -> Quantity:
    values: Any = Traced(tensor)
    return Quantity(values, counts)


def _padded(values: Tensor, counts: Tensor, number: Tensor, there: Tensor, fill: float | None) -> Tensor:
    """Put members (P,) of jets in their places (B, places), and ``fill`` or the members again in the others."""
    starts = (counts.cumsum(0) - counts)[:, None]
    if fill is None:
        number, there = torch.where(there, number, number % counts[:, None].clamp_min(1)), (counts > 0)[:, None]
    rows = torch.where(there, starts + number, 0).clamp(max=max(len(values) - 1, 0))
    taken = values[rows] if len(values) else values.new_zeros(rows.shape)
    return torch.where(there, taken, 0.0 if fill is None else fill)


def _joined(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Join groups of names that have some in common."""
    found: list[list[str]] = []
    for group in groups:
        same = [each for each in found if not set(each).isdisjoint(group)]
        found = [each for each in found if each not in same]
        joined = [*dict.fromkeys([*(name for each in same for name in each), *group])]
        found += [joined] if joined else []
    return found
