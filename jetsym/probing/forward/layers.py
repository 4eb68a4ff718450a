"""The layers of a model: what its modules are called, and which of them a name or pattern means."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jetsym.errors import ProbeError, closest

__all__ = [
    "BESIDE_OUTPUT",
    "LATER_CALL",
    "Asked",
    "Layered",
    "asked_layers",
    "is_compiled",
    "match_layers",
    "name_modules",
    "select_layers",
    "unwrapped",
]

#: What ``torch.compile`` puts between the name of a module and those of its children.
COMPILED = "_orig_mod"
#: What stands between the name of a module and the number of its call, from the second one on.
LATER_CALL = "@"
#: What follows the name of a layer where an output has the same.
BESIDE_OUTPUT = " (layer)"
#: The part of a pattern that stands for any number of parts of a name.
ANY_DEPTH = "**"


@runtime_checkable
class Layered(Protocol):
    """A module that knows best what its layers are, and which input their responses belong to.

    A probe finds out by itself which modules run, and which axes of what they return are inputs and points. Where that
    cannot be found out, as with rows for the atoms of all structures, a module says it: one that has ``name`` and the
    two methods is read by them, and by nothing else. Beside them it may have a mapping ``irreps``, pattern of layers ->
    their irreps, where its modules do not say them.

    Examples
    --------
    Rows for the points of all clouds, as many as there are of each:

    >>> import torch, jetsym
    >>> class Cloud(nn.Module):
    ...     name = "a cloud"
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lengths = nn.Linear(1, 8)
    ...     def forward(self, points):
    ...         self.shape = points.shape[:2]
    ...         rows = points.norm(dim=-1, keepdim=True).flatten(0, 1)
    ...         return self.lengths(rows).unflatten(0, self.shape).sum(1)
    ...     def probe_layers(self, layers):
    ...         return {"lengths": self.lengths}
    ...     def probe_features(self, recorded):
    ...         return {name: rows.unflatten(0, self.shape) for name, rows in recorded.items()}
    >>> report = jetsym.probe(Cloud(), torch.randn(3, 5, 3), l_max=1, progress=False)
    >>> report.meta["model"], report.layers
    ('a cloud', ('lengths', 'output'))
    """

    #: What the model is called in a report.
    name: str

    def probe_layers(self, layers: str | Sequence[str]) -> Mapping[str, nn.Module]:
        """Return the modules to read, by name, for names or patterns of layers; "auto" for all worth it."""

    def probe_features(self, recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what those modules did in the last pass, inputs along the first axis, by names of layers."""


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers that change how it runs and not what it computes.

    These are ``torch.compile(model)``, ``nn.DataParallel`` and ``DistributedDataParallel``.

    Examples
    --------
    >>> unwrapped(nn.DataParallel(nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    wrapped = _not_compiled(model)
    while isinstance(wrapped, (nn.DataParallel, DistributedDataParallel)):
        wrapped = _not_compiled(wrapped.module)
    return wrapped


def _not_compiled(module: nn.Module) -> nn.Module:
    """Return what ``torch.compile(module)`` was given; any other module itself."""
    inner = getattr(module, COMPILED, None)
    return inner if isinstance(inner, nn.Module) else module


def is_compiled(model: nn.Module) -> bool:
    """Return whether a module or a part of it is compiled, by ``torch.compile(module)`` or by ``module.compile()``."""
    return any(
        _not_compiled(module) is not module or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def name_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules within a model by name, in the model's own order.

    Names are those of ``model.named_modules()``; compiled parts go by their plain names. Modules that torch does not
    know of, as they stand in plain lists or dictionaries, follow by the name of the attribute that holds them.

    Examples
    --------
    >>> list(name_modules(nn.Sequential(nn.Linear(3, 2), nn.Tanh())))
    ['0', '1']
    """
    found = {_plain(name): _not_compiled(module) for name, module in model.named_modules() if _plain(name)}
    known = {id(module) for module in (model, *found.values())}
    waiting = deque([("", model), *found.items()])
    while waiting:
        prefix, module = waiting.popleft()
        for name, held in _held(module):
            for inner, each in held.named_modules(prefix=f"{prefix}.{name}" if prefix else name):
                if id(each) not in known:
                    known.add(id(each))
                    found[_plain(inner)] = _not_compiled(each)
                    waiting.append((_plain(inner), found[_plain(inner)]))
    return found


def _held(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules in plain lists, tuples and dictionaries that a module holds."""
    for attribute, value in vars(module).items():
        if attribute == "_modules" or not isinstance(value, (list, tuple, dict)):
            continue
        items: Sequence[tuple[Any, Any]] = list(value.items() if isinstance(value, dict) else enumerate(value))
        yield from ((f"{attribute}.{key}", item) for key, item in items if isinstance(item, nn.Module))


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != COMPILED)


def match_layers(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a name or pattern of layers means.

    ``*``, ``?`` and ``[…]`` stand for what is between two dots, ``**`` for any number of such parts. What so means
    none of the names may cross dots.

    Examples
    --------
    >>> names = ["blocks", "blocks.0", "blocks.0.mlp", "blocks.1", "head"]
    >>> match_layers("blocks.*", names), match_layers("blocks.**", names)
    (['blocks.0', 'blocks.1'], ['blocks.0', 'blocks.0.mlp', 'blocks.1'])
    >>> match_layers("**.mlp", names), match_layers("*mlp", names)
    (['blocks.0.mlp'], ['blocks.0.mlp'])
    """
    found = [name for name in names if _fits(name.split("."), pattern.split("."))]
    return found or [name for name in names if fnmatchcase(name, pattern)]


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    first, *rest = patterns
    if first == ANY_DEPTH:  # something, where it stands last
        return any(_fits(parts[n:], rest) for n in range(0 if rest else 1, len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], first) and _fits(parts[1:], rest)


def select_layers(model: nn.Module, layers: str | Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules that names or patterns mean, by name, in the model's own order.

    Parameters
    ----------
    model
        The module.
    layers
        Names as of :func:`name_modules`, or patterns of them: see :func:`match_layers`.

    Raises
    ------
    ProbeError
        A name or pattern that matches no module; the message names the nearest.
    """
    modules, chosen = name_modules(model), set()
    for pattern in [layers] if isinstance(layers, str) else layers:
        found = match_layers(pattern, list(modules))
        if not found:
            raise ProbeError(
                f"layer {pattern!r} matches no module of {type(model).__name__}; {closest(pattern, modules)}"
            )
        chosen.update(found)
    return {name: module for name, module in modules.items() if name in chosen}


class Asked(NamedTuple):
    """What names of layers mean, as reports and lists show them.

    Parameters
    ----------
    modules
        The modules to read, by name, in the model's own order.
    parts
        Module -> which of the arrays that it returns are meant, where not all are.
    others
        Names that mean no module: they may be those of outputs.
    patterns
        The names and patterns that mean modules, each of which must run.
    model, known
        The class of the model, and the names of all its modules.
    """

    modules: dict[str, nn.Module]
    parts: dict[str, frozenset[str]]
    others: tuple[str, ...]
    patterns: tuple[str, ...]
    model: str
    known: tuple[str, ...]


def asked_layers(model: nn.Module, layers: str | Sequence[str]) -> Asked:
    """Return what is asked for by names or patterns of modules, or by names as reports show them.

    A report calls a part of what a module returned ``name.0`` or ``name.key``, a later call ``name@2``, and a layer
    that has the name of an output ``name (layer)``; outputs stand in it by their own names.

    Examples
    --------
    >>> found = asked_layers(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), ["0 (layer)", "1@2", "1.key", "output"])
    >>> list(found.modules), sorted(found.parts["1"]), found.others
    (['0', '1'], ['1.key', '1@2'], ('output',))
    """
    modules = name_modules(model)
    whole: set[str] = set()
    parts: dict[str, set[str]] = {}
    others, patterns = list[str](), list[str]()
    for asked in [layers] if isinstance(layers, str) else layers:
        pattern = asked if match_layers(asked, list(modules)) else asked.removesuffix(BESIDE_OUTPUT)
        if found := match_layers(pattern, list(modules)):
            whole.update(found)
            patterns.append(pattern)
        elif (name := _module_of(pattern, modules)) is not None:
            parts.setdefault(name, set()).add(pattern)
            patterns.append(name)
        else:
            others.append(asked)
    return Asked(
        {name: module for name, module in modules.items() if name in whole or name in parts},
        {name: frozenset(some) for name, some in parts.items() if name not in whole},
        tuple(others),
        tuple(patterns),
        type(model).__name__,
        tuple(modules),
    )


def _module_of(label: str, modules: Mapping[str, nn.Module]) -> str | None:
    """Return the module whose call or part a report calls so."""
    name = label.partition(LATER_CALL)[0]
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None
