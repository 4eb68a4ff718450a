"""weaver's networks by their own files: a network (``.py``), a data configuration (``.yaml``) and weights (``.pt``).

The network's Python is code of whoever wrote it, and is run: only when it is named, by :func:`weaver` or ``--weaver``.
The YAML is read as data, its expressions are computed by jetsym (:mod:`jetsym.jets.io.mapping.expressions`), and the
weights are opened with ``weights_only``.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from jetsym.arguments import checked
from jetsym.errors import CheckpointError, ConfigError, require
from jetsym.jets.io.mapping.parse import parsed
from jetsym.jets.io.mapping.weaver import VECTORS, is_weaver, measured_by_weaver, weaver_mapping
from jetsym.jets.models.weaver import read_state, without_wrappers
from jetsym.jets.weaver_network import WeaverNetwork

__all__ = ["files_of", "weaver"]


@checked()
def weaver(
    network: str | Path,
    data: str | Path,
    weights: str | Path,
    *,
    fixed: Sequence[str] = (),
    vectors: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> WeaverNetwork:
    """Load a network of weaver-core by its own files.

    Parameters
    ----------
    network
        A Python file with ``get_model(data_config, **options)``. **It is run.**
    data
        The data configuration that the network was trained with (YAML). Where it standardises automatically,
        weaver-core's ``*.auto.yaml`` is expected beside it.
    weights
        The state dictionary that weaver-core has saved (``*_state.pt``).
    fixed
        Columns, or variables of the configuration, that are to stay as they are when jets are moved, although they are
        neither functions of the momenta that jetsym knows nor known to be invariant.
    vectors
        The input that holds px, py, pz and energy in GeV; by default ``pf_vectors``.
    options
        For ``get_model``, as ``--network-option`` of weaver-core gives them.

    Returns
    -------
    WeaverNetwork
        In evaluation mode: from jets to logits, for :func:`jetsym.probe` and all that takes a tagger.

    Raises
    ------
    ConfigError
        The configuration or the network's file has not what is needed.
    CheckpointError
        The weights do not fit the network, tensor by tensor.
    MissingDependencyError
        weaver-core is not installed.

    Examples
    --------
    ``net = jetsym.jets.weaver("example_ParticleNet.py", "JetClass_kin.yaml", "ParticleNet_kin.pt")`` and then
    ``jetsym.probe(net, "jets.root")``.
    """
    path = Path(data).expanduser()
    found = parsed(path)
    if not is_weaver(found):
        raise ConfigError(f"{path} is no data configuration of weaver-core; expected the keys inputs and labels")
    found = measured_by_weaver(path, found)
    mapping = weaver_mapping(path, found, vectors=vectors)
    if mapping.particles is None:
        raise ConfigError(
            f"{path}: no input holds px, py, pz and energy ({', '.join(mapping.inputs)}), from which jets are moved; "
            "name the one that does: vectors="
        )
    if mapping.unmeasured is not None and mapping.unmeasured.bounds:
        _, first = next(iter(mapping.unmeasured.bounds))
        raise ConfigError(
            f"{path} standardises {first!r} automatically, with numbers that weaver-core has measured for the "
            "training; lay its *.auto.yaml beside the file"
        )
    made = _made(Path(network).expanduser(), found, options or {})
    _fill(made, weights)
    return WeaverNetwork(made, mapping, fixed=fixed, vectors=vectors or VECTORS).eval()


def files_of(folder: str | Path) -> tuple[Path, Path, Path]:
    """Find the network, the data configuration and the weights in a folder that holds one of each.

    Raises
    ------
    ConfigError
        It does not.
    """
    place, found = Path(folder).expanduser(), []
    for ending, what in ((".py", "network"), (".yaml", "data configuration"), (".pt", "state dictionary")):
        files = sorted(one for one in place.glob(f"*{ending}") if ".auto." not in one.name)
        if len(files) != 1:
            names = ", ".join(one.name for one in files) or "none"
            raise ConfigError(f"{place} holds {names} as *{ending}; expected one {what}")
        found += files
    return found[0], found[1], found[2]


def _made(path: Path, config: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    """Run the network's file, and make the network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = require("weaver.utils.data.config", extra="bench", purpose="to run networks of weaver-core")
        data_config = theirs.DataConfig(print_info=False, **copy.deepcopy(dict(config)))
    if not path.is_file():
        raise ConfigError(f"there is no file {path}; expected the Python of a network of weaver-core")
    spec = importlib.util.spec_from_file_location("weaver_network", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; expected one with get_model(data_config, **options)")
    module = importlib.util.module_from_spec(spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
            made = module.get_model(data_config, **options)
    except Exception as error:  # whatever a foreign file raises
        raise ConfigError(
            f"{path} makes no network for this data configuration ({type(error).__name__}: {error}); expected "
            "get_model(data_config, **options) as weaver-core calls it"
        ) from error
    network = made[0] if isinstance(made, tuple) else made
    if not isinstance(network, nn.Module):
        raise ConfigError(f"get_model of {path} returns a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _fill(network: nn.Module, weights: str | Path) -> None:
    """Fill a network with weights that fit it, tensor by tensor."""
    theirs, wanted = read_state(weights), network.state_dict()
    names = without_wrappers(wanted)
    ours = {short: name for name, short in names.items()}
    differing = sorted(
        short
        for short in theirs.keys() | ours.keys()
        if short not in theirs or short not in ours or theirs[short].shape != wanted[ours[short]].shape
    )
    if differing:
        first = differing[0]
        shapes = [
            "absent" if one is None else str(tuple(one.shape))
            for one in (theirs.get(first), wanted[ours[first]] if first in ours else None)
        ]
        raise CheckpointError(
            f"{weights} does not fit the network: {len(differing)} tensors differ, the first is {first!r} (file: "
            f"{shapes[0]}, network: {shapes[1]}); give the options that it was trained with: options="
        )
    network.load_state_dict({ours[short]: tensor for short, tensor in theirs.items()})
